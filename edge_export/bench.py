"""How long a bundle takes and how much memory it needs, alone or against another: `edge-export bench`.

Every generation is measured in a process of its own (`edge_export.bench_worker`). Two that are compared take turns,
and ratios are taken within a pair, so that a machine that slows down slows both. It knows neither engines nor the
network: what one process saw comes as a Run, and everything after that is arithmetic.
"""

import dataclasses
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edge_export import __version__, errors
from edge_export.bench_worker import MEGA, OUT_OF_MEMORY, Job, Run, StageRun, peak_rss_mb
from edge_export.errors import EdgeExportError, GenerationError, UsageError
from edge_export.progress import Progress
from runtime_py import strict_json
from runtime_py.bundle import open_bundle
from runtime_py.generate import Request, check_request, default_seconds
from runtime_py.manifest import Manifest
from runtime_py.text import printable

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "DEFAULT_RUNS",
    "REFERENCE",
    "Bench",
    "BenchRequest",
    "Comparison",
    "Machine",
    "Measured",
    "Quantity",
    "Run",
    "StageRun",
    "Subject",
    "Summary",
    "bench_record",
    "bench_table",
    "compare",
    "figures",
    "machine_facts",
    "measure",
    "memory_needed",
    "order",
    "peak_rss_mb",
    "steady",
    "summarize",
]

REFERENCE = "reference"
DEFAULT_RUNS = 5
MOST_RUNS = 1000
MOST_THREADS = 256
REPEATS = 3
LONGEST_NAME = 60
WORKER = "edge_export.bench_worker"
PACKAGES = ("numpy", "torch", "executorch", "ai-edge-litert")
REMEDY = "close other programs, ask for fewer --seconds, or bench a smaller bundle"

# A program is mapped, unpacked and packed again for the CPU: three times its file at the worst.
COPIES = 3
FLOAT32_BYTES = 4
# The decoder's widest layers hold 128 channels of float32 for each sample, about four such tensors at once.
DECODER_BYTES_PER_SAMPLE = 4 * 128 * FLOAT32_BYTES
INTERPRETER_BYTES = 300_000_000


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
class Subject:
    """What is measured: the programs of a bundle, or the fp32 network it was made from."""

    side: str
    folder: Path
    reference: bool
    manifest: Manifest = field(repr=False)

    @property
    def shown(self) -> str:
        if self.reference:
            return "reference (PyTorch, fp32)"  # engine and recipe, as of a bundle
        name = self.folder.resolve().name
        return f"{printable(name)[:LONGEST_NAME]} ({self.manifest.backend}, {self.manifest.recipe.name})"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One figure over several runs."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Every figure of `figures` over all runs of one subject."""

    shown: str
    runs: int
    quantities: dict[str, Quantity]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B against A: `ratios` are B / A within each pair of runs, so a time of 2 says that B takes twice as long.

    `notes` says in what else the two differ than in speed.
    """

    other: Summary
    ratios: dict[str, Quantity]
    notes: tuple[str, ...]


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
    def comparison(self) -> Comparison | None:
        if self.b is None:
            return None
        notes = differences(self.a.subject.manifest, self.b.subject.manifest)
        return compare(self.a.runs, self.b.runs, self.b.subject.shown, notes)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where figures come from. `memory_mb` of None: the system does not say."""

    cpu: str
    cores: int
    usable_cores: int
    memory_mb: float | None
    platform: str
    python: str
    versions: dict[str, str]


def measure(request: BenchRequest, heard: Progress) -> Bench:
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
    refuse_little_memory(subjects)
    jobs = {subject.side: _job(subject, request, played) for subject in subjects}
    sides = order(request.runs, [subject.side for subject in subjects])
    shown = {subject.side: f"{subject.side}, {subject.shown}" for subject in subjects}
    heard("opening what is measured", 0, len(sides))
    for side, job in jobs.items():
        _play(dataclasses.replace(job, rehearse=True), f"opening {shown[side]}")
    runs: dict[str, list[Run]] = {side: [] for side in jobs}
    for done, side in enumerate(sides):
        what = f"run {done + 1} of {len(sides)}: {shown[side]}"
        heard(what, done, len(sides))
        runs[side].append(run_from(_play(jobs[side], what), what))
    heard("done", len(sides), len(sides))
    a, *others = (Measured(subject=subject, runs=tuple(runs[subject.side])) for subject in subjects)
    return Bench(request=played, threads=request.threads, a=a, b=others[0] if others else None)


