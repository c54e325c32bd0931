"""Checkpoints that are missing, truncated, foreign or malicious are refused with one line that says so."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_export.checkpoint import Source, open_checkpoint
from edge_export.errors import CheckpointError
from edge_export.submodules import SUBMODULES
from tests.shared import replaced


@pytest.fixture
def folder(oracle, tmp_path) -> Path:
    """A copy of the oracle's checkpoint to break."""
    return Path(shutil.copytree(oracle, tmp_path / "checkpoint", ignore=shutil.ignore_patterns("expected*")))


def edit_config(folder: Path, path: str, value: object, file: str = "model_config.json") -> None:
    """Set the value at a dotted path of a JSON file; ... deletes it."""
    document = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(replaced(document, path, value)))


def edit_weights(folder: Path, change, file: str = "model.safetensors") -> None:
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file)


def refused(folder: Path) -> str:
    """The one line that opening and loading everything ends in."""

    def load_all() -> None:
        checkpoint = open_checkpoint(folder)
        for load in (checkpoint.conditioner, checkpoint.dit, checkpoint.encoder, checkpoint.decoder):
            load()

    with pytest.raises(CheckpointError) as caught:
        load_all()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_ckpt_gives_the_same_weights(folder):
    """The wrapped form, as trainers write it."""
    before = open_checkpoint(folder).dit().state_dict()
    torch.save({"state_dict": load_file(folder / "model.safetensors")}, folder / "model.ckpt")
    (folder / "model.safetensors").unlink()
    after = open_checkpoint(folder).dit().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_bare_ckpt_opens_too(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "model.ckpt")
    (folder / "model.safetensors").unlink()
    open_checkpoint(folder)


def test_a_ckpt_with_code_is_not_run(folder, tmp_path):
    class Malice:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": Malice()}, folder / "model.ckpt")
    assert "holds more than weights" in refused(folder)
    (folder / "model.ckpt").write_bytes(pickle.dumps(Malice()))
    assert "holds more than weights" in refused(folder)
    assert not (tmp_path / "ran").exists()


def test_half_precision_weights_are_read(folder):
    edit_weights(folder, lambda tensors: tensors.update({name: t.half() for name, t in tensors.items()}))
    assert open_checkpoint(folder).dit().preprocess_conv.weight.dtype == torch.float32


def test_t5_may_come_with_its_decoder(folder):
    def add_decoder(tensors):
        tensors["decoder.block.0.layer.0.SelfAttention.q.weight"] = torch.zeros(2, 2)
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].clone()
        tensors["lm_head.weight"] = torch.zeros(2, 2)

    edit_weights(folder, add_decoder, "t5-base/model.safetensors")
    open_checkpoint(folder)


def test_the_hash_follows_every_file(folder):
    before = open_checkpoint(folder).sha256
    assert open_checkpoint(folder).sha256 == before
    edit_weights(folder, lambda tensors: tensors["shared.weight"].add_(1), "t5-base/model.safetensors")
    assert open_checkpoint(folder).sha256 != before


