"""Proves a bundle: replays its golden vectors program by program and holds each against its threshold.

Every program gets the reference's own inputs, so that one's error cannot hide in another's. It knows
thresholds only from the manifest, and programs only through an engine.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from runtime_py.bundle import Bundle, read_tokenizer
from runtime_py.engine import OpenProgram, Tensors, bundle_programs, kept_loaded
from runtime_py.golden import read_golden
from runtime_py.loop import decode, joined, latent_noise, steps_from
from runtime_py.manifest import Manifest
from runtime_py.metrics import log_mel_distance, max_error, snr_db
from runtime_py.replay import conditioning_in, replay_conditioner, replay_dit

NOISE_ERROR = 1e-5
"""The runtime's noise and torch.randn agree to this."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the proof.

    snr_db and max_error compare `tensor` with the reference; `threshold_db` is the least SNR allowed, None
    where nothing is demanded. `log_mel_db` is set for audio.
    """

    stage: str
    tensor: str
    snr_db: float
    max_error: float
    threshold_db: float | None
    passed: bool
    log_mel_db: float | None = None


def checks_in(manifest: Manifest) -> int:
    """How many checks `verify` will make of a bundle."""
    return 8 + len(manifest.generation.programs["conditioner"].outputs)


def verify(bundle: Bundle, *, threads: int | None = None) -> Iterator[Check]:
    """One Check after another, in the order of the data: what every runtime computes itself, each program, a whole run.

    Raises:
        BundleError, GenerationError: the golden vectors or a program cannot be used at all.
    """
    manifest, golden = bundle.manifest, read_golden(bundle)
    open_program = kept_loaded(bundle_programs(bundle, threads=threads))
    yield from _tokenizer(bundle, golden)
    yield from _noise(manifest, golden)
    for proof in PROOFS.values():
        yield from proof(manifest, golden, open_program)
    yield from _whole_run(manifest, golden, open_program)


def _tokenizer(bundle: Bundle, golden: Tensors) -> Iterator[Check]:
    manifest = bundle.manifest
    tokens = manifest.generation.conditioning.tokens
    made = read_tokenizer(bundle).encode_prompt(manifest.golden.request.prompt, tokens)
    for name, array in (("input_ids", made.ids), ("prompt_mask", made.mask)):
        equal = np.array_equal(array[None], golden[name])
        yield exact("tokenizer", name, golden[name], array[None], passed=equal)


def _noise(manifest: Manifest, golden: Tensors) -> Iterator[Check]:
    spec, request = manifest.generation, manifest.golden.request
    draws = latent_noise(spec, request.seed)
    noise = np.concatenate([next(draws) for _ in golden["noise"]])
    yield exact("noise", "noise", golden["noise"], noise, passed=max_error(golden["noise"], noise) <= NOISE_ERROR)
    schedule = spec.sampler.schedule(request.steps)
    yield exact("sampler", "sigmas", golden["sigmas"], schedule, passed=np.array_equal(schedule, golden["sigmas"]))


def _conditioner(manifest: Manifest, golden: Tensors, open_program: OpenProgram) -> Iterator[Check]:
    for event in replay_conditioner(manifest.generation, open_program, golden):
        for name, made in event.tensors.items():
            yield _judge(manifest, "conditioner", name, golden[name], made)


def _dit(manifest: Manifest, golden: Tensors, open_program: OpenProgram) -> Iterator[Check]:
    """The worst of the recorded steps, each on its recorded input."""
    made = [event.tensors["velocity"][0] for event in replay_dit(manifest.generation, open_program, golden)]
    pairs = list(zip(golden["step_velocity"], made, strict=True))
    worst = min(range(len(pairs)), key=lambda index: snr_db(*pairs[index]))
    yield _judge(manifest, "dit", f"velocity, step {worst + 1} of {len(pairs)}", *pairs[worst])


def _decoder(manifest: Manifest, golden: Tensors, open_program: OpenProgram) -> Iterator[Check]:
    yield _judge_audio(manifest, "decoder", golden["audio"], _audio(manifest, golden["latent"], open_program))


Proof = Callable[[Manifest, Tensors, OpenProgram], Iterator[Check]]

# stage -> how its programs are proven on the reference's inputs: those of a decoder in two, by the sound of both
PROOFS: dict[str, Proof] = {"conditioner": _conditioner, "dit": _dit, "decoder": _decoder}


def _whole_run(manifest: Manifest, golden: Tensors, open_program: OpenProgram) -> Iterator[Check]:
    """The dit on the recorded noise, each step on what it made of the one before; and that decoded."""
    spec = manifest.generation
    noise = (draw[None] for draw in golden["noise"])
    conditioning = conditioning_in(spec, golden)
    *_, last = steps_from(spec, open_program, next(noise), noise, golden["sigmas"], conditioning)
    latent = last.tensors["clean"]
    yield _judge(manifest, "run", "latent", golden["latent"], latent)
    yield _judge_audio(manifest, "run", golden["audio"], _audio(manifest, latent, open_program))


def _audio(manifest: Manifest, latent: np.ndarray, open_program: OpenProgram) -> np.ndarray:
    return joined(decode(manifest.generation, open_program, latent, manifest.generation.latent.samples))


def judge(stage: str, tensor: str, reference: np.ndarray, actual: np.ndarray, threshold: float | None) -> Check:
    """Hold `actual` to an SNR of `threshold` dB at least; NaN never passes."""
    snr, largest = snr_db(reference, actual), max_error(reference, actual)
    passed = math.isfinite(largest) and (threshold is None or snr >= threshold)
    return Check(stage=stage, tensor=tensor, snr_db=snr, max_error=largest, threshold_db=threshold, passed=passed)


def judge_audio(
    stage: str, reference: np.ndarray, actual: np.ndarray, sample_rate: int, threshold: float | None
) -> Check:
    """The same of audio [channels, samples], with the distance of the log-mel spectra."""
    judged = judge(stage, "audio", reference, actual, threshold)
    return dataclasses.replace(judged, log_mel_db=log_mel_distance(reference, actual, sample_rate))


def exact(stage: str, tensor: str, reference: np.ndarray, actual: np.ndarray, *, passed: bool) -> Check:
    """What must be right to the last bit, or to a bound of its own."""
    return Check(
        stage=stage,
        tensor=tensor,
        snr_db=snr_db(reference, actual),
        max_error=max_error(reference, actual),
        threshold_db=None,
        passed=passed,
    )


def _judge(manifest: Manifest, stage: str, tensor: str, reference: np.ndarray, actual: np.ndarray) -> Check:
    return judge(stage, tensor, reference, actual, manifest.recipe.thresholds.get(stage))


def _judge_audio(manifest: Manifest, stage: str, reference: np.ndarray, actual: np.ndarray) -> Check:
    return judge_audio(
        stage, reference, actual, manifest.generation.audio.sample_rate, manifest.recipe.thresholds.get(stage)
    )
