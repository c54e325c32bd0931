"""The same prompt and seed give the clip that the published library itself made of them on a CPU, noise and all.

`tests/fixtures/oracle-arc` is a checkpoint written by stable-audio-tools 0.0.19; its `more.safetensors` holds what that
library's `generate_diffusion_cond` made from a prompt, by steps and seed, and names the prompt and seconds_total.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from edge_export import bundle as write
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.pipeline import BuildRequest, export_bundle
from edge_export.progress import silent
from edge_export.reference import reference_programs
from edge_export.submodules import SUBMODULES
from edge_export.tokenizer_export import read_spiece
from runtime_py.bundle import open_bundle, read_tokenizer
from runtime_py.engine import OpenProgram, bundle_programs, kept_loaded
from runtime_py.generation_spec import GenerationSpec
from runtime_py.loop import by_stage, encode_prompt, generate, joined
from runtime_py.metrics import snr_db
from runtime_py.request import Request
from runtime_py.tokenizer import Tokenizer

ORACLE = Path(__file__).parents[1] / "fixtures" / "oracle-arc"
LEAST_DB = 90
CASE = re.compile(r"pingpong steps=(\d+) seed=(\d+)")
CASES = ["pingpong steps=8 seed=0", "pingpong steps=8 seed=7", "pingpong steps=8 seed=4294967295"]
CASES += ["pingpong steps=4 seed=7"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """latent [1, channels, length]; audio [channels, samples] of the seconds asked for."""

    latent: np.ndarray
    audio: np.ndarray


def request_of(case: str) -> Request:
    found = CASE.fullmatch(case)
    assert found is not None
    with safe_open(ORACLE / "more.safetensors", framework="np") as file:
        metadata = file.metadata()
    steps, seed = map(int, found.groups())
    return Request(prompt=metadata["prompt"], seconds=float(metadata["seconds_total"]), seed=seed, steps=steps)


def published(case: str, samples: int) -> Clip:
    """The library's clip; it decodes the whole latent, of which the seconds asked for are the beginning."""
    with safe_open(ORACLE / "more.safetensors", framework="np") as file:
        return Clip(latent=file.get_tensor(f"{case}/latent"), audio=file.get_tensor(f"{case}/audio")[0, :, :samples])


def played(spec: GenerationSpec, open_program: OpenProgram, tokenizer: Tokenizer, request: Request) -> Clip:
    prompt = encode_prompt(tokenizer, request, spec)
    stages = by_stage(generate(spec, open_program, request, prompt))
    return Clip(latent=stages["dit"][-1].tensors["clean"], audio=joined(stages["decoder"]))


def assert_same(case: str, made: Clip) -> None:
    wanted = published(case, made.audio.shape[1])
    assert made.audio.shape == wanted.audio.shape == (2, 26460)
    assert snr_db(wanted.latent, made.latent) >= LEAST_DB
    assert snr_db(wanted.audio, made.audio) >= LEAST_DB


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(ORACLE)


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> Callable[[Request], Clip]:
    spec = write.generation_spec(checkpoint.config, SUBMODULES, steps=8)
    open_program, tokenizer = kept_loaded(reference_programs(checkpoint)), read_spiece(checkpoint.spiece)
    return lambda request: played(spec, open_program, tokenizer, request)


@pytest.mark.parametrize("case", CASES)
def test_the_reference_plays_the_published_librarys_clip(reference, case):
    assert_same(case, reference(request_of(case)))


def test_another_seed_is_another_clip(reference):
    """What the test above is worth."""
    other = reference(request_of(CASES[0]))
    wanted = published(CASES[1], other.audio.shape[1])
    assert snr_db(wanted.latent, other.latent) < 10
    assert snr_db(wanted.audio, other.audio) < 40  # most of this decoder's sound is the same for all latents


def test_every_recorded_case_is_held():
    with safe_open(ORACLE / "more.safetensors", framework="np") as file:
        assert {name.rpartition("/")[0] for name in file.keys()} == set(CASES)  # noqa: SIM118


@pytest.mark.build
def test_an_fp32_bundle_plays_the_published_librarys_clip(tmp_path):
    request = BuildRequest(
        out=tmp_path / "bundle", target="android-arm64", checkpoint=ORACLE, backend="litert", recipe="fp32"
    )
    export_bundle(request, silent)
    bundle = open_bundle(request.out)
    spec, open_program, tokenizer = bundle.manifest.generation, bundle_programs(bundle), read_tokenizer(bundle)
    for case in CASES:
        assert_same(case, played(spec, open_program, tokenizer, request_of(case)))
