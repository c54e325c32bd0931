"""A bundle opened: prompts in, audio out. The Python API for applications and notebooks.

    from runtime_py import load
    clip = load("bundle").generate("rain on a tin roof", seconds=5, seed=1)
    clip.save("rain.wav")

It knows no command line, screen or loudspeaker.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from runtime_py.audio import WavReport
from runtime_py.bundle import Bundle, open_bundle, read_tokenizer, sha256_of
from runtime_py.engine import OpenProgram, Program, Tensors, engine_for, unprepared_programs
from runtime_py.errors import GenerationError, UsageError
from runtime_py.estimate import Estimate, estimate_request, refuse_little_memory
from runtime_py.finishing import Finishing
from runtime_py.forks import inherited, refuse_forked
from runtime_py.generation_spec import GenerationSpec
from runtime_py.loop import Event, Generation, StageTime, collect, encode_prompt, generate, pieces
from runtime_py.manifest import MANIFEST_FILE
from runtime_py.request import Request, check_request, default_seconds
from runtime_py.sound import save_sound
from runtime_py.tags import Tags
from runtime_py.text import printable
from runtime_py.tokenizer import Prompt

Progress = Callable[[Event, int, int], None]
"""Called after each piece of work with its event, how many pieces are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A sound and how it came about: audio float32 [channels, samples], full scale -1..1, at `sample_rate` Hz.

    cut: it ends before the model's whole clip does. bundle: the sha256 of the manifest of the bundle it is from.
    """

    audio: np.ndarray = field(repr=False)
    sample_rate: int
    request: Request
    cut: bool
    bundle: str = field(repr=False)
    generation: Generation = field(repr=False)

    @property
    def seconds(self) -> float:
        return self.audio.shape[1] / self.sample_rate

    @property
    def times(self) -> dict[str, StageTime]:
        """Seconds of each stage: loading its program, and each run of it."""
        return self.generation.times

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        float32: bool = False,
        normalize: bool = False,
        fade: bool = True,
        tags: bool = True,
    ) -> WavReport:
        """Write a WAV of 16-bit samples, or of 32-bit floats; an existing file is replaced at once and whole.

        A name that ends in .flac, .ogg or .mp3 gives such a file, where soundfile is installed. normalize: bring the
        peak to -1 dBFS. fade: let the last 5 ms of a cut clip fall to silence. tags: also write the prompt, and how to
        make the sound again. `audio` stays as it is.

        Raises:
            UsageError: the name ends in something else, or `float32` is asked of one that holds no floats.
            GenerationError: the audio holds NaN or infinity.
            MissingDependency: soundfile is needed and not installed.
            OutputError: the file cannot be written.
        """
        finishing = Finishing(normalize=normalize, fade=fade)
        made = Tags(bundle=self.bundle, request=self.request, finishing=finishing) if tags else None
        return save_sound(
            path, self.audio, self.sample_rate, cut=self.cut, finishing=finishing, tags=made, float32=float32
        )


class Generator:
    """A bundle ready to play. Threads may share one: their programs' runs take turns.

    Programs stay loaded until `close`, unless `keep_loaded` is false: then each is loaded when its turn comes and let
    go when it is done, which takes longer and needs the memory of the largest stage alone.
    """

    def __init__(
        self,
        bundle: Bundle,
        open_program: OpenProgram,
        *,
        keep_loaded: bool = True,
        window: int | None = None,
        open_seconds: float = 0.0,
        force: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """`open_program` gives the programs: the bundle's own, or others of the same interfaces.

        window: latents to decode at a time, where the programs' decoder takes others than the bundle's.
        force: play even where the system says that there is less memory than that takes. prepare: imports what the
        programs need, before they are opened first.
        """
        self.bundle, self.open_seconds = bundle, open_seconds
        self._window, self._keep_loaded, self._force = window, keep_loaded, force
        self._prepare = prepare
        self._tokenizer = read_tokenizer(bundle)
        self._programs: OpenProgram | None = open_program
        self._loaded: dict[str, Program] = {}
        self._turn = threading.RLock()
        self._conditioned: tuple[str, float, Tensors] | None = None

    @property
    def spec(self) -> GenerationSpec:
        return self.bundle.manifest.generation

    def request(self, prompt: str, *, seconds: float | None = None, seed: int = 0, steps: int | None = None) -> Request:
        """A request that this model can play: by default of 7 seconds, or of its whole clip where that is shorter.

        Raises:
            UsageError: an empty or absurdly long prompt; seconds, steps or a seed out of range.
        """
        seconds = default_seconds(self.spec) if seconds is None else seconds
        request = Request(prompt=prompt, seconds=seconds, seed=seed, steps=steps)
        self.encode(request)
        return request.resolved(self.spec)

    def encode(self, request: Request) -> Prompt:
        """The request's prompt as the model reads it; UsageError for a request out of range."""
        check_request(request, self.spec)
        return encode_prompt(self._tokenizer, request, self.spec)

    def pieces(self, request: Request) -> list[str]:
        """What `events` will do, one name for each event to come; UsageError for a request out of range."""
        check_request(request, self.spec)
        conditioned = self._conditioning(request) is not None
        return pieces(self.spec, request, window=self._window, conditioned=conditioned)

    def estimate(self, request: Request) -> Estimate:
        """What `request` will take of memory with the bundle's own programs: growth over a process with none open.

        Raises:
            UsageError: a request out of range.
        """
        check_request(request, self.spec)
        return self._estimate(request)

    def events(
        self, request: Request, *, opening: Callable[[OpenProgram], OpenProgram] | None = None
    ) -> Iterator[Event]:
        """Play `request`: an event after each piece of work. Those of the decoder hold "audio", the next samples.

        The request is checked at once, and nothing is loaded before the first event is asked for; closing the iterator
        ends the generation. The conditioning of the last prompt and seconds is kept, so that another seed of them
        begins with the dit. `opening` may stand between the loop and the loading of programs, to watch it.

        Raises:
            UsageError: a request out of range.
            GenerationError: a program failed or returned NaN, memory is short, this generator was closed, or this
                process was forked from one that had loaded programs.
            MissingDependency: the engine of the bundle's backend is not installed.
        """
        prompt = self.encode(request)
        self._opened()
        if not self._force and not self._loaded and self._window is None:
            refuse_little_memory(self._estimate(request))
        if self._prepare is not None:
            self._prepare()
        kept = self._conditioning(request)
        open_program = self._open if opening is None else opening(self._open)
        events = generate(self.spec, open_program, request, prompt, conditioning=kept, window=self._window)
        return self._remembering(request, events)

    def generate(
        self,
        prompt: str | Request,
        *,
        seconds: float | None = None,
        seed: int = 0,
        steps: int | None = None,
        progress: Progress | None = None,
    ) -> Clip:
        """Play a prompt, or a whole request, to its end.

        Raises:
            UsageError, GenerationError: as `events` does.
        """
        if not isinstance(prompt, str | Request):
            raise UsageError(f"prompt is {prompt!r}, expected text or a request")
        if isinstance(prompt, str):
            request = self.request(prompt, seconds=seconds, seed=seed, steps=steps)
        elif (seconds, seed, steps) == (None, 0, None):
            request = prompt
        else:
            raise UsageError("seconds, seed and steps are part of the request; give them there")
        total = len(self.pieces(request))
        return self.clip(request, _reported(self.events(request), progress, total))

    def clip(self, request: Request, events: Iterator[Event]) -> Clip:
        """Run `events` of `request` to their end, and keep what comes of them."""
        made = collect(events)
        return Clip(
            audio=made.audio,
            sample_rate=self.spec.audio.sample_rate,
            request=request.resolved(self.spec),
            cut=made.audio.shape[1] < self.spec.latent.samples,
            bundle=sha256_of(self.bundle.folder / MANIFEST_FILE),
            generation=made,
        )

    def close(self) -> None:
        """Let the programs go. A generation under way ends with GenerationError at its next piece of work."""
        with nullcontext() if inherited() else self._turn:  # a forked child may have inherited it taken
            self._programs, self._conditioned = None, None
            self._loaded.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        manifest = self.bundle.manifest
        what = f"{manifest.model.name}, {manifest.backend}, {manifest.recipe.name}"
        return f"<Generator of {self.bundle.folder} ({printable(what)}{', closed' * (self._programs is None)})>"

    def _opened(self) -> OpenProgram:
        refuse_forked()
        if self._programs is None:
            raise GenerationError(f"the generator of {self.bundle.folder} is closed; load the bundle again")
        return self._programs

    def _open(self, role: str) -> Program:
        """A program that waits for its turn."""
        refuse_forked()
        with self._turn:
            program = self._loaded.get(role) or self._opened()(role)
            if self._keep_loaded:
                self._loaded[role] = program
        return _InTurn(program, self._turn, self._opened)

    def _estimate(self, request: Request) -> Estimate:
        return estimate_request(self.bundle.manifest, request, keep_loaded=self._keep_loaded)

    def _conditioning(self, request: Request) -> Tensors | None:
        kept = self._conditioned
        return kept[2] if kept is not None and kept[:2] == (request.prompt, request.seconds) else None

    def _remembering(self, request: Request, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            if event.stage == "conditioner":
                self._conditioned = (request.prompt, request.seconds, event.tensors)
            yield event


class _InTurn:
    """A program whose runs take turns with those of all others that share `turn`, so that threads need no more memory
    than one; `alive` raises when none may run."""

    def __init__(self, program: Program, turn: AbstractContextManager[bool], alive: Callable[[], object]) -> None:
        self._program, self._turn, self._alive = program, turn, alive

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        refuse_forked()
        with self._turn:
            self._alive()
            return self._program.run(inputs)


def _reported(events: Iterator[Event], progress: Progress | None, total: int) -> Iterator[Event]:
    for done, event in enumerate(events, start=1):
        if progress is not None:
            progress(event, done, total)
        yield event


def load(
    folder: str | os.PathLike[str],
    *,
    threads: int | None = None,
    keep_loaded: bool = True,
    check: bool = False,
    force: bool = False,
) -> Generator:
    """Open the bundle in `folder`; its engine is imported, and programs are loaded, when they are first needed.

    threads: of the CPU, by default one for each fast core. check: hash every file again, whatever is known of it.
    force: play even where the system says that there is less memory than that takes.

    Raises:
        BundleError: no bundle, or one that is damaged or of another version.
        UsageError: threads out of range.
    """
    begun = time.perf_counter()
    bundle = open_bundle(folder, check=check)
    programs, prepare = unprepared_programs(bundle, threads=threads), engine_for(bundle.manifest.backend).prepare
    generator = Generator(bundle, programs, keep_loaded=keep_loaded, force=force, prepare=prepare)
    generator.open_seconds = time.perf_counter() - begun
    return generator
