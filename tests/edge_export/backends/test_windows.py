"""A clip decoded in windows and tiles by compiled programs is the clip decoded whole by the network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_export.backends import BACKENDS
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.pipeline import BuildRequest, compile_program, resolve
from edge_export.reference import reference_programs
from runtime_py.bundle import Bundle, open_bundle
from runtime_py.engine import bundle_programs
from runtime_py.loop import decode
from tests.fixtures.make_bundles import FOLDER, LATENTS, SMALLEST, write_checkpoint

pytestmark = pytest.mark.build

TAIL_HOP = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    """What tests/fixtures/bundles was made from, whose weights know no length, for a clip as long as theirs."""
    folder = tmp_path_factory.mktemp("smallest") / "checkpoint"
    write_checkpoint(folder, replace(SMALLEST, latents=LATENTS))
    return open_checkpoint(folder)


@pytest.fixture(scope="module", params=list(BACKENDS))
def bundle(request, checkpoint, tmp_path_factory) -> Bundle:
    """The bundle of the fixtures, or the same with a decoder of the other backend."""
    bundle = open_bundle(FOLDER / "fp32" / "bundle")
    if request.param == bundle.manifest.backend:
        return bundle
    folder: Path = tmp_path_factory.mktemp("windows")
    choices = resolve(BuildRequest(out=folder, target="host", backend=request.param, recipe="fp32"))
    made = {role: compile_program(role, checkpoint, choices, None, folder) for role in ("decoder", "decoder_tail")}
    spec = bundle.manifest.generation
    spec = replace(spec, programs=spec.programs | {role: interface for role, (_, interface) in made.items()})
    programs = bundle.manifest.programs | {role: program for role, (program, _) in made.items()}
    manifest = replace(bundle.manifest, backend=request.param, generation=spec, programs=programs)
    return Bundle(folder=folder, manifest=manifest)


@pytest.fixture(scope="module")
def latent(bundle) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(bundle.manifest.generation.latent.shape, dtype=np.float32)[None]


@pytest.fixture(scope="module")
def whole(checkpoint, latent) -> np.ndarray:
    """What the fp32 network makes of all latents at once: [channels, samples]."""
    return reference_programs(checkpoint)("decoder").run({"latent": latent})["audio"][0]


def pieces_of(
    bundle: Bundle, latent: np.ndarray, samples: int, *, margin: int | None = None, tail_margin: int | None = None
) -> list[np.ndarray]:
    """The decoder's pieces of sound; `margin` and `tail_margin` are others than the bundle's."""
    spec = bundle.manifest.generation
    if margin is not None:
        spec = replace(spec, latent=replace(spec.latent, margin=margin))
    if tail_margin is not None:
        assert spec.features is not None
        spec = replace(spec, features=replace(spec.features, margin=tail_margin))
    return [event.tensors["audio"] for event in decode(spec, bundle_programs(bundle), latent, samples)]


def test_windows_together_are_the_whole(bundle, latent, whole):
    spec = bundle.manifest.generation
    pieces = pieces_of(bundle, latent, spec.latent.samples)
    assert (spec.latent.margin, spec.window) == (10, 22)
    assert (spec.features.rate, spec.features.margin, spec.tile, spec.tail_hop) == (64, 15, 542, TAIL_HOP)
    # Of three windows 12, 2 and 12 latents are kept.
    assert [piece.shape[1] // TAIL_HOP for piece in pieces] == [527, 241, 128, 512, 256]
    audio = np.concatenate(pieces, axis=1)
    assert audio.shape == whole.shape == (2, spec.latent.samples)
    assert np.abs(whole).max() > 1e-2
    assert np.abs(audio - whole).max() <= 1e-4 * np.abs(whole).max()


def test_fewer_samples_are_the_beginning_of_the_whole_and_take_fewer_tiles(bundle, latent, whole):
    """A short clip, one that ends with a tile, within the next tile, within a feature, and in the second window."""
    first, second = (piece.shape[1] for piece in pieces_of(bundle, latent, whole.shape[1])[:2])
    for samples, count in ((1, 1), (first, 1), (first + 1, 2), (first + 1000, 2), (first + second + 1, 3)):
        pieces = pieces_of(bundle, latent, samples)
        assert len(pieces) == count
        audio = np.concatenate(pieces, axis=1)
        assert audio.shape == (2, samples)
        assert np.abs(audio - whole[:, :samples]).max() <= 1e-4 * np.abs(whole).max()


def test_less_margin_than_the_decoder_hears_shows_at_the_cuts(bundle, latent, whole):
    """These tests would notice."""
    for changes in ({"margin": 8}, {"tail_margin": 4}):
        audio = np.concatenate(pieces_of(bundle, latent, whole.shape[1], **changes), axis=1)
        assert np.abs(audio - whole).max() > 1e-4 * np.abs(whole).max()
