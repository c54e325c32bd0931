"""Checkpoints in the forms they lie about in: read with the same numbers, or refused with advice."""

import dataclasses
import json
import pickle
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentencepiece import sentencepiece_model_pb2

from edge_export import pipeline
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import CheckpointError, UsageError
from edge_export.pipeline import BuildRequest, export_bundle
from edge_export.progress import silent
from edge_export.weights_file import open_file, shown
from tests.fixtures.make_bundles import SMALLEST, write_checkpoint
from tests.shared import replaced

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A checkpoint as it is published, of the smallest network."""
    folder: Path = tmp_path_factory.mktemp("checkpoints") / "plain"
    write_checkpoint(folder, SMALLEST)
    return folder


@pytest.fixture
def folder(plain, copy_of) -> Path:
    """A copy of it to write anew in other forms."""
    return copy_of(plain)


def take(folder: Path, name: str = "model.safetensors") -> Weights:
    """The weights of a file that is there no more."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / name).items()}
    (folder / name).unlink()
    return tensors


def numbers(checkpoint: Checkpoint) -> Weights:
    """Everything that the four components hold."""
    components = (checkpoint.conditioner(), checkpoint.dit(), checkpoint.encoder(), checkpoint.decoder())
    return {
        f"{index} {name}": tensor
        for index, component in enumerate(components)
        for name, tensor in component.state_dict().items()
    }


def same(one: Checkpoint, other: Checkpoint) -> bool:
    ours, theirs = numbers(one), numbers(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def refused(folder: Path) -> str:
    """The one line that opening and loading everything ends in, in nobody's words but ours."""
    with pytest.raises(CheckpointError) as caught:
        numbers(open_checkpoint(folder))
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1200
    assert not any(words in message for words in ("weights_only", "torch.load", "torch.serialization", "trust"))
    return message


def wrapped(weights: Weights, averaged: Weights | None = None) -> Weights:
    """As a training wrapper of stable-audio-tools has its model, with what it has beside it."""
    made = {f"diffusion.{name}": tensor for name, tensor in weights.items()}
    made |= {"discriminator.model.x": torch.ones(2), "losses.losses.0.weight": torch.ones(1)}
    if averaged is not None:
        made |= {"diffusion_ema.ema_model." + name: tensor for name, tensor in averaged.items()}
        made |= {"diffusion_ema.initted": torch.ones(1), "diffusion_ema.step": torch.tensor([5])}
    return made


def average_of(weights: Weights) -> Weights:
    """What training averages: the network, and neither conditioner nor autoencoder."""
    return {name.removeprefix("model."): t * 0.5 for name, t in weights.items() if name.startswith("model.")}


def save_lightning(path: Path, state: Weights) -> None:
    document = {"optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.ones(3)}}}], "epoch": 3}
    torch.save(document | {"state_dict": state, "hyper_parameters": {"lr": 1e-4}}, path)


@pytest.mark.parametrize("form", ["model.ckpt", "model.safetensors"])
@pytest.mark.parametrize("bare", [False, True], ids=["wrapped", "average beside a bare model"])
def test_the_average_of_a_training_takes_the_place_of_the_network_and_of_nothing_else(folder, plain, form, bare):
    weights = take(folder)
    averaged = average_of(weights)
    state = wrapped(weights, averaged)
    if bare:
        state = {name.removeprefix("diffusion."): t for name, t in state.items() if not name.startswith("discr")}
    if form == "model.ckpt":
        save_lightning(folder / form, state)
    else:
        save_file(state, folder / form)
    expected = folder.parent / "expected"
    shutil.copytree(plain, expected)
    save_file(weights | {f"model.{name}": t for name, t in averaged.items()}, expected / "model.safetensors")
    opened = open_checkpoint(folder)
    assert same(opened, open_checkpoint(expected))
    assert not same(opened, open_checkpoint(plain))
    assert opened.notes == (
        f"{folder / form} is as training left it: the model inside is read, "
        "with the moving average of its weights (EMA)",
    )


def test_a_wrapper_without_an_average_gives_what_was_trained(folder, plain):
    save_lightning(folder / "model.ckpt", wrapped(take(folder)))
    opened = open_checkpoint(folder)
    assert same(opened, open_checkpoint(plain))
    assert opened.notes[0].endswith("which has no moving average (EMA)")


def test_an_average_that_lacks_a_tensor_is_not_filled_up_from_the_other(folder):
    weights = take(folder)
    averaged = average_of(weights)
    del averaged["model.to_cond_embed.0.weight"]
    save_lightning(folder / "model.ckpt", wrapped(weights, averaged))
    assert "1 missing: model.model.to_cond_embed.0.weight" in refused(folder)


def test_a_model_that_is_there_wrapped_and_bare_is_refused(folder):
    weights = take(folder)
    save_lightning(folder / "model.ckpt", weights | wrapped(weights))
    assert "twice, as it is and in a wrapper" in refused(folder)


def test_a_legacy_ckpt_is_read(folder, plain):
    torch.save({"state_dict": take(folder)}, folder / "model.ckpt", _use_new_zipfile_serialization=False)
    assert same(open_checkpoint(folder), open_checkpoint(plain))


class Callback:
    """What a training library may leave in its checkpoint."""


@pytest.mark.parametrize("legacy", [False, True])
def test_a_ckpt_with_objects_is_refused_in_our_words(folder, legacy):
    document = {"state_dict": take(folder), "callbacks": Callback()}
    torch.save(document, folder / "model.ckpt", _use_new_zipfile_serialization=not legacy)
    assert refused(folder) == (
        f"{folder / 'model.ckpt'} is truncated, or holds more than weights; fetch it again, or write its state_dict "
        "alone as unwrap_model.py of stable-audio-tools does"
    )


@pytest.mark.parametrize("kept", [0, 7, 100, 200_000])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_ckpt_is_refused_in_our_words(folder, legacy, kept):
    path = folder / "model.ckpt"
    torch.save({"state_dict": take(folder)}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:kept])
    assert "is truncated" in refused(folder)


@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.ones(2, device="meta"),
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.nested.nested_tensor([torch.ones(1)]),
        lambda: "text",
    ],
    ids=["meta", "sparse", "nested", "text"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_ckpt_of_what_is_no_plain_tensor_is_refused(folder, odd):
    torch.save(take(folder) | {"odd": odd()}, folder / "model.ckpt")
    assert "holds no state_dict of tensors" in refused(folder)


@pytest.mark.parametrize("legacy", [False, True])
def test_t5_may_lie_there_as_pytorch_saves_it(folder, plain, legacy):
    tensors = take(folder / "t5-base")
    tensors |= {"encoder.embed_tokens.weight": tensors["shared.weight"], "lm_head.weight": torch.ones(2)}
    torch.save(tensors, folder / "t5-base" / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    opened = open_checkpoint(folder)
    assert same(opened, open_checkpoint(plain))
    assert opened.notes == ()
    assert opened.sha256 != open_checkpoint(plain).sha256


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.ckpt", "t5-base/model.safetensors", "t5-base/spiece.model"]
)
def test_a_git_lfs_pointer_is_called_one(folder, name):
    if name == "model.ckpt":
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
    )
    path = folder / name
    assert refused(folder) == (
        f"{path} is a git-lfs pointer, not the file itself; run `git lfs pull` in {path.parent}, or fetch it"
    )