def order(runs: int, sides: Sequence[str]) -> list[str]:
    """Who runs when: every other round is turned around (A B, B A, A B, ...)."""
    return [side for index in range(runs) for side in (sides if index % 2 == 0 else reversed(sides))]


def steady(stage: StageRun) -> float | None:
    """The median of a stage's runs after the first, with those repeated; None where there are none."""
    warm = (*stage.runs[1:], *stage.repeats)
    return statistics.median(warm) if warm else None


def figures(run: Run) -> dict[str, float]:
    """Every figure of one run by name; what is compared, summarized and shown is this.

    Of each stage `STAGE_load_seconds`, `_first_seconds` (its first run), `_steady_seconds` (a run once warm; of the
    dit: one step), `_seconds` (loading and all runs of the generation). `real_time_factor` is audio per second.
    """
    made: dict[str, float] = {}
    for name, stage in run.stages.items():
        made[f"{name}_load_seconds"] = stage.load
        made[f"{name}_first_seconds"] = stage.runs[0]
        warm = steady(stage)
        if warm is not None:
            made[f"{name}_steady_seconds"] = warm
        made[f"{name}_seconds"] = stage.load + sum(stage.runs)
    return made | {
        "seconds_first_audio": run.seconds_first_audio,
        "seconds_total": run.seconds_total,
        "real_time_factor": run.audio_seconds / run.seconds_total,
        "baseline_rss_mb": run.baseline_rss_mb,
        "peak_rss_mb": run.peak_rss_mb,
    }


def quantity(values: Iterable[float]) -> Quantity:
    found = list(values)
    return Quantity(median=statistics.median(found), low=min(found), high=max(found))


def summarize(runs: Sequence[Run], shown: str = "") -> Summary:
    """Median and spread of every figure that all runs have."""
    found = [figures(run) for run in runs]
    names = [name for name in found[0] if all(name in each for each in found)]
    quantities = {name: quantity(each[name] for each in found) for name in names}
    return Summary(shown=shown, runs=len(runs), quantities=quantities)


def compare(a: Sequence[Run], b: Sequence[Run], shown: str = "", notes: tuple[str, ...] = ()) -> Comparison:
    """B / A of every figure that both have and that is above 0 in A: median and spread over the pairs."""
    pairs = [(figures(one), figures(other)) for one, other in zip(a, b, strict=True)]
    names = [name for name in pairs[0][0] if all(one.get(name, 0) > 0 and name in other for one, other in pairs)]
    ratios = {name: quantity(other[name] / one[name] for one, other in pairs) for name in names}
    return Comparison(other=summarize(b, shown), ratios=ratios, notes=notes)


def differences(a: Manifest, b: Manifest) -> tuple[str, ...]:
    """What else two bundles differ in, for a reader who takes the ratio for the recipe's."""
    notes = []
    if a.model.checkpoint_sha256 != b.model.checkpoint_sha256:
        notes.append("A and B are built from different checkpoints")
    if a.sampler.steps != b.sampler.steps:
        notes.append(f"A plays {a.sampler.steps} steps, B {b.sampler.steps}")
    if a.latent.shape != b.latent.shape:
        notes.append(f"A denoises {a.latent.shape[1]} latents, B {b.latent.shape[1]}")
    return tuple(notes)


def bench_table(summary: Summary, comparison: Comparison | None) -> tuple["Table", ...]:
    """One table of all figures: medians, with the least and the most beside them."""
    from rich.markup import escape

    from edge_export.report import table

    runs = f"{summary.runs} run{'s' if summary.runs > 1 else ''}, each in a fresh process"
    if comparison is None:
        made = table(
            escape(f"{summary.shown}: {runs}"), "", "median", "least .. most", right=("median", "least .. most")
        )
        for name, found in summary.quantities.items():
            made.add_row(*_cells(name, found))
        return (made,)
    notes = "".join(f"\n{note}" for note in comparison.notes)
    title = f"A: {summary.shown}\nB: {comparison.other.shown}\n{runs}, in turns{notes}"
    columns = ("A", "A least .. most", "B", "B least .. most", "B / A", "B / A least .. most")
    made = table(escape(title), "", *columns, right=columns)
    for name in dict.fromkeys((*summary.quantities, *comparison.other.quantities)):
        a, b, ratio = summary.quantities.get(name), comparison.other.quantities.get(name), comparison.ratios.get(name)
        shown = ("", "") if ratio is None else (f"{ratio.median:.2f}", f"{ratio.low:.2f} .. {ratio.high:.2f}")
        made.add_row(*_cells(name, a), *_cells(name, b)[1:], *shown)
    return (made,)


