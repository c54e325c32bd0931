"""A clip decoded in windows by a compiled program is the clip decoded whole by the network."""

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

HOP = 2048


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
    program, interface = compile_program("decoder", checkpoint, choices, None, folder)
    spec = bundle.manifest.generation
    spec = replace(spec, programs=spec.programs | {"decoder": interface})
    programs = bundle.manifest.programs | {"decoder": program}
    manifest = replace(bundle.manifest, backend=request.param, generation=spec, programs=programs)
    return Bundle(folder=folder, manifest=manifest)


@pytest.fixture(scope="module")
def latent(bundle) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(bundle.manifest.generation.latent.shape, dtype=np.float32)[None]


@pytest.fixture(scope="module")
def whole(checkpoint, latent) -> np.ndarray:
    """What the fp32 network makes of all latents at once: [channels, samples]."""
    return reference_programs(checkpoint)("decoder").run({"latent": latent})["audio"][0]


def pieces_of(bundle: Bundle, latent: np.ndarray, samples: int, **changes: object) -> list[np.ndarray]:
    spec = bundle.manifest.generation
    spec = replace(spec, latent=replace(spec.latent, **changes))
    return [event.tensors["audio"] for event in decode(spec, bundle_programs(bundle), latent, samples)]


def test_windows_together_are_the_whole(bundle, latent, whole):
    spec = bundle.manifest.generation
    pieces = pieces_of(bundle, latent, spec.latent.samples)
    cuts = [piece.shape[1] // HOP for piece in pieces]
    assert (spec.latent.margin, spec.window, cuts) == (10, 22, [12, 2, 12])
    audio = np.concatenate(pieces, axis=1)
    assert audio.shape == whole.shape == (2, spec.latent.samples)
    assert np.abs(whole).max() > 1e-2
    assert np.abs(audio - whole).max() <= 1e-4 * np.abs(whole).max()


def test_fewer_samples_are_the_beginning_of_the_whole_and_take_fewer_windows(bundle, latent, whole):
    first = pieces_of(bundle, latent, whole.shape[1])[0].shape[1]
    for samples, count in ((first, 1), (first + 1, 2)):
        pieces = pieces_of(bundle, latent, samples)
        assert len(pieces) == count
        audio = np.concatenate(pieces, axis=1)
        assert audio.shape == (2, samples)
        assert np.abs(audio - whole[:, :samples]).max() <= 1e-4 * np.abs(whole).max()


def test_less_margin_than_the_decoder_hears_shows_at_the_cuts(bundle, latent, whole):
    """These tests would notice."""
    audio = np.concatenate(pieces_of(bundle, latent, whole.shape[1], margin=8), axis=1)
    assert np.abs(audio - whole).max() > 1e-4 * np.abs(whole).max()