def shard(folder: Path, stem: str, suffix: str, count: int = 3) -> Path:
    """Write the weights of `folder` anew in `count` files; returns their index."""
    tensors = take(folder)
    where = {name: f"{stem}-{index % count + 1:05}-of-{count:05}{suffix}" for index, name in enumerate(tensors)}
    for file in set(where.values()):
        part = {name: tensors[name] for name, its in where.items() if its == file}
        if suffix == ".safetensors":
            save_file(part, folder / file)
        else:
            torch.save(part, folder / file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


def test_sharded_weights_are_read_and_hashed_to_the_last_shard(folder, plain):
    shard(folder, "model", ".safetensors")
    index = shard(folder / "t5-base", "pytorch_model", ".bin")
    opened = open_checkpoint(folder)
    assert same(opened, open_checkpoint(plain))
    hashes = {opened.sha256}
    for path in (*folder.glob("model-*"), *(folder / "t5-base").glob("pytorch_model-*"), index):
        assert path in (*opened.weights.files, *opened.t5_weights.files)
        with path.open("ab") as file:
            file.write(b" ")
        hashes.add(dataclasses.replace(opened).sha256)
    assert len(hashes) == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda where: where.update(extra="model-00001-of-00003.safetensors"), "other tensors than"),
        (lambda where: where.popitem(), "other tensors than"),
        (lambda where: where.update(dict.fromkeys(where, "../model.safetensors")), "no file of weights beside it"),
        (lambda where: where.update(dict.fromkeys(where, "/etc/passwd")), "no file of weights beside it"),
        (lambda where: where.update(extra=["a"]), "no file of weights beside it"),
        (lambda where: where.update(extra="x\n" * 200), "no file of weights beside it"),
        (lambda where: where.update(extra="none.safetensors"), "none.safetensors is missing"),
        (lambda where: where.clear(), "has no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(folder, change, words):
    index = shard(folder, "model", ".safetensors")
    document = json.loads(index.read_text())
    change(document["weight_map"])
    index.write_text(json.dumps(document))
    assert words in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "[" * 100_000])
