"""The reference is found again by its checkpoint's hash, and no other checkpoint is taken for it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_export.builtin import BUILTIN_CHECKPOINT, BUILTIN_NAME
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import UsageError
from edge_export.reference import open_reference, reference_programs, remember_checkpoint
from runtime_py.manifest import Manifest
from tests.runtime_py.test_manifest import MANIFEST

REMEDY = "add --checkpoint DIR"
KEYS = (2, 65, 128)  # depth * heads, tokens, head_dim of the oracle


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def checkpoint(oracle) -> Checkpoint:
    return open_checkpoint(oracle)


@pytest.fixture
def copied(oracle, tmp_path) -> Path:
    return Path(shutil.copytree(oracle, tmp_path / "copy", ignore=shutil.ignore_patterns("expected*")))


def manifest_of(sha256: str, name: str = "oracle") -> Manifest:
    return replace(MANIFEST, model=replace(MANIFEST.model, name=name, checkpoint_sha256=sha256))


def velocity(open_program) -> np.ndarray:
    """The dit on fixed noise."""
    generator = np.random.default_rng(0)
    shapes = {"latent": (1, 64, 16), "sigma": (1,), "cross_k": KEYS, "cross_v": KEYS, "global_cond": (1, 768)}
    inputs = {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    return open_program("dit").run(inputs)["velocity"]


def refused(manifest: Manifest, folder: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        open_reference(manifest, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_remembered_checkpoint_is_found_by_its_hash(checkpoint, cache):
    remember_checkpoint(checkpoint)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [checkpoint.sha256]
    found = open_reference(manifest_of(checkpoint.sha256), None)
    made = velocity(found)
    assert np.array_equal(made, velocity(reference_programs(checkpoint)))


def test_a_folder_that_is_given_needs_no_memory(checkpoint, oracle):
    found = open_reference(manifest_of(checkpoint.sha256), oracle)
    assert velocity(found).shape == (1, 64, 16)


def test_a_checkpoint_never_seen_is_asked_for(checkpoint):
    message = refused(manifest_of(checkpoint.sha256))
    assert message.startswith("the reference engine needs the checkpoint this bundle was built from")
    assert message.endswith(REMEDY)


def test_a_folder_that_is_not_there_is_named(checkpoint, tmp_path):
    message = refused(manifest_of(checkpoint.sha256), tmp_path / "nowhere")
    assert message.startswith(f"there is no checkpoint at {tmp_path / 'nowhere'}")
    assert REMEDY not in message


def test_a_checkpoint_that_is_gone_is_asked_for(copied):
    moved = open_checkpoint(copied)
    sha256 = moved.sha256
    remember_checkpoint(moved)
    shutil.rmtree(copied)
    assert refused(manifest_of(sha256)).endswith(REMEDY)


@pytest.mark.parametrize("by", ["folder", "memory"])
def test_a_checkpoint_that_changed_is_refused(checkpoint, copied, by):
    remember_checkpoint(open_checkpoint(copied))
    weights = load_file(copied / "model.safetensors")
    weights["model.model.preprocess_conv.weight"] += 1e-3
    save_file(weights, copied / "model.safetensors")
    message = refused(manifest_of(checkpoint.sha256), copied if by == "folder" else None)
    assert message.startswith(f"{copied} is not the checkpoint this bundle was built from")
    assert message.endswith(REMEDY)


def test_the_built_in_checkpoint_needs_no_memory():
    made = open_checkpoint(BUILTIN_CHECKPOINT)
    latent = np.ones((1, made.config.latent_shape[0], 2), np.float32)
    audio = reference_programs(made)("decoder").run({"latent": latent})["audio"]
    found = open_reference(manifest_of(made.sha256, BUILTIN_NAME), None)
    assert np.array_equal(found("decoder").run({"latent": latent})["audio"], audio)


def test_another_checkpoint_than_the_built_in_one_is_refused(oracle):
    sha256 = open_checkpoint(BUILTIN_CHECKPOINT).sha256
    assert refused(manifest_of(sha256, BUILTIN_NAME), oracle).endswith(REMEDY)


def test_a_cache_that_cannot_be_written_is_no_error(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember_checkpoint(checkpoint)
    assert refused(manifest_of(checkpoint.sha256)).endswith(REMEDY)


@pytest.mark.parametrize(
    ("as_published", "given"),
    [(False, {"cross_k": KEYS, "cross_v": KEYS}), (True, {"cross_attn_cond": (1, 65, 768)})],
    ids=["keys", "published"],
)
def test_programs_take_and_give_arrays_by_name(checkpoint, as_published, given):
    run = reference_programs(checkpoint, as_published=as_published)("conditioner").run
    inputs = {
        "seconds": np.ones(1, np.float32),
        "prompt_mask": np.ones((1, 64), np.float32),
        "input_ids": np.ones((1, 64), np.int32),
    }
    made = run(inputs)
    assert all(array.dtype == np.float32 for array in made.values())
    assert {name: array.shape for name, array in made.items()} == {**given, "global_cond": (1, 768)}
    assert all(np.array_equal(made[name], again) for name, again in run(dict(reversed(inputs.items()))).items())


def test_a_bundle_is_played_by_the_network_cut_as_its_recipe_says(checkpoint, oracle):
    for as_published, name in ((False, "cross_k"), (True, "cross_attn_cond")):
        manifest = manifest_of(checkpoint.sha256)
        manifest = replace(manifest, recipe=replace(manifest.recipe, as_published=as_published))
        found = open_reference(manifest, oracle)
        ids, mask = np.ones((1, 64), np.int32), np.ones((1, 64), np.float32)
        made = found("conditioner").run({"input_ids": ids, "prompt_mask": mask, "seconds": np.ones(1, np.float32)})
        assert name in made


def test_the_decoder_takes_any_window(checkpoint):
    decoder = reference_programs(checkpoint)("decoder")
    latent = np.random.default_rng(0).standard_normal((1, 64, 5), dtype=np.float32)
    assert decoder.run({"latent": latent})["audio"].shape == (1, 2, 5 * 2048)


def test_threads_are_set(checkpoint):
    before = torch.get_num_threads()
    try:
        reference_programs(checkpoint, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
