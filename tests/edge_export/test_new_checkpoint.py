"""Random checkpoints: in the published layout, the same every time, and loud enough to measure by."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors import safe_open
from torch import Tensor

from edge_export import new_checkpoint
from edge_export.checkpoint import open_checkpoint
from edge_export.errors import OutputError, UsageError
from edge_export.model.autoencoder import Decoder
from edge_export.model.conditioner import Conditioner
from edge_export.model.config import load_config
from edge_export.model.dit import Dit
from edge_export.new_checkpoint import SIZES, all_draws, model_config, t5_config, write_new_checkpoint

pytestmark = pytest.mark.slow

PROMPT = "warm arpeggios on house beats 120BPM with drums effect"


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names_and_shapes(path: Path) -> dict[str, list[int]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "tiny"
    write_new_checkpoint(folder, "tiny", 0)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The config of the published size: its weights would be 2.4 GB."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "t5-base").mkdir()
    (folder / "model_config.json").write_text(json.dumps(model_config(SIZES["published"])))
    (folder / "t5-base" / "config.json").write_text(json.dumps(t5_config(SIZES["published"])))
    return load_config(folder)


def test_it_has_the_published_files_and_is_small(tiny):
    assert set(hashes(tiny)) == {
        "model_config.json",
        "model.safetensors",
        "t5-base/config.json",
        "t5-base/model.safetensors",
        "t5-base/spiece.model",
    }
    assert sum(path.stat().st_size for path in tiny.rglob("*")) < 12_000_000


def test_the_strict_loader_takes_it(tiny):
    config = open_checkpoint(tiny).config
    assert config.latent_shape == (64, 256)
    assert (config.dit.num_heads, config.dit.head_dim) == (2, 64)


def test_another_process_makes_the_same_bytes(tiny, tmp_path):
    """Another hash seed, so that the order of a set cannot matter unseen."""
    code = (
        "import sys, pathlib; from edge_export.new_checkpoint import write_new_checkpoint as write;"
        "write(pathlib.Path(sys.argv[1]), 'tiny', 0)"
    )
    out = tmp_path / "again"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, str(out)], check=True, env=environment)
    assert hashes(out) == hashes(tiny)


def test_another_seed_makes_other_weights_and_nothing_else(tiny, tmp_path):
    write_new_checkpoint(tmp_path / "other", "tiny", 1)
    first, second = hashes(tiny), hashes(tmp_path / "other")
    assert {name for name in first if first[name] != second[name]} == {
        "model.safetensors",
        "t5-base/model.safetensors",
    }


def test_its_names_and_shapes_are_those_of_the_published_library(oracle):
    draws = {(str(draw.file), draw.name): list(draw.shape) for draw in all_draws(load_config(oracle))}
    expected = {
        (file, name): shape
        for file in ("model.safetensors", "t5-base/model.safetensors")
        for name, shape in names_and_shapes(oracle / file).items()
    }
    assert draws == expected


def test_no_tensor_is_zero_or_a_copy_of_another(tiny):
    seen: dict[bytes, str] = {}
    for file in ("model.safetensors", "t5-base/model.safetensors"):
        with safe_open(tiny / file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                tensor = weights.get_tensor(name)
                assert tensor.isfinite().all()
                assert tensor.std() > 1e-4, name
                assert seen.setdefault(tensor.numpy().tobytes(), name) == name
    assert len(seen) > 300


def test_the_config_is_the_published_one_but_for_its_sizes(oracle):
    """Against the oracle's, which the published library accepted: the same keys, and the same values where no size."""
    theirs, ours = json.loads((oracle / "model_config.json").read_text()), model_config(SIZES["published"])

    def flat(value, path=()):
        if isinstance(value, dict):
            return {key: leaf for name, item in value.items() for key, leaf in flat(item, (*path, name)).items()}
        return {".".join(path): value}

    differing = {key.rsplit(".", 1)[-1] for key in flat(theirs) if flat(theirs)[key] != flat(ours).get(key)}
    assert differing <= {"sample_size", "embed_dim", "depth", "num_heads", "channels", "iterate_batch", "model_half"}


def test_the_published_size_is_stable_audio_open_small(published):
    def millions(make, *arguments) -> float:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in make(*arguments).parameters()) / 1e6

    assert millions(Dit, published.dit) == pytest.approx(340.88, abs=0.005)
    assert millions(Decoder, published.decoder) == pytest.approx(78.1, abs=0.05)
    assert millions(Conditioner, published.conditioner) == pytest.approx(109.6 + 0.2, abs=0.1)  # T5-base and seconds
    assert (published.latent_shape, published.dit.head_dim) == ((64, 256), 128)
    assert (published.conditioner.tokens, published.conditioner.seconds_max) == (64, 256.0)
    assert SIZES["published"].pieces == 32000


