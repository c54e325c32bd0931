"""How long a bundle takes and how much memory it needs, alone or against another: `edge-export bench`.

Every generation is measured in a process of its own (`edge_export.bench.worker`). Two that are compared take turns,
and ratios are taken within a pair, so that a machine that slows down slows both. It knows neither engines nor the
network: what one process saw comes as a Run, and everything after that is arithmetic.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

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

Who = TypeVar("Who")


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What to measure. `against` is None, "reference" or the folder of a bundle.

    `seconds` of None is 7, or what both models can make where that is less; `threads` of None is one for each fast
    core. `checkpoint` is where the reference's weights are, None for where they lay at the build. Every program
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


@dataclass(frozen=True, kw_only=True)
class _Player:
    """Who plays in one process: a subject with a number of threads."""

    threads: int | None
    side: str


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
    (bench,) = sweep(request, (request.threads,), progress)
    return bench


def sweep(request: BenchRequest, counts: Sequence[int | None], progress: Progress) -> tuple[Bench, ...]:
    """The same with each of these numbers of threads, all in turns; `request.threads` does not count."""
    _check_counts(request, counts)
    subjects = _subjects(request)
    played = _request(subjects, request.seconds)
    refuse_little_memory(subjects, played)
    jobs = {
        _Player(threads=count, side=subject.side): _job(subject, request, played, count)
        for count in counts
        for subject in subjects
    }
    runs = _play(jobs, subjects, request.runs, progress)
    return tuple(_bench(count, subjects, played, runs) for count in counts)


def _play(
    jobs: Mapping[_Player, Job], subjects: Sequence[Subject], runs: int, progress: Progress
) -> dict[_Player, list[Run]]:
    """All runs of each player, after every subject was opened once."""
    players = order(runs, list(jobs))
    swept = len(jobs) > len(subjects)
    shown = {subject.side: f"{subject.side}, {subject.shown}" for subject in subjects}
    progress("opening what is measured", 0, len(players))
    for player, job in list(jobs.items())[: len(subjects)]:
        play_job(dataclasses.replace(job, rehearse=True), f"opening {shown[player.side]}")
    made: dict[_Player, list[Run]] = {player: [] for player in jobs}
    for done, player in enumerate(players):
        what = f"run {done + 1} of {len(players)}: {shown[player.side]}"
        if swept:
            what += f", {thread_count(player.threads)}"
        progress(what, done, len(players))
        made[player].append(run_from(play_job(jobs[player], what), what))
    progress("done", len(players), len(players))
    return made


def _bench(
    count: int | None, subjects: Sequence[Subject], played: Request, runs: Mapping[_Player, Sequence[Run]]
) -> Bench:
    a, *others = (
        Measured(subject=subject, runs=tuple(runs[_Player(threads=count, side=subject.side)])) for subject in subjects
    )
    return Bench(request=played, threads=count, a=a, b=others[0] if others else None)


def order(runs: int, players: Sequence[Who]) -> list[Who]:
    """Who runs when: every other round is turned around (A B, B A, A B, ...)."""
    return [player for index in range(runs) for player in (players if index % 2 == 0 else reversed(players))]


def thread_count(threads: int | None) -> str:
    """A number of threads in words."""
    return "fast cores" if threads is None else f"{threads} thread{'s' if threads > 1 else ''}"


def _check_counts(request: BenchRequest, counts: Sequence[int | None]) -> None:
    for count in counts:
        check_threads(count)
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


def _job(subject: Subject, request: BenchRequest, played: Request, threads: int | None) -> Job:
    checkpoint = request.checkpoint if subject.reference else None
    return Job(
        bundle=str(subject.folder),
        reference=subject.reference,
        checkpoint=None if checkpoint is None else str(checkpoint),
        request=played,
        threads=threads,
        repeats=request.repeats,
    )