def test_an_index_that_is_none_is_refused(folder, text):
    shard(folder, "model", ".safetensors").write_text(text)
    assert "model.safetensors.index.json" in refused(folder)


def test_a_folder_of_links_is_read_as_the_hubs_cache_lays_it(folder, plain, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    for index, path in enumerate(path for path in folder.rglob("*") if path.is_file()):
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / str(index))
        link.symlink_to(blobs / str(index))
    opened = open_checkpoint(snapshot)
    assert same(opened, open_checkpoint(plain))
    assert opened.sha256 == open_checkpoint(plain).sha256
    (snapshot / "model.safetensors").resolve().unlink()
    assert "is a link to a file that is gone" in refused(snapshot)


def test_the_hash_of_single_files_is_what_it_was(oracle):
    """Bundles and caches of earlier days know checkpoints by it."""
    assert open_checkpoint(oracle).sha256 == "33a4c746d05a082087f0fe104013b9a0211f9f398a804d68ce5cc4bd14f1b37b"


def test_what_one_component_read_is_not_kept_for_the_next(folder):
    opened = open_checkpoint(folder)
    first, second = (opened.dit().preprocess_conv.weight.untyped_storage() for _ in range(2))
    assert first.data_ptr() != second.data_ptr()


def test_weights_that_changed_while_they_were_in_use_are_refused(folder):
    opened = open_checkpoint(folder)
    tensors = take(folder)
    tensors.pop("model.model.preprocess_conv.weight")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="was changed while it was in use; start again"):
        opened.decoder()


def test_double_precision_is_read_as_single(folder, plain):
    save_file({name: tensor.double() for name, tensor in take(folder).items()}, folder / "model.safetensors")
    opened = open_checkpoint(folder)
    assert opened.dit().preprocess_conv.weight.dtype == torch.float32
    assert torch.equal(opened.dit().preprocess_conv.weight, open_checkpoint(plain).dit().preprocess_conv.weight)


@pytest.mark.parametrize(
    ("below", "name", "value", "kind"),
    [
        (".", "model.model.preprocess_conv.weight", 1e300, "torch.float32"),
        ("t5-base", "shared.weight", 1e5, "torch.float16"),
    ],
)
def test_values_that_get_lost_in_the_precision_used_are_refused(folder, below, name, value, kind):
    weights = {name: tensor.double() for name, tensor in take(folder / below).items()}
    weights[name].view(-1)[3] = value
    save_file(weights, folder / below / "model.safetensors")
    assert f"goes beyond what {kind} holds" in refused(folder)


def move_t5(folder: Path, *names: str) -> None:
    for name in names:
        shutil.copytree(folder / "t5-base", folder / name)
    shutil.rmtree(folder / "t5-base")


def test_t5_may_lie_in_a_folder_of_another_name(folder, plain):
    move_t5(folder, "text_encoder")
    opened = open_checkpoint(folder)
    assert same(opened, open_checkpoint(plain))
    assert opened.sha256 == open_checkpoint(plain).sha256
    assert opened.notes == (f"the text encoder is read from {folder / 'text_encoder'}; the config asks for t5-base",)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ((), "no other folder there holds a T5 (config.json of model_type t5, spiece.model)"),
        (("one", "two"), "one or two may be it"),
        (("flan-t5-base",), "flan-t5-base is another T5"),
    ],
)
def test_a_t5_folder_that_cannot_be_told_is_refused(folder, names, what):
    move_t5(folder, *names)
    wanted = folder / "t5-base"
    assert refused(folder) == f"{wanted / 'config.json'} is missing, and {what}; put t5-base into {wanted}"


def test_a_lora_beside_a_model_is_not_applied_and_that_is_said(folder):
    (folder / "adapter_config.json").write_text("{}")
    (folder / "lora").mkdir()
    save_file({"x": torch.ones(1)}, folder / "lora" / "adapter_model.safetensors")
    save_file({"transformer.to_q.lora_A.weight": torch.ones(1)}, folder / "rain.safetensors")
    (folder / "my_LoRA.ckpt").write_bytes(b"")
    save_file({"x": torch.ones(1)}, folder / "other.safetensors")
    (folder / "damaged.safetensors").write_bytes(b"no safetensors")
    assert open_checkpoint(folder).notes == (
        f"LoRA files are not applied (adapter_config.json, lora/adapter_model.safetensors, my_LoRA.ckpt, "
        f"rain.safetensors in {folder}); merge them into the weights first",
    )


