"""From a prompt to audio: tokenizer, conditioner, dit steps, decoder, one event after each.

The loop is a generator, so that progress, cancelling and recording stay outside. It does not know which
engine runs a program, nor what becomes of the audio.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from runtime_py.audio import trim
from runtime_py.bundle import Bundle
from runtime_py.engine import Program, Tensors, engine_for
from runtime_py.errors import GenerationError, UsageError
from runtime_py.manifest import Manifest
from runtime_py.random import TorchRandom
from runtime_py.sampler import pingpong, sigmas
from runtime_py.tokenizer import Prompt, Tokenizer, load_tokenizer

MAX_PROMPT_CHARACTERS = 100_000
DEFAULT_SECONDS = 7.0

OpenProgram = Callable[[str], Program]
"""Loads the program of a stage: "conditioner", "dit" or "decoder"."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to generate. `steps` of None means the bundle's own."""

    prompt: str
    seconds: float
    seed: int = 0
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """A piece of work is done: step `index` of `count` of `stage`, which took `load` + `run` seconds."""

    stage: str
    index: int
    count: int
    load: float
    run: float
    tensors: Tensors = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """Seconds that a stage took: loading its program, and each run of it."""

    load: float
    runs: tuple[float, ...]

    @property
    def total(self) -> float:
        return self.load + sum(self.runs)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What came out: audio [channels, samples] of exactly the seconds asked for, and how long each stage took."""

    audio: np.ndarray
    times: dict[str, StageTime]


def default_seconds(manifest: Manifest) -> float:
    """7 seconds, or the model's whole clip where that is shorter."""
    return min(DEFAULT_SECONDS, manifest.seconds_limit)


def check_request(request: Request, manifest: Manifest) -> None:
    """Refuse what the model cannot do, before anything is loaded.

    Raises:
        UsageError: an empty or absurdly long prompt; seconds, steps or a seed out of range.
    """
    if not request.prompt.strip():
        raise UsageError('the prompt is empty; say what to play, such as --prompt "warm arpeggios on house beats"')
    if len(request.prompt) > MAX_PROMPT_CHARACTERS:
        raise UsageError(
            f"the prompt has {len(request.prompt)} characters; the model reads {manifest.conditioning.tokens} tokens: "
            f"shorten it below {MAX_PROMPT_CHARACTERS} characters"
        )
    limit = manifest.seconds_limit
    if not math.isfinite(request.seconds) or request.seconds <= 0:
        raise UsageError(f"seconds is {request.seconds:g}, expected a number above 0 and up to {limit:.3f}")
    if request.seconds > limit:
        raise UsageError(f"seconds is {request.seconds:g}, this model makes at most {limit:.3f}; ask for less")
    if round(request.seconds * manifest.audio.sample_rate) < 1:
        raise UsageError(f"seconds is {request.seconds:g}, less than one sample; ask for more")
    step_sigmas(manifest, request.steps)
    TorchRandom(request.seed)


def encode_prompt(tokenizer: Tokenizer, request: Request, manifest: Manifest) -> Prompt:
    """The prompt as ids and mask; UsageError when nothing of it is left after normalisation."""
    prompt = tokenizer.encode_prompt(request.prompt, manifest.conditioning.tokens)
    if prompt.tokens <= 1:  # only </s>
        raise UsageError("the prompt holds only spaces and control characters; say what to play in words")
    return prompt


def bundle_programs(bundle: Bundle, *, threads: int | None = None) -> OpenProgram:
    """Opens the bundle's own programs with the engine of its backend."""
    engine = engine_for(bundle.manifest.backend)
    engine.prepare()

    def open_program(stage: str) -> Program:
        spec = bundle.manifest.program(stage)
        return engine.load(bundle.path(spec), spec, threads=threads)

    return open_program


def read_tokenizer(bundle: Bundle) -> Tokenizer:
    return load_tokenizer(bundle.path(bundle.manifest.tokenizer))