def _cells(name: str, found: Quantity | None) -> tuple[str, str, str]:
    """A row's name with its unit, the median and the spread."""
    label, factor, digits = _unit(name)
    if found is None:
        return label, "", ""
    median, low, high = (f"{value * factor:.{digits}f}" for value in (found.median, found.low, found.high))
    return label, median, f"{low} .. {high}"


# name -> (label, factor, digits) of the figures that belong to no stage
UNITS = {
    "seconds_first_audio": ("time to first audio, s", 1.0, 2),
    "seconds_total": ("time to last audio, s", 1.0, 2),
    "real_time_factor": ("audio per second of work, s", 1.0, 2),
    "baseline_rss_mb": ("memory once imported, MB", 1.0, 0),
    "peak_rss_mb": ("peak memory, MB", 1.0, 0),
}
PHASES = {"load": "load", "first": "first run", "steady": "steady run"}


def _unit(name: str) -> tuple[str, float, int]:
    if name in UNITS:
        return UNITS[name]
    stage, _, phase = name.removesuffix("_seconds").partition("_")
    what = PHASES.get(phase, "load and all runs")
    return f"{stage}: {'steady step' if (stage, phase) == ('dit', 'steady') else what}, ms", 1e3, 1


def bench_record(bench: Bench) -> dict[str, Any]:
    """Everything as plain JSON: machine, versions, request, medians and spreads, and every run as it was measured."""
    comparison = bench.comparison
    return {
        "machine": asdict(machine_facts()),
        "prompt": bench.request.prompt,
        "seconds": bench.request.seconds,
        "seed": bench.request.seed,
        "threads": bench.threads,
        "order": order(len(bench.a.runs), ["A"] if bench.b is None else ["A", "B"]),
        "a": _measured_record(bench.a),
        "b": None if bench.b is None else _measured_record(bench.b),
        "ratios": None if comparison is None else {name: asdict(each) for name, each in comparison.ratios.items()},
        "notes": [] if comparison is None else list(comparison.notes),
    }


def _measured_record(measured: Measured) -> dict[str, Any]:
    subject, manifest = measured.subject, measured.subject.manifest
    return {
        "name": subject.shown,
        "bundle": str(subject.folder).encode("utf-8", "replace").decode("utf-8"),
        "engine": REFERENCE if subject.reference else manifest.backend,
        "recipe": "fp32" if subject.reference else manifest.recipe.name,
        "model": manifest.model.name,
        "checkpoint_sha256": manifest.model.checkpoint_sha256,
        "steps": manifest.sampler.steps,
        "bundle_mb": None if subject.reference else sum(file.bytes for file in manifest.files) / MEGA,
        "quantities": {name: asdict(each) for name, each in measured.summary.quantities.items()},
        "runs": [asdict(run) for run in measured.runs],
    }


