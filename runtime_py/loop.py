"""The loop: conditioner, dit steps, pieces of sound from the decoder; an event after each piece of work.

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
        """Seconds until the first piece of the sound could be handed on: all but the decoder's later pieces."""
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
    A stage's programs are loaded when their turn comes and let go when it is done. The conditioner's outputs
    reach the dit by name, whatever they are: given as `conditioning`, from an earlier generation of the same prompt
    and seconds, they are not computed again. `window` is the latents to decode at a time where the programs' decoder
    is one for any window, without a tail, as the reference's; else it is as the spec says.

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
    """The decoder: the first `samples` of the sound of `latent` [1, channels, length], an event for each piece."""
    width, tailed, made = window or spec.window, spec.features is not None and window is None, 0
    decoder = Stage("decoder", open_program, count=_piece_count(spec, samples, window))
    for part in _windows(spec, samples, window):
        taken = np.ascontiguousarray(latent[..., part.start : part.start + width])
        sounds = _by_tiles(spec, decoder, taken, part, samples) if tailed else _at_once(spec, decoder, taken, part)
        for sound in sounds:
            piece = sound[:, : samples - made].copy()
            if not np.isfinite(piece).all():
                raise GenerationError("the decoder returned NaN or infinity; run `edge-export verify` on the bundle")
            made += piece.shape[1]
            yield decoder.event({"audio": piece})


def _at_once(spec: GenerationSpec, decoder: "Stage", taken: np.ndarray, part: Window) -> Iterator[np.ndarray]:
    """The sound that is kept of a window, whose latents are `taken`."""
    yield _kept(decoder.run(latent=taken)["audio"][0], part, spec.latent.hop)


def _by_tiles(
    spec: GenerationSpec, decoder: "Stage", taken: np.ndarray, part: Window, samples: int
) -> Iterator[np.ndarray]:
    """The same of a decoder that has a tail, tile by tile of the window's features; `samples` are the whole clip's."""
    features = decoder.run(latent=taken)["features"]
    for tile in _tiles(spec, part, samples):
        given = np.ascontiguousarray(features[..., tile.start : tile.start + spec.tile])
        yield _kept(decoder.run_program("decoder_tail", features=given)["audio"][0], tile, spec.tail_hop)


def _kept(audio: np.ndarray, part: Window, hop: int) -> np.ndarray:
    return audio[:, (part.first - part.start) * hop : (part.end - part.start) * hop]


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
    todo = _piece_count(spec, samples_in(request.seconds, spec.audio.sample_rate), window)
    return [
        *([] if conditioned else ["conditioner"]),
        *(f"dit, step {step} of {steps}" for step in range(1, steps + 1)),
        *(f"decoder, piece {number} of {todo}" for number in range(1, todo + 1)),
    ]


def _piece_count(spec: GenerationSpec, samples: int, window: int | None) -> int:
    """How many pieces the first `samples` are decoded in."""
    parts = _windows(spec, samples, window)
    tailed = spec.features is not None and window is None
    return sum(len(_tiles(spec, part, samples)) for part in parts) if tailed else len(parts)


def _windows(spec: GenerationSpec, samples: int, window: int | None) -> list[Window]:
    """The windows of the latent that the first `samples` are decoded in."""
    latent = spec.latent
    return list(windows(latent.length, window or spec.window, latent.margin, needed=-(-samples // latent.hop)))


def _tiles(spec: GenerationSpec, part: Window, samples: int) -> list[Window]:
    """The tiles of a window's features that what is kept of it is decoded in, as far as the first `samples` go.

    Where a window is cut, its features are wrong; but nothing is kept within the latent's margin of there.
    """
    assert spec.features is not None
    rate, margin = spec.features.rate, spec.features.margin
    first, end = part.first * rate, min(part.end * rate, -(-samples // spec.tail_hop))
    begin = part.start * rate
    return list(windows(spec.window * rate, spec.tile, margin, needed=end - begin, first=first - begin))


def latent_noise(spec: GenerationSpec, seed: int) -> Iterator[np.ndarray]:
    """Draws of [1, channels, length], in the order torch.randn would make them from `seed`."""
    random = TorchRandom(seed)
    while True:
        yield random.randn(1, *spec.latent.shape)


class Stage:
    """A stage's programs: each loaded at its first run, timed, and let go with this object."""

    def __init__(self, name: str, open_program: OpenProgram, count: int = 1) -> None:
        self.name, self.count, self.index = name, count, 0
        self._open = open_program
        self._programs: dict[str, Program] = {}
        self._load = self._run = 0.0

    def run(self, **inputs: np.ndarray) -> Tensors:
        """Run the program that is called as the stage is."""
        return self.run_program(self.name, **inputs)

    def run_program(self, role: str, **inputs: np.ndarray) -> Tensors:
        if role not in self._programs:
            start = time.perf_counter()
            self._programs[role] = self._open(role)
            self._load += time.perf_counter() - start
        start = time.perf_counter()
        outputs = self._programs[role].run(inputs)
        self._run += time.perf_counter() - start
        return outputs

    def event(self, tensors: Tensors) -> Event:
        """The event of the runs since the last one."""
        self.index += 1
        made = Event(
            stage=self.name, index=self.index, count=self.count, load=self._load, run=self._run, tensors=tensors
        )
        self._load = self._run = 0.0
        return made