def generate(manifest: Manifest, open_program: OpenProgram, request: Request, prompt: Prompt) -> Iterator[Event]:
    """Run the whole generation; the last event's tensors hold "audio" [channels, samples], not yet trimmed.

    A stage's program is loaded when its turn comes and let go when it is done. The conditioner's outputs
    reach the dit by name, whatever they are.

    Raises:
        GenerationError: a program failed or returned NaN.
    """
    conditioned = run_once(
        "conditioner",
        open_program,
        input_ids=prompt.ids[None],
        prompt_mask=prompt.mask[None],
        seconds=np.array([request.seconds], np.float32),
    )
    yield conditioned
    latent = yield from denoise(manifest, open_program, request, conditioned.tensors)
    decoded = run_once("decoder", open_program, latent=latent)
    audio = decoded.tensors["audio"][0]
    if not np.isfinite(audio).all():
        raise GenerationError("the decoder returned NaN or infinity; run `edge-export verify` on the bundle")
    yield replace(decoded, tensors={"audio": audio})


def denoise(
    manifest: Manifest, open_program: OpenProgram, request: Request, conditioning: Tensors
) -> Generator[Event, None, np.ndarray]:
    """The dit's steps from noise, one event each; returns the clean latent [1, channels, length]."""
    schedule = step_sigmas(manifest, request.steps)
    dit = Stage("dit", open_program, count=len(schedule) - 1)

    def velocity(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
        return dit.run(latent=latent, sigma=np.array([sigma], np.float32), **conditioning)["velocity"]

    for step in pingpong(velocity, latent_noise(manifest, request.seed), schedule):
        yield dit.event({"latent": step.latent, "velocity": step.velocity, "clean": step.clean})
    return step.clean


def collect(events: Iterable[Event], request: Request, manifest: Manifest) -> Generation:
    """Run `events` to their end and keep what a caller wants: the audio, trimmed, and the times."""
    loads: dict[str, float] = {}
    runs: dict[str, list[float]] = {}
    audio = np.zeros((manifest.audio.channels, 0), np.float32)
    for event in events:
        loads[event.stage] = loads.get(event.stage, 0.0) + event.load
        runs.setdefault(event.stage, []).append(event.run)
        audio = event.tensors.get("audio", audio)
    times = {stage: StageTime(load=loads[stage], runs=tuple(runs[stage])) for stage in runs}
    return Generation(audio=trim(audio, request.seconds, manifest.audio.sample_rate), times=times)


def step_sigmas(manifest: Manifest, steps: int | None) -> np.ndarray:
    """The sigmas recorded in the bundle, or those of another number of steps on the same logSNR range."""
    if steps is None or steps == manifest.sampler.steps:
        return np.array(manifest.sampler.sigmas, np.float32)
    low, high = manifest.sampler.logsnr
    return sigmas(steps, (low, high))


def latent_noise(manifest: Manifest, seed: int) -> Iterator[np.ndarray]:
    """Draws of [1, channels, length], in the order torch.randn would make them from `seed`."""
    random = TorchRandom(seed)
    while True:
        yield random.randn(1, *manifest.latent.shape)


def run_once(name: str, open_program: OpenProgram, **inputs: np.ndarray) -> Event:
    """Load a stage's program, run it once, let it go."""
    stage = Stage(name, open_program)
    return stage.event(stage.run(**inputs))


class Stage:
    """One program: loaded at its first run, timed, and let go with this object."""

    def __init__(self, name: str, open_program: OpenProgram, count: int = 1) -> None:
        self.name, self.count, self.index = name, count, 0
        self._open = open_program
        self._program: Program | None = None
        self._load = self._run = 0.0

    def run(self, **inputs: np.ndarray) -> Tensors:
        if self._program is None:
            start = time.perf_counter()
            self._program = self._open(self.name)
            self._load = time.perf_counter() - start
        start = time.perf_counter()
        outputs = self._program.run(inputs)
        self._run = time.perf_counter() - start
        return outputs

    def event(self, tensors: Tensors) -> Event:
        """The event of the run just made."""
        self.index += 1
        made = Event(
            stage=self.name, index=self.index, count=self.count, load=self._load, run=self._run, tensors=tensors
        )
        self._load = 0.0
        return made
