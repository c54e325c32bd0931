"""How long a bundle takes and how much memory it needs, alone or against another: `edge-export bench`.

Every generation is measured in a process of its own (`edge_export.bench.worker`). Two that are compared take turns,
and ratios are taken within a pair, so that a machine that slows down slows both. It knows neither engines nor the
network: what one process saw comes as a Run, and everything after that is arithmetic.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_export.bench.figures import Paired, Summary, differences, paired, summarize
from edge_export.bench.job import Job, Run
from edge_export.bench.process import play_job, run_from
from edge_export.bench.subject import Subject, refuse_little_memory
from edge_export.errors import UsageError
from edge_export.progress import Progress
from runtime_py.bundle import open_bundle
from runtime_py.engine import check_threads
from runtime_py.request import Request, check_request, default_seconds

REFERENCE = "reference"
DEFAULT_RUNS = 5
MOST_RUNS = 1000
REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What to measure. `against` is None, "reference" or the folder of a bundle.

    `seconds` of None is 7, or what both models can make where that is less; `threads` of None is the engine's own
    choice. `checkpoint` is where the reference's weights are, None for where they lay at the build. Every program
    is run until `repeats` steady runs of it are known.
    """

    bundle: Path
    against: str | None = None
    seconds: float | None = None
    threads: int | None = None
    runs: int = DEFAULT_RUNS
    checkpoint: Path | None = None
    repeats: int = REPEATS


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All runs of one subject, in the order they were made."""

    subject: Subject
    runs: tuple[Run, ...]

    @property
    def summary(self) -> Summary:
        return summarize(self.runs, self.subject.shown)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything that was measured, and the request that all runs played."""

    request: Request
    threads: int | None
    a: Measured
    b: Measured | None

    @property
    def summary(self) -> Summary:
        return self.a.summary

    @property
    def paired(self) -> Paired | None:
        if self.b is None:
            return None
        notes = differences(self.a.subject.manifest, self.b.subject.manifest)
        return paired(self.a.runs, self.b.runs, self.b.subject.shown, notes)


def measure(request: BenchRequest, progress: Progress) -> Bench:
    """Play the bundle's golden prompt in fresh processes, alone or in turns with another.

    Every engine is imported and the reference's weights are found once before the first run, so that what cannot
    play is refused before time is spent.

    Raises:
        UsageError: threads, runs or seconds out of range; no checkpoint for the reference.
        BundleError: a bundle cannot be opened.
        EdgeExportError: less memory is available than a generation needs.
        GenerationError: a run failed, or its process was killed.
    """
    _check_counts(request)
    subjects = _subjects(request)
    played = _request(subjects, request.seconds)
    refuse_little_memory(subjects, played)
    jobs = {subject.side: _job(subject, request, played) for subject in subjects}
    sides = order(request.runs, [subject.side for subject in subjects])
    shown = {subject.side: f"{subject.side}, {subject.shown}" for subject in subjects}
    progress("opening what is measured", 0, len(sides))
    for side, job in jobs.items():
        play_job(dataclasses.replace(job, rehearse=True), f"opening {shown[side]}")
    runs: dict[str, list[Run]] = {side: [] for side in jobs}
    for done, side in enumerate(sides):
        what = f"run {done + 1} of {len(sides)}: {shown[side]}"
        progress(what, done, len(sides))
        runs[side].append(run_from(play_job(jobs[side], what), what))
    progress("done", len(sides), len(sides))
    a, *others = (Measured(subject=subject, runs=tuple(runs[subject.side])) for subject in subjects)
    return Bench(request=played, threads=request.threads, a=a, b=others[0] if others else None)


def order(runs: int, sides: Sequence[str]) -> list[str]:
    """Who runs when: every other round is turned around (A B, B A, A B, ...)."""
    return [side for index in range(runs) for side in (sides if index % 2 == 0 else reversed(sides))]


def _check_counts(request: BenchRequest) -> None:
    check_threads(request.threads)
    if not 1 <= request.runs <= MOST_RUNS:
        raise UsageError(f"runs is {request.runs}, expected 1 to {MOST_RUNS}")
    if not 0 <= request.repeats <= MOST_RUNS:
        raise UsageError(f"repeats is {request.repeats}, expected 0 to {MOST_RUNS}")


def _subjects(request: BenchRequest) -> list[Subject]:
    """A, and B if there is one; what is not known of their files is hashed here, and nowhere later."""
    manifest = open_bundle(request.bundle).manifest
    a = Subject(side="A", folder=request.bundle, reference=False, manifest=manifest)
    if request.against is None:
        return [a]
    if request.against == REFERENCE:
        return [a, dataclasses.replace(a, side="B", reference=True)]
    folder = Path(request.against)
    return [a, Subject(side="B", folder=folder, reference=False, manifest=open_bundle(folder).manifest)]


def _request(subjects: Sequence[Subject], seconds: float | None) -> Request:
    """A's golden request, of the seconds asked for; UsageError when one of the models cannot make them."""
    golden = subjects[0].manifest.golden.request
    if seconds is None:
        seconds = min(default_seconds(subject.manifest.generation) for subject in subjects)
    request = Request(prompt=golden.prompt, seconds=seconds, seed=golden.seed)
    for subject in subjects:
        try:
            check_request(request, subject.manifest.generation)
        except UsageError as error:
            raise UsageError(f"{subject.shown}: {error}") from error
    return request


def _job(subject: Subject, request: BenchRequest, played: Request) -> Job:
    checkpoint = request.checkpoint if subject.reference else None
    return Job(
        bundle=str(subject.folder),
        reference=subject.reference,
        checkpoint=None if checkpoint is None else str(checkpoint),
        request=played,
        threads=request.threads,
        repeats=request.repeats,
    )