@pytest.mark.parametrize(
    "name",
    [
        "model_config.json",
        "model.safetensors",
        "t5-base/config.json",
        "t5-base/model.safetensors",
        "t5-base/spiece.model",
    ],
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    message = refused(folder)
    assert Path(name).name.split(".")[0] in message
    assert "missing" in message or "neither" in message


@pytest.mark.parametrize("name", ["model.safetensors", "t5-base/model.safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 100, 200_000])
def test_truncated_weights_are_called_that(folder, name, kept):
    path = folder / name
    path.write_bytes(path.read_bytes()[:kept])
    assert "truncated" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "t5-base/model.safetensors", "t5-base/spiece.model"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(folder, monkeypatch, name):
    """The superuser may read anything: opening is refused by hand."""
    opened = Path.open

    def refuse(path: Path, *arguments, **options):
        if path == folder / name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert refused(folder) == f"cannot read {folder / name}: Permission denied; check its permissions"


def test_a_missing_folder_says_how_to_get_one(tmp_path):
    assert "new-checkpoint" in refused(tmp_path / "none")


def test_missing_unused_and_misshapen_tensors_are_listed(folder):
    def change(tensors):
        tensors["model.model.surplus"] = torch.zeros(3)
        del tensors["model.model.to_cond_embed.0.weight"]
        tensors["model.model.to_global_embed.0.weight"] = torch.zeros(3, 3)

    edit_weights(folder, change)
    message = refused(folder)
    assert "1 missing: model.model.to_cond_embed.0.weight" in message
    assert "1 unused: model.model.surplus" in message
    assert "model.model.to_global_embed.0.weight [3, 3] (expected [128, 768])" in message


def test_a_foreign_checkpoint_lists_some_and_counts_the_rest(folder):
    save_file({f"layer.{index}": torch.zeros(1) for index in range(40)}, folder / "model.safetensors")
    message = refused(folder)
    assert "40 unused" in message
    assert "and 36 more" in message


def test_nan_weights_are_refused(folder):
    edit_weights(folder, lambda tensors: tensors["model.model.to_cond_embed.0.weight"].fill_(float("nan")))
    assert "to_cond_embed.0.weight holds NaN" in refused(folder)


def test_integer_weights_are_refused(folder):
    name = "model.model.to_cond_embed.0.weight"
    edit_weights(folder, lambda tensors: tensors.update({name: tensors[name].int()}))
    assert "expected floats" in refused(folder)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_type", "autoencoder", "model_type is 'autoencoder'; supported: 'diffusion_cond'"),
        ("model_type", ..., "model_type is None"),
        ("model", ..., "model is missing or no object"),
        ("sample_size", 1, "less than one latent"),
        ("sample_rate", "44100", "sample_rate is '44100', expected int"),
        ("model.diffusion.type", "adp_1d", "model.diffusion.type is 'adp_1d'"),
        ("model.diffusion.config.depth", 3, "missing"),
        ("model.diffusion.config.embed_dim", 256, "misshapen"),
        ("model.diffusion.config.num_heads", 3, "does not divide"),
        ("model.diffusion.config.patch_size", 2, "patch_size is 2; supported: 1"),
        ("model.diffusion.config.novel", 2, "does not know: novel"),
        ("model.diffusion.config.attn_kwargs.qk_norm", "dyt", "qk_norm is 'dyt'"),
        ("model.diffusion.cross_attention_cond_ids", ["prompt"], "cross_attention_cond_ids"),
        ("model.conditioning.configs.0.type", "clap_text", "type is 'clap_text'; supported: 't5'"),
        ("model.conditioning.configs.0.config.t5_model_name", "..", "is not a model's name"),
        ("model.conditioning.configs.0.config.t5_model_name", "t5-small", "t5-small/config.json is missing"),
        ("model.pretransform.config.bottleneck.type", "rvq", "type is 'rvq'"),
        ("model.pretransform.config.decoder.config.strides", [2, 4, 4, 8, 16], "strides"),
        ("model.pretransform.config.decoder.config.channels", 0, "expected 1 to"),
        ("model.pretransform.config.latent_dim", 1 << 40, "expected 1 to"),
    ],
)
def test_a_config_of_another_network_is_refused(folder, path, value, message):
    edit_config(folder, path, value)
    assert message in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": "diffusion_cond"', "\xff", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(folder, text):
    (folder / "model_config.json").write_text(text, encoding="latin-1")
    assert "model_config.json" in refused(folder)


def test_a_conditioner_reads_no_more_of_the_dit_than_it_takes_over(oracle, monkeypatch):
    read = []
    whole = Source.read
    monkeypatch.setattr(Source, "read", lambda self, name, shape: read.append(name) or whole(self, name, shape))
    conditioner = SUBMODULES["conditioner"].load(open_checkpoint(oracle))
    assert not any(parameter.is_meta for parameter in conditioner.parameters())
    dits = [name for name in read if name.startswith(("transformer.", "to_", "preprocess", "postprocess"))]
    assert dits
    assert all(name.startswith("to_cond_embed.") or ".cross_attn.to_kv" in name or ".k_norm" in name for name in dits)
