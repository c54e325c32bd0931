"""Proves a bundle: replays its golden vectors stage by stage and holds each against its threshold.

Every stage gets the reference's own inputs, so that one stage's error cannot hide in another's. It knows
thresholds only from the manifest, and programs only through an engine.
"""

import dataclasses
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from edge_export.golden import Golden, read_golden
from runtime_py.bundle import Bundle
from runtime_py.generate import (
    OpenProgram,
    bundle_programs,
    decode,
    joined,
    kept_loaded,
    latent_noise,
    read_tokenizer,
    step_sigmas,
)
from runtime_py.manifest import Manifest
from runtime_py.metrics import log_mel_distance, max_error, snr_db
from runtime_py.sampler import pingpong

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
    return 8 + len(manifest.program("conditioner").outputs)


def verify(bundle: Bundle, *, threads: int | None = None) -> Iterator[Check]:
    """One Check after another, in the order of the data.

    Raises:
        BundleError, GenerationError: the golden vectors or a program cannot be used at all.
    """
    manifest, golden = bundle.manifest, read_golden(bundle)
    open_program = bundle_programs(bundle, threads=threads)
    yield from _tokenizer(bundle, golden)
    yield from _noise(manifest, golden)
    yield from _conditioner(manifest, golden, open_program)
    latent = yield from _dit(manifest, golden, open_program)
    yield from _decoder(manifest, golden, latent, open_program)


def _tokenizer(bundle: Bundle, golden: Golden) -> Iterator[Check]:
    made = read_tokenizer(bundle).encode_prompt(bundle.manifest.golden.prompt, bundle.manifest.conditioning.tokens)
    for name, array in (("input_ids", made.ids), ("prompt_mask", made.mask)):
        equal = np.array_equal(array[None], golden[name])
        yield exact("tokenizer", name, golden[name], array[None], passed=equal)


def _noise(manifest: Manifest, golden: Golden) -> Iterator[Check]:
    draws = latent_noise(manifest, manifest.golden.seed)
    noise = np.concatenate([next(draws) for _ in range(manifest.golden.steps)])
    yield exact("noise", "noise", golden["noise"], noise, passed=max_error(golden["noise"], noise) <= NOISE_ERROR)
    schedule = step_sigmas(manifest, manifest.golden.steps)
    yield exact("sampler", "sigmas", golden["sigmas"], schedule, passed=np.array_equal(schedule, golden["sigmas"]))


def _conditioner(manifest: Manifest, golden: Golden, open_program: OpenProgram) -> Iterator[Check]:
    spec = manifest.program("conditioner")
    outputs = open_program("conditioner").run({tensor.name: golden[tensor.name] for tensor in spec.inputs})
    for tensor in spec.outputs:
        yield _judge(manifest, "conditioner", tensor.name, golden[tensor.name], outputs[tensor.name])


def _dit(manifest: Manifest, golden: Golden, open_program: OpenProgram) -> Generator[Check, None, np.ndarray]:
    """Each recorded step on its recorded input; returns the latent of a whole run on the recorded noise."""
    conditioning = {tensor.name: golden[tensor.name] for tensor in manifest.program("conditioner").outputs}
    dit = open_program("dit")

    def velocity(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
        return dit.run({"latent": latent, "sigma": np.array([sigma], np.float32), **conditioning})["velocity"]

    steps = zip(golden["step_latent"], golden["sigmas"])
    velocities = [velocity(latent[None], sigma)[0] for latent, sigma in steps]
    pairs = list(zip(golden["step_velocity"], velocities))
    worst = min(range(len(pairs)), key=lambda index: snr_db(*pairs[index]))
    yield _judge(manifest, "dit", f"velocity, step {worst + 1} of {len(pairs)}", *pairs[worst])

    noise = (draw[None] for draw in golden["noise"])
    *_, last = pingpong(velocity, noise, golden["sigmas"])
    return last.clean


def _decoder(manifest: Manifest, golden: Golden, latent: np.ndarray, open_program: OpenProgram) -> Iterator[Check]:
    """The recorded latent decoded, then what the whole run made: its `latent`, and that decoded."""
    open_kept = kept_loaded(open_program)

    def audio(of: np.ndarray) -> np.ndarray:
        return joined(decode(manifest, open_kept, of, manifest.latent.samples))

    yield _judge_audio(manifest, "decoder", golden["audio"], audio(golden["latent"]))
    yield _judge(manifest, "run", "latent", golden["latent"], latent)
    yield _judge_audio(manifest, "run", golden["audio"], audio(latent))


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
    return judge_audio(stage, reference, actual, manifest.audio.sample_rate, manifest.recipe.thresholds.get(stage))