def test_the_published_weights_are_drawn_as_loud_as_they_are_wide(published):
    """Fan-in scaling at a size that tests cannot run: a layer's std falls as the root of its inputs grows."""
    draws = {draw.name: draw for draw in all_draws(published)}
    block = "model.model.transformer.layers.3."
    assert draws[block + "self_attn.to_qkv.weight"].std == pytest.approx(1024**-0.5)
    assert draws[block + "ff.ff.2.weight"].std == pytest.approx(1.5 / (4096 * 16) ** 0.5)
    name = "pretransform.model.decoder.layers.1.layers.1."  # transposed, 2048 -> 1024, stride 8, two taps
    std = 0.63 / (2 * 2048) ** 0.5
    assert draws[name + "weight_v"].std == pytest.approx(std)
    assert draws[name + "weight_g"].mean == pytest.approx(std * (1024 * 16) ** 0.5)


@pytest.fixture(scope="module")
def stages(tiny) -> dict[str, Tensor]:
    """What each stage of the tiny checkpoint makes of a prompt and noise."""
    checkpoint = open_checkpoint(tiny)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint.spiece))
    ids = [*tokenizer.encode(PROMPT), tokenizer.eos_id()]
    tokens = torch.tensor([ids + [0] * (64 - len(ids))])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 64, 256, generator=generator)
    with torch.no_grad():
        cross, seconds = checkpoint.conditioner()(tokens, (tokens != 0).float(), torch.tensor([7.0]))
        dit = checkpoint.dit()
        velocity = dit(noise, torch.ones(1), cross, seconds)
        made = {"text": cross[:, : len(ids)], "seconds": seconds, "velocity": velocity}
        for branch in ("self_attn", "cross_attn", "ff"):
            hooks = [
                getattr(layer, branch).register_forward_hook(lambda _module, _inputs, output: output * 0)
                for layer in dit.transformer.layers
            ]
            made[f"without {branch}"] = dit(noise, torch.ones(1), cross, seconds)
            for hook in hooks:
                hook.remove()
        made["without text"] = dit(noise, torch.ones(1), cross * 0, seconds)
        made["audio"] = checkpoint.decoder()(noise - velocity)
        made["mean"], made["scale"] = checkpoint.encoder()(made["audio"][:, :, : 64 * 2048])
    return made


@pytest.mark.parametrize("stage", ["text", "seconds", "velocity", "mean", "scale"])
def test_every_stage_makes_numbers_of_size_one(stages, stage):
    assert 0.5 < stages[stage].std() < 2


def test_the_audio_is_heard_and_does_not_clip(stages):
    audio = stages["audio"]
    assert audio.shape == (1, 2, 524288)
    assert 0.1 < audio.abs().max() < 0.9
    assert 0.05 < audio.std() < 0.2
    windows = audio.unfold(-1, 4096, 4096).std(-1)
    assert windows.min() > 0.02  # noise all along, in both channels


@pytest.mark.parametrize("branch", ["self_attn", "cross_attn", "ff", "text"])
def test_every_branch_of_the_dit_is_heard(stages, branch):
    difference = stages["velocity"] - stages[f"without {branch}"]
    assert difference.std() > 0.2 * stages["velocity"].std()


def test_progress_counts_every_weight(tmp_path):
    heard: list[tuple[str, int, int]] = []
    write_new_checkpoint(tmp_path / "tiny", "tiny", 0, lambda *step: heard.append(step))
    weights = [(done, total) for what, done, total in heard if what == "drawing the weights"]
    assert weights == sorted(weights)
    assert weights[-1][0] == weights[-1][1] > 1_000_000
    assert heard[0] == ("writing the tokenizer", 0, 1)


@pytest.mark.parametrize(
    ("size", "seed", "words"),
    [
        ("huge", 0, "unknown size 'huge'; choose one of tiny, published"),
        ("tiny", -1, "seed -1 is out of range"),
        ("tiny", 2**63, "is out of range; choose 0 to 9223372036854775807"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path, size, seed, words):
    with pytest.raises(UsageError, match=words):
        write_new_checkpoint(tmp_path / "out", size, seed)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_seed_is_taken():
    draw = new_checkpoint.Draw(file=Path("f"), name="n", shape=(4,), std=1.0)
    assert not torch.equal(draw.tensor(new_checkpoint.MAX_SEED), draw.tensor(new_checkpoint.MAX_SEED - 1))


def test_what_exists_is_kept(tiny):
    before = hashes(tiny)
    with pytest.raises(OutputError, match="exists"):
        write_new_checkpoint(tiny, "tiny", 5)
    assert hashes(tiny) == before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_when_it_is_cut_short(tmp_path, error):
    def stop(what: str, done: int, _total: int) -> None:
        if what == "drawing the weights" and done > 500_000:
            raise error

    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_new_checkpoint(tmp_path / "out", "tiny", 0, stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_a_write_that_fails_inside_safetensors_is_one_line(tmp_path):
    """In a process that may write no file above 1 MB: a real failure of a native writer."""
    code = (
        "import pathlib, resource, sys; from edge_export.new_checkpoint import write_new_checkpoint as write;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        "from edge_export.errors import OutputError\n"
        "try: write(pathlib.Path(sys.argv[1]), 'tiny', 0)\n"
        "except OutputError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout.startswith(f"cannot write {tmp_path / 'out'}: "), done.stderr
    assert list(tmp_path.iterdir()) == []
