"""One measured generation in a process of its own: a job as JSON on standard input, one JSON object on standard output.

It measures and says what it saw. It knows neither what its numbers are compared with, nor how they are shown; and
it imports no more than the programs need, because what it imports counts as memory.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edge_export.bench.job import OUT_OF_MEMORY, Job, Run, StageRun
from runtime_py import strict_json
from runtime_py.bundle import open_bundle
from runtime_py.engine import OpenProgram, Program, Tensors, bundle_programs
from runtime_py.errors import EdgeExportError
from runtime_py.generation_spec import STAGES
from runtime_py.generator import Generator
from runtime_py.loop import Event, StageTime
from runtime_py.machine import peak_memory_mb
from runtime_py.schema import read_as

Shapes = dict[str, tuple[np.dtype, tuple[int, ...]]]
"""dtype and shape of a program's inputs, by name."""


def main() -> None:
    """Answer the job on standard input with {"run": ...}, or with {"error": {"kind": ..., "message": ...}}."""
    answer = _claim_stdout()
    job = read_as(Job, strict_json.parse(sys.stdin.read()))
    document: dict[str, object]
    try:
        run = play(job)
        document = {"run": None if run is None else asdict(run)}
    except EdgeExportError as error:
        document = {"error": {"kind": type(error).__name__, "message": str(error)}}
    except MemoryError:
        document = {"error": {"kind": OUT_OF_MEMORY, "message": ""}}
    _answer(answer, document)


def play(job: Job) -> Run | None:
    """The generation that `job` describes, measured; None of a rehearsal.

    Raises:
        EdgeExportError: as opening and running programs do.
    """
    folder = Path(job.bundle)
    open_program = _programs(folder, job)
    return None if job.rehearse else _measure(folder, open_program, job)


def _programs(folder: Path, job: Job) -> OpenProgram:
    """The programs to play, with everything imported that they need."""
    bundle = open_bundle(folder)
    if not job.reference:
        return bundle_programs(bundle, threads=job.threads)
    from edge_export.reference import open_reference

    checkpoint = None if job.checkpoint is None else Path(job.checkpoint)
    return open_reference(bundle.manifest, checkpoint, threads=job.threads)


def _measure(folder: Path, open_program: OpenProgram, job: Job) -> Run:
    baseline = peak_memory_mb()
    listener = _Listener(open_program)

    start = time.perf_counter()
    bundle = open_bundle(folder)
    window = bundle.manifest.generation.latent.length if job.reference else None  # as published: all at once
    generator = Generator(bundle, listener.open, keep_loaded=False, window=window)
    opened = time.perf_counter() - start
    clip = generator.clip(job.request, listener.watch(generator.events(job.request)))
    total = time.perf_counter() - start

    peak = peak_memory_mb()
    return Run(
        stages={stage: _stage_run(open_program, stage, listener.shapes, t, job) for stage, t in clip.times.items()},
        audio_seconds=clip.seconds,
        seconds_open=opened,
        seconds_total=total,
        seconds_first_audio=listener.first_audio - start,
        baseline_rss_mb=baseline,
        peak_rss_mb=peak,
    )


def _stage_run(
    open_program: OpenProgram, stage: str, shapes: Mapping[str, Shapes], time: StageTime, job: Job
) -> StageRun:
    """The stage's times, and as many runs more as it lacks: all but the first are steady."""
    lacking = max(0, job.repeats - (len(time.runs) - 1))
    role = [role for role in STAGES[stage] if role in shapes][-1]  # the one that runs again for the next piece
    return StageRun(load=time.load, runs=time.runs, repeats=_repeat(open_program, role, shapes[role], lacking))


def _repeat(open_program: OpenProgram, role: str, shapes: Shapes, count: int) -> tuple[float, ...]:
    """Seconds of `count` runs of a program, opened anew and run once before; on seeded noise."""
    if not count:
        return ()
    program, inputs = open_program(role), noise(shapes)
    program.run(inputs)
    return tuple(_timed(program, inputs) for _ in range(count))


def _timed(program: Program, inputs: Tensors) -> float:
    start = time.perf_counter()
    program.run(inputs)
    return time.perf_counter() - start


def noise(shapes: Shapes) -> Tensors:
    """Inputs of these dtypes and shapes: floats in 0..1, as masks and sigmas are; zeros for integers."""
    generator = np.random.default_rng(0)
    return {
        name: generator.random(shape).astype(dtype) if dtype.kind == "f" else np.zeros(shape, dtype)
        for name, (dtype, shape) in shapes.items()
    }


class _Listener:
    """Stands between the loop and its programs: notes when audio comes first, and the shapes that programs take.

    Shapes alone, so that no array lives longer than it would without.
    """

    def __init__(self, open_program: OpenProgram) -> None:
        self._open = open_program
        self.shapes: dict[str, Shapes] = {}
        self.first_audio = 0.0

    def open(self, role: str) -> Program:
        return _Recorded(self._open(role), self.shapes.setdefault(role, {}))

    def watch(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            if not self.first_audio and "audio" in event.tensors:
                self.first_audio = time.perf_counter()
            yield event


class _Recorded:
    """A program that writes down the shapes of its inputs."""

    def __init__(self, program: Program, shapes: Shapes) -> None:
        self._program, self._shapes = program, shapes

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        self._shapes.update({name: (array.dtype, array.shape) for name, array in inputs.items()})
        return self._program.run(inputs)


def _claim_stdout() -> int:
    """A descriptor for the answer alone: whatever native libraries print goes to standard error from here on."""
    answer = os.dup(1)
    os.dup2(2, 1)
    return answer


def _answer(descriptor: int, document: dict[str, object]) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(document, stream, allow_nan=False)


if __name__ == "__main__":
    main()