def machine_facts() -> Machine:
    """This machine, and the versions of what runs programs on it."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total = _meminfo("MemTotal")
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        usable_cores=affinity,
        memory_mb=None if total is None else total / MEGA,
        platform=platform.platform(),
        python=platform.python_version(),
        versions=dict(_versions()),
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    yield "edge-export", __version__
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def memory_needed(subject: Subject) -> int:
    """Bytes that a generation may take at its peak: an estimate on the safe side, from the manifest alone.

    Stages follow one another, so it is the largest program's; of the reference the whole network's.
    """
    manifest = subject.manifest
    if subject.reference:
        return INTERPRETER_BYTES + COPIES * FLOAT32_BYTES * sum(manifest.model.parameters.values())
    samples = manifest.program("decoder").tensor("outputs", "audio").shape[-1]
    activations = {"decoder": samples * DECODER_BYTES_PER_SAMPLE}
    peaks = (COPIES * program.bytes + activations.get(program.name, 0) for program in manifest.programs)
    return INTERPRETER_BYTES + max(peaks)


def memory_available() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    return _meminfo("MemAvailable")


def _meminfo(name: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def refuse_little_memory(subjects: Iterable[Subject]) -> None:
    """EdgeExportError when a subject may need more memory than there is."""
    available = memory_available()
    for subject in subjects:
        needed = memory_needed(subject)
        if available is not None and available < needed:
            raise EdgeExportError(
                f"not enough memory to bench {subject.shown}: it may need {needed / MEGA:.0f} MB, "
                f"{available / MEGA:.0f} MB are available; close other programs, or bench a smaller bundle"
            )


def _check_counts(request: BenchRequest) -> None:
    if request.threads is not None and not 1 <= request.threads <= MOST_THREADS:
        raise UsageError(f"threads is {request.threads}, expected 1 to {MOST_THREADS}")
    if not 1 <= request.runs <= MOST_RUNS:
        raise UsageError(f"runs is {request.runs}, expected 1 to {MOST_RUNS}")
    if not 0 <= request.repeats <= MOST_RUNS:
        raise UsageError(f"repeats is {request.repeats}, expected 0 to {MOST_RUNS}")


def _subjects(request: BenchRequest) -> list[Subject]:
    """A, and B if there is one; every file of both is hashed here, and nowhere later."""
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
    golden = subjects[0].manifest.golden
    if seconds is None:
        seconds = min(default_seconds(subject.manifest) for subject in subjects)
    request = Request(prompt=golden.prompt, seconds=seconds, seed=golden.seed)
    for subject in subjects:
        try:
            check_request(request, subject.manifest)
        except UsageError as error:
            raise UsageError(f"{subject.shown}: {error}") from error
    return request


def _job(subject: Subject, request: BenchRequest, played: Request) -> Job:
    checkpoint = request.checkpoint if subject.reference else None
    return Job(
        bundle=str(subject.folder),
        reference=subject.reference,
        checkpoint=None if checkpoint is None else str(checkpoint),
        prompt=played.prompt,
        seconds=played.seconds,
        seed=played.seed,
        threads=request.threads,
        repeats=request.repeats,
    )


def _play(job: Job, what: str) -> Any:
    """The worker's answer to `job`, from a fresh process that does not outlive this call, nor its temporary files."""
    with TemporaryDirectory(prefix="edge-export-") as scratch:
        # What the process imports is what this one would: its own search path, and no other folder's files.
        paths = os.pathsep.join(str(Path(entry or Path.cwd()).absolute()) for entry in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "TMPDIR": scratch},
        )
        try:
            answer, told = process.communicate(json.dumps(asdict(job)).encode())
        except BaseException:  # Ctrl-C too
            process.kill()
            process.wait()
            raise
    if process.returncode != 0:
        raise GenerationError(f"{what}: {_end(process.returncode, told)}")
    return _answer(answer, what)


def _end(code: int, told: bytes) -> str:
    """How a process ended that did not answer, in one line."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{why}; {REMEDY}"
    lines = told.decode(errors="replace").strip().splitlines()
    last = lines[-1].strip()[:200] if lines else f"exit code {code}"
    return f"its process failed ({last}); {REMEDY}, or try `edge-export verify`"


def _answer(answer: bytes, what: str) -> Any:
    """The answer's "run"; an error in it is raised as the class it was there."""
    try:
        document = strict_json.parse(answer.decode())
        if "error" not in document:
            return document["run"]
        kind, message = document["error"]["kind"], document["error"]["message"]
    except (ValueError, KeyError, TypeError) as error:
        raise GenerationError(f"{what}: its process gave no answer; try `edge-export verify`") from error
    if kind == OUT_OF_MEMORY:
        raise GenerationError(f"{what}: memory ran out; {REMEDY}")
    raised = getattr(errors, kind) if kind in errors.__all__ else GenerationError
    raise raised(f"{what}: {message}")


def run_from(document: Any, what: str) -> Run:
    """A Run from the worker's JSON; GenerationError when a figure is missing, or is not above 0 where it must be."""
    try:
        stages = {
            name: StageRun(load=stage["load"], runs=tuple(stage["runs"]), repeats=tuple(stage["repeats"]))
            for name, stage in document["stages"].items()
        }
        run = Run(**{**document, "stages": stages})
        sound = bool(stages) and all(math.isfinite(value) and value >= 0 for value in figures(run).values())
    except (TypeError, KeyError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise GenerationError(f"{what}: its process gave no sound answer ({error}); try it again") from error
    if not sound:
        raise GenerationError(f"{what}: its process measured what cannot be; try it again")
    return run