def test_a_lora_within_the_weights_is_to_be_merged(folder):
    weights = take(folder)
    weights["model.model.to_cond_embed.0.parametrizations.weight.0.lora_A"] = torch.ones(2)
    save_file(weights, folder / "model.safetensors")
    assert refused(folder).endswith("merge its LoRA into these weights")


def test_two_files_of_weights_are_noted(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "model.ckpt")
    assert open_checkpoint(folder).notes == (
        f"{folder} has model.safetensors and model.ckpt: model.safetensors is read",
    )


def test_weights_of_another_name_are_named(folder):
    (folder / "model.safetensors").rename(folder / "epoch=3-step=1000.safetensors")
    message = refused(folder)
    assert "has neither model.safetensors nor" in message
    assert "but epoch=3-step=1000.safetensors: give the one that you mean such a name" in message


def test_names_in_messages_are_few_short_and_printable(folder):
    save_file({f"\x1b[1m{index} {'x' * 300}": torch.ones(1) for index in range(40)}, folder / "model.safetensors")
    message = refused(folder)
    assert "40 unused" in message and "and 36 more" in message
    assert shown("a\nb\x1b") == r"a\nb\x1b"
    assert len(shown("\x00" * 300)) == len(shown("x" * 300)) == 80


def test_a_long_name_does_not_hide_its_shapes(folder):
    weights = take(folder)
    name = max(weights, key=len)
    expected = list(weights[name].shape)
    weights[name] = torch.ones(3, 5, 7)
    save_file(weights, folder / "model.safetensors")
    assert f"1 misshapen: {name} [3, 5, 7] (expected {expected})" in refused(folder)


def objective(folder: Path, value: object) -> None:
    document = json.loads((folder / "model_config.json").read_text())
    text = json.dumps(replaced(document, "model.diffusion.diffusion_objective", value))
    (folder / "model_config.json").write_text(text)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (..., "diffusion_objective is missing, and without it the model counts as 'v', which is not supported; write"),
        ("rectified_flow", "is 'rectified_flow', a base model or a fine-tune of one, not post-trained by ARC: stable-"),
        ("v", "is 'v', an older kind of model such as Stable Audio Open 1.0: stable-audio-tools plays it; supported"),
        ("x" * 500, "; supported: 'rf_denoiser'"),
        (None, "diffusion_objective is None, expected str"),
    ],
)
def test_another_objective_says_what_it_is(folder, value, words):
    objective(folder, value)
    assert words in refused(folder)


def test_a_tokenizer_with_more_pieces_than_rows_is_refused_at_once(folder):
    path = folder / "t5-base" / "spiece.model"
    rows = json.loads((folder / "t5-base" / "config.json").read_text())["vocab_size"]
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())

    def fill(pieces: int) -> None:
        for index in range(len(model.pieces), pieces):
            model.pieces.add(piece=f"<extra {index}>", score=-20.0, type=1)
        path.write_bytes(model.SerializeToString())

    fill(rows)
    open_checkpoint(folder)
    fill(rows + 1)
    assert refused(folder) == (
        f"{path} has {rows + 1} pieces, and the text encoder's table only {rows} rows; "
        "use the spiece.model that was published with these weights"
    )


def test_commands_show_the_notes(folder, tmp_path, monkeypatch, edge_export):
    save_file({"lora_A": torch.ones(1)}, folder / "rain.safetensors")
    (note,) = open_checkpoint(folder).notes
    heard: list[str] = []

    def stop(*_arguments: object) -> None:
        raise UsageError("far enough")

    monkeypatch.setattr(pipeline, "spell_out", stop)
    with pytest.raises(UsageError, match="far enough"):
        export_bundle(BuildRequest(out=tmp_path / "out", target="host", checkpoint=folder), silent, heard.append)
    assert heard == [note]
    shown_by_sensitivity = edge_export("sensitivity", folder, "--submodule", "conditioner", "--layers", "none-such")
    assert f"edge-export: note: {note}\n" in shown_by_sensitivity.err


def test_a_pickle_that_pytorch_never_wrote_is_refused_without_its_warnings(tmp_path, recwarn):
    path = tmp_path / "model.ckpt"
    path.write_bytes(pickle.dumps(Namespace(a=1), protocol=4))
    with pytest.raises(CheckpointError, match="truncated, or holds more than weights"):
        open_file(path)
    assert not recwarn.list
