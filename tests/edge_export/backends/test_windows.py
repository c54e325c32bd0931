"""A clip decoded in windows by a compiled program is the clip decoded whole by the network."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_export import bundle as write
from edge_export.backends import BACKENDS
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.pipeline import BuildRequest, compile_program, resolve
from edge_export.reference import reference_programs
from runtime_py.bundle import Bundle, open_bundle
from runtime_py.engine import bundle_programs
from runtime_py.loop import decode

pytestmark = pytest.mark.build

LATENTS, WINDOW, FIRST = 32, 24, 14
"""Latents of the clip, of a window, and those that the first window gives."""

HOP = 2048


@pytest.fixture(scope="module")
def checkpoint(oracle) -> Checkpoint:
    """The oracle, whose weights know no length, for a clip of LATENTS."""
    found = open_checkpoint(oracle)
    config = dataclasses.replace(found.config, sample_size=LATENTS * found.config.decoder.hop)
    return dataclasses.replace(found, config=config)


@pytest.fixture(scope="module")
def latent() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((1, 64, LATENTS), dtype=np.float32)


@pytest.fixture(scope="module")
def whole(checkpoint, latent) -> np.ndarray:
    """What the fp32 network makes of all latents at once: [channels, samples]."""
    return reference_programs(checkpoint)("decoder").run({"latent": latent})["audio"][0]


@pytest.fixture(scope="module", params=list(BACKENDS))
def bundle(request, built, checkpoint, tmp_path_factory) -> Bundle:
    """The fp32 bundle of the oracle with the decoder of the longer clip."""
    folder: Path = tmp_path_factory.mktemp("windows")
    choices = resolve(BuildRequest(out=folder, target="host", backend=request.param, recipe="fp32"))
    program, interface = compile_program("decoder", checkpoint, choices, None, folder)
    manifest = open_bundle(built(request.param, "fp32")).manifest
    steps = manifest.generation.sampler.steps
    spec = write.generation_spec(checkpoint.config, choices.submodules, steps, {"decoder": interface})
    spec.validate("generation")
    programs = manifest.programs | {"decoder": program}
    manifest = dataclasses.replace(manifest, generation=spec, programs=programs)
    return Bundle(folder=folder, manifest=manifest)


def pieces_of(bundle: Bundle, latent: np.ndarray, samples: int, **changes: object) -> list[np.ndarray]:
    spec = bundle.manifest.generation
    spec = dataclasses.replace(spec, latent=dataclasses.replace(spec.latent, **changes))
    return [event.tensors["audio"] for event in decode(spec, bundle_programs(bundle), latent, samples)]


def test_windows_together_are_the_whole(bundle, latent, whole):
    assert (bundle.manifest.generation.window, bundle.manifest.generation.latent.margin) == (WINDOW, 10)
    pieces = pieces_of(bundle, latent, LATENTS * HOP)
    assert len(pieces) == 3
    audio = np.concatenate(pieces, axis=1)
    assert audio.shape == whole.shape == (2, LATENTS * HOP)
    assert np.abs(whole).max() > 1e-2
    assert np.abs(audio - whole).max() <= 1e-4 * np.abs(whole).max()


def test_fewer_samples_are_the_beginning_of_the_whole_and_take_fewer_windows(bundle, latent, whole):
    for samples, count in ((FIRST * HOP, 1), (FIRST * HOP + 1, 2)):
        pieces = pieces_of(bundle, latent, samples)
        assert len(pieces) == count
        audio = np.concatenate(pieces, axis=1)
        assert audio.shape == (2, samples)
        assert np.abs(audio - whole[:, :samples]).max() <= 1e-4 * np.abs(whole).max()


def test_less_margin_than_the_decoder_hears_shows_at_the_cuts(bundle, latent, whole):
    """These tests would notice."""
    audio = np.concatenate(pieces_of(bundle, latent, LATENTS * HOP, margin=8), axis=1)
    assert np.abs(audio - whole).max() > 1e-4 * np.abs(whole).max()
