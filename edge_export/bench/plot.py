"""The pictures of a bench: where the time of a generation goes, A above B; or seconds of each stage against threads.

matplotlib is imported when they are drawn.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from edge_export.bench.figures import Quantity
from edge_export.bench.job import Run
from edge_export.bench.measure import Bench, Measured, thread_count
from edge_export.plots import check_picture
from runtime_py.files import replace_file

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#937860")  # by order of stage
REST = "#c7c7c7"
REST_NAME = "tokenizer, noise, sampler"
FIRST_AUDIO, SPREAD = MARKS = ("first audio", "shortest to longest run")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a bar: `seconds` of `name`, beginning at `start`."""

    name: str
    start: float
    seconds: float
    colour: str
    loading: bool


def plot_bench(path: Path, bench: Bench) -> None:
    """Write a PNG (or what `path`'s ending names): the stages of each side's run of median length, end to end.

    Raises:
        MissingDependency: matplotlib is not installed.
        OutputError: the ending is no picture format, or the file cannot be written.
    """
    check_picture(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sides = [bench.a] if bench.b is None else [bench.a, bench.b]
    figure = Figure(figsize=(10, 1.9 + 0.9 * len(sides)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row, side in enumerate(sides):
        _bar(axes, row, side)
    axes.set_yticks(range(len(sides)), [side.subject.shown for side in sides], parse_math=False)
    axes.set_ylim(len(sides) - 0.4, -0.6)
    axes.set(xlabel="seconds", title=_title(bench))
    axes.set_xlim(0, 1.12 * max(side.summary.quantities["seconds_total"].high for side in sides))
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(sorted(zip(labels, handles), key=lambda entry: entry[0] in MARKS))
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    _write(path, figure)


def plot_sweep(path: Path, benches: Sequence[Bench]) -> None:
    """Write a picture as `plot_bench` does: seconds of each stage, and of all, against the number of threads."""
    check_picture(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    in_order = sorted(benches, key=lambda bench: bench.threads or 0)
    sides = [[bench.a for bench in in_order]]
    if in_order[0].b is not None:
        sides.append([bench.b for bench in in_order if bench.b is not None])
    figure = Figure(figsize=(4.6 * len(sides) + 1.4, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sides), sharey=True, squeeze=False)[0]
    counts = [bench.threads or 0 for bench in in_order]
    for axes, measured in zip(panels, sides, strict=True):
        _lines(axes, counts, measured)
        axes.set_title(measured[0].subject.shown, fontsize="medium", parse_math=False)
        axes.set(xlabel="threads", xticks=counts)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="seconds")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize="small")
    figure.suptitle(f"{in_order[0].request.seconds:.3g} s of audio, {_runs(in_order[0])}")
    _write(path, figure)


def _lines(axes: Any, counts: Sequence[int], measured: Sequence[Measured]) -> None:
    """A line for each stage with its loading, and one for the whole generation; bars from the least to the most."""
    colours = {f"{name}_seconds": COLOURS[i % len(COLOURS)] for i, name in enumerate(measured[0].runs[0].stages)}
    for name, colour in {**colours, "seconds_total": "black"}.items():
        found = [side.summary.quantities[name] for side in measured]
        spread = [[each.median - each.low for each in found], [each.high - each.median for each in found]]
        label = "whole generation" if name == "seconds_total" else name.removesuffix("_seconds")
        axes.errorbar(counts, [each.median for each in found], spread, color=colour, marker="o", capsize=3, label=label)


def _write(path: Path, figure: Any) -> None:
    picture = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a folder's name: boxes where the font lacks it
        figure.savefig(picture, format=path.suffix.removeprefix("."))
    replace_file(path, picture.getvalue())


def _title(bench: Bench) -> str:
    return f"{bench.request.seconds:.3g} s of audio, {thread_count(bench.threads)}, {_runs(bench)}"


def _runs(bench: Bench) -> str:
    runs = len(bench.a.runs)
    return f"median of {runs} runs" if runs > 1 else "1 run"


def middle_run(runs: tuple[Run, ...]) -> Run:
    """The run of median length (the shorter of two in the middle): its parts add up, medians of parts would not."""
    return sorted(runs, key=lambda run: run.seconds_total)[(len(runs) - 1) // 2]


def pieces(run: Run) -> Iterator[Piece]:
    """Each stage's loading and runs in order, then what no stage accounts for: together `seconds_total`."""
    start = 0.0
    for index, (name, stage) in enumerate(run.stages.items()):
        colour = COLOURS[index % len(COLOURS)]
        yield Piece(name=f"{name}: load", start=start, seconds=stage.load, colour=colour, loading=True)
        start += stage.load
        yield Piece(name=f"{name}: runs", start=start, seconds=sum(stage.runs), colour=colour, loading=False)
        start += sum(stage.runs)
    rest = max(0.0, run.seconds_total - start)
    yield Piece(name=REST_NAME, start=start, seconds=rest, colour=REST, loading=False)


def _bar(axes: Any, row: int, side: Measured) -> None:
    shown = middle_run(side.runs)
    for piece in pieces(shown):
        axes.barh(
            row,
            piece.seconds,
            left=piece.start,
            height=0.5,
            color=piece.colour,
            alpha=0.45 if piece.loading else 1.0,
            hatch="////" if piece.loading else None,
            edgecolor="white",
            linewidth=0.5,
            label=piece.name,
        )
    quantities = side.summary.quantities
    total, first = quantities["seconds_total"], quantities["seconds_first_audio"]
    _spread(axes, row, total)
    axes.plot(first.median, row - 0.33, marker="v", color="black", linestyle="none", label=FIRST_AUDIO)
    axes.annotate(f" {total.median:.2f} s", (total.high, row), va="center")


def _spread(axes: Any, row: int, total: Quantity) -> None:
    """From the shortest run to the longest."""
    axes.plot((total.low, total.high), (row, row), color="black", marker="|", linewidth=1, label=SPREAD)
