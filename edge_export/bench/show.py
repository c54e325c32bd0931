"""What `edge-export bench` shows: tables for people, a plain record for machines. It prints nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from edge_export.bench.environment import environment
from edge_export.bench.figures import Paired, Quantity, Summary
from edge_export.bench.measure import REFERENCE, Bench, Measured, order, thread_count
from edge_export.report import table
from runtime_py.machine import MEGA


def bench_table(summary: Summary, paired: Paired | None) -> tuple[Table, ...]:
    """One table of all figures: medians, with the least and the most beside them."""
    runs = f"{summary.runs} run{'s' if summary.runs > 1 else ''}, each in a fresh process"
    if paired is None:
        made = table(
            escape(f"{summary.shown}: {runs}"), "", "median", "least .. most", right=("median", "least .. most")
        )
        for name, found in summary.quantities.items():
            made.add_row(*_cells(name, found))
        return (made,)
    notes = "".join(f"\n{note}" for note in paired.notes)
    title = f"A: {summary.shown}\nB: {paired.other.shown}\n{runs}, in turns{notes}"
    columns = ("A", "A least .. most", "B", "B least .. most", "B / A", "B / A least .. most")
    made = table(escape(title), "", *columns, right=columns)
    for name in dict.fromkeys((*summary.quantities, *paired.other.quantities)):
        a, b, ratio = summary.quantities.get(name), paired.other.quantities.get(name), paired.ratios.get(name)
        shown = ("", "") if ratio is None else (f"{ratio.median:.2f}", f"{ratio.low:.2f} .. {ratio.high:.2f}")
        made.add_row(*_cells(name, a), *_cells(name, b)[1:], *shown)
    return (made,)


def sweep_tables(benches: Sequence[Bench]) -> Iterator[Table]:
    """For each of what was measured, the medians of all figures by the number of threads."""
    for side in ("a", "b"):
        sides: list[Measured | None] = [getattr(bench, side) for bench in benches]
        found = [measured for measured in sides if measured is not None]
        if found:
            yield _sweep_table([bench.threads for bench in benches], found)


def _sweep_table(counts: Sequence[int | None], found: Sequence[Measured]) -> Table:
    subject, summaries = found[0].subject, [measured.summary for measured in found]
    runs = f"{summaries[0].runs} run{'s' if summaries[0].runs > 1 else ''} each, in turns, medians"
    columns = [thread_count(count) for count in counts]
    made = table(escape(f"{subject.side}: {subject.shown}\n{runs}"), "", *columns, right=columns)
    for name in summaries[0].quantities:
        cells = [_cells(name, summary.quantities.get(name))[1] for summary in summaries]
        made.add_row(_unit(name)[0], *cells)
    return made


def _cells(name: str, found: Quantity | None) -> tuple[str, str, str]:
    """A row's name with its unit, the median and the spread."""
    label, factor, digits = _unit(name)
    if found is None:
        return label, "", ""
    median, low, high = (f"{value * factor:.{digits}f}" for value in (found.median, found.low, found.high))
    return label, median, f"{low} .. {high}"


# name -> (label, factor, digits) of the figures that belong to no stage
UNITS = {
    "seconds_open": ("opening the bundle, s", 1.0, 3),
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
    return {**_played_record(bench), **_figures_record(bench)}


def sweep_record(benches: Sequence[Bench]) -> dict[str, Any]:
    """The same for several numbers of threads: what they have in common once, and `sweep`, a list by their order."""
    return {**_played_record(benches[0]), "sweep": [_figures_record(bench) for bench in benches]}


def _played_record(bench: Bench) -> dict[str, Any]:
    return {
        "machine": asdict(environment()),
        "prompt": bench.request.prompt,
        "seconds": bench.request.seconds,
        "seed": bench.request.seed,
    }


def _figures_record(bench: Bench) -> dict[str, Any]:
    paired = bench.paired
    return {
        "threads": bench.threads,
        "order": order(len(bench.a.runs), ["A"] if bench.b is None else ["A", "B"]),
        "a": _measured_record(bench.a),
        "b": None if bench.b is None else _measured_record(bench.b),
        "ratios": None if paired is None else {name: asdict(each) for name, each in paired.ratios.items()},
        "notes": [] if paired is None else list(paired.notes),
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
        "steps": manifest.generation.sampler.steps,
        "bundle_mb": None if subject.reference else sum(file.bytes for file in manifest.files) / MEGA,
        "quantities": {name: asdict(each) for name, each in measured.summary.quantities.items()},
        "runs": [asdict(run) for run in measured.runs],
    }
