"""The loop: conditioner, dit steps, windows of the decoder; an event after each piece of work.

It is a generator, so that progress, cancelling and recording stay outside. It does not know which engine runs a
program, nor what becomes of the audio.
"""

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from runtime_py.audio import samples_in
from runtime_py.engine import OpenProgram, Program, Tensors
from runtime_py.errors import GenerationError, UsageError
from runtime_py.generation_spec import GenerationSpec
from runtime_py.random import TorchRandom
from runtime_py.request import Request
from runtime_py.sampler import SAMPLERS
from runtime_py.tokenizer import Prompt, Tokenizer
from runtime_py.windows import Window, windows


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
    """What came out: audio [channels, samples] of exactly the seconds asked for, and how long each stage took.

    conditioning: what the conditioner made, for the next generation of the same prompt and seconds; empty when it
    was given.
    """

    audio: np.ndarray
    conditioning: Tensors = field(repr=False)
    times: dict[str, StageTime]

    @property
    def first_audio(self) -> float:
        """Seconds until the first piece of the sound could be handed on: all but the decoder's later windows."""
        return sum(time.total for time in self.times.values()) - sum(self.times["decoder"].runs[1:])


def encode_prompt(tokenizer: Tokenizer, request: Request, spec: GenerationSpec) -> Prompt:
    """The prompt as ids and mask; UsageError when nothing of it is left after normalisation."""
    prompt = tokenizer.encode_prompt(request.prompt, spec.conditioning.tokens)
    if prompt.tokens <= 1:  # only </s>
        raise UsageError("the prompt holds only spaces and control characters; say what to play in words")
    return prompt


def generate(
    spec: GenerationSpec,
    open_program: OpenProgram,
    request: Request,
    prompt: Prompt,
    *,
    conditioning: Tensors | None = None,
    window: int | None = None,
) -> Iterator[Event]:
    """Run the whole generation; the decoder's events hold "audio" [channels, samples], one piece after another.

    Together the pieces are exactly the seconds asked for, and each is ready while the next is still to be decoded.
    A stage's program is loaded when its turn comes and let go when it is done. The conditioner's outputs
    reach the dit by name, whatever they are: given as `conditioning`, from an earlier generation of the same prompt
    and seconds, they are not computed again. `window` is the latents to decode at a time, as many as the bundle's
    decoder takes unless the programs take others.

    Raises:
        GenerationError: a program failed or returned NaN.
    """
    if conditioning is None:
        conditioned = condition(open_program, request, prompt)
        yield conditioned
        conditioning = conditioned.tensors
    latent = yield from denoise(spec, open_program, request, conditioning)
    samples = samples_in(request.seconds, spec.audio.sample_rate)
    yield from decode(spec, open_program, latent, samples, window=window)


def condition(open_program: OpenProgram, request: Request, prompt: Prompt) -> Event:
    """Load the conditioner, run it once, let it go: all that the dit is to know of the request."""
    stage = Stage("conditioner", open_program)
    seconds = np.array([request.seconds], np.float32)
    return stage.event(stage.run(input_ids=prompt.ids[None], prompt_mask=prompt.mask[None], seconds=seconds))


def denoise(
    spec: GenerationSpec, open_program: OpenProgram, request: Request, conditioning: Tensors
) -> Generator[Event, None, np.ndarray]:
    """The dit's steps from noise, one event each; returns the clean latent [1, channels, length]."""
    schedule = spec.sampler.schedule(request.steps)
    noise = latent_noise(spec, request.seed)
    return (yield from steps_from(spec, open_program, next(noise), noise, schedule, conditioning))


def steps_from(
    spec: GenerationSpec,
    open_program: OpenProgram,
    latent: np.ndarray,
    noise: Iterator[np.ndarray],
    schedule: np.ndarray,
    conditioning: Tensors,
) -> Generator[Event, None, np.ndarray]:
    """The dit's steps from `latent` [1, channels, length] along `schedule`; `noise` is what the sampler draws."""
    dit = Stage("dit", open_program, count=len(schedule) - 1)

    def velocity(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
        return dit.run(latent=latent, sigma=np.array([sigma], np.float32), **conditioning)["velocity"]

    for step in SAMPLERS[spec.sampler.kind].steps(velocity, latent, noise, schedule):
        yield dit.event({"latent": step.latent, "velocity": step.velocity, "clean": step.clean})
    return step.clean


def decode(
    spec: GenerationSpec, open_program: OpenProgram, latent: np.ndarray, samples: int, *, window: int | None = None
) -> Iterator[Event]:
    """The first `samples` of the sound of `latent` [1, channels, length], in pieces [audio channels, samples].

    Raises:
        GenerationError: the program failed or returned NaN.
    """
    hop, width, todo = spec.latent.hop, window or spec.window, _windows(spec, samples, window)
    decoder = Stage("decoder", open_program, count=len(todo))
    for part in todo:
        seen = np.ascontiguousarray(latent[..., part.start : part.start + width])
        audio = decoder.run(latent=seen)["audio"][0]
        begin, end = ((moment - part.start) * hop for moment in (part.first, part.end))
        piece = audio[:, begin:end][:, : samples - part.first * hop].copy()
        if not np.isfinite(piece).all():
            raise GenerationError("the decoder returned NaN or infinity; run `edge-export verify` on the bundle")
        yield decoder.event({"audio": piece})


def by_stage(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each stage, in order."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.stage, []).append(event)
    return found


def joined(pieces: Iterable[Event]) -> np.ndarray:
    """The sound that the decoder's events hold, [channels, samples]."""
    return np.concatenate([event.tensors["audio"] for event in pieces], axis=1)


def collect(events: Iterable[Event]) -> Generation:
    """Run `events` to their end and keep what a caller wants: the audio and the times."""
    loads: dict[str, float] = {}
    runs: dict[str, list[float]] = {}
    decoded: list[Event] = []
    conditioning: Tensors = {}
    for event in events:
        loads[event.stage] = loads.get(event.stage, 0.0) + event.load
        runs.setdefault(event.stage, []).append(event.run)
        if event.stage == "decoder":
            decoded.append(event)
        elif event.stage == "conditioner":
            conditioning = event.tensors
    times = {stage: StageTime(load=loads[stage], runs=tuple(runs[stage])) for stage in runs}
    return Generation(audio=joined(decoded), conditioning=conditioning, times=times)


def pieces(
    spec: GenerationSpec, request: Request, *, window: int | None = None, conditioned: bool = False
) -> list[str]:
    """What `generate` will do, one name for each of its events; `conditioned` when it is given the conditioning."""
    steps = len(spec.sampler.schedule(request.steps)) - 1
    todo = len(_windows(spec, samples_in(request.seconds, spec.audio.sample_rate), window))
    return [
        *([] if conditioned else ["conditioner"]),
        *(f"dit, step {step} of {steps}" for step in range(1, steps + 1)),
        *(f"decoder, window {number} of {todo}" for number in range(1, todo + 1)),
    ]


def _windows(spec: GenerationSpec, samples: int, window: int | None) -> list[Window]:
    """The windows of the latent that the first `samples` are decoded in."""
    latent = spec.latent
    return list(windows(latent.length, window or spec.window, latent.margin, needed=-(-samples // latent.hop)))


def latent_noise(spec: GenerationSpec, seed: int) -> Iterator[np.ndarray]:
    """Draws of [1, channels, length], in the order torch.randn would make them from `seed`."""
    random = TorchRandom(seed)
    while True:
        yield random.randn(1, *spec.latent.shape)


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
