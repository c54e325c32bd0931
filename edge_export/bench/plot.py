"""The picture of a bench: where the time of a generation goes, A above B. matplotlib is imported when it is drawn."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from edge_export.bench.figures import Quantity
from edge_export.bench.job import Run
from edge_export.bench.measure import Bench, Measured
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
    picture = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a folder's name: boxes where the font lacks it
        figure.savefig(picture, format=path.suffix.removeprefix("."))
    replace_file(path, picture.getvalue())


def _title(bench: Bench) -> str:
    runs, threads = len(bench.a.runs), bench.threads
    count = f"median of {runs} runs" if runs > 1 else "1 run"
    of = "all threads" if threads is None else f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{bench.request.seconds:.3g} s of audio, {of}, {count}"


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
