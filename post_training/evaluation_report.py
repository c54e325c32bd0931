"""An evaluation as a page to listen to and as a picture; it judges nothing.

The page is one HTML file that needs no network and holds no scripts. jinja2, matplotlib and soundfile are imported
when one is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from edge_export import __version__
from edge_export.errors import OutputError
from edge_export.page import embedded, require_page, templates
from edge_export.plots import audio_picture, require_plots
from edge_export.progress import Progress, silent
from post_training.evaluation import Evaluation, Row, row_record
from post_training.evaluation_text import COLUMNS, cells, remarks
from runtime_py.files import replace_file

AUDIBLE = 16
"""So many prompts get players; a page with more would be too large."""


def require_report() -> None:
    """MissingDependency when a page cannot be made."""
    require_page("soundfile")


def write_report(path: Path, evaluation: Evaluation, progress: Progress = silent) -> None:
    """Write the page; OutputError when the file cannot be written."""
    replace_file(path, report_html(evaluation, progress).encode())


def report_html(evaluation: Evaluation, progress: Progress = silent) -> str:
    """The page as text."""
    require_report()
    rows = evaluation.shown
    page = templates("post_training").get_template("evaluation.html.j2")
    return page.render(
        title=f"{evaluation.checkpoint}: {len(evaluation.cases)} held-out prompts",
        remarks=remarks(evaluation),
        columns=COLUMNS,
        rows=[{"label": row.label, "cells": cells(row), "judged": row is evaluation.judged} for row in rows],
        picture=embedded("image/svg+xml", rows_picture([row_record(row) for row in rows], "svg")),
        kinds=_kinds(evaluation),
        words=_words(evaluation),
        judged=evaluation.judged.label,
        cases=list(_cases(evaluation, progress)),
        version=__version__,
    )


def _kinds(evaluation: Evaluation) -> list[dict[str, str]]:
    judged, real = evaluation.judged.by_kind, evaluation.real.by_kind
    return [
        {"kind": kind, "judged": f"{share:.0%}", "real": f"{real[kind]:.0%}"}
        for kind, share in sorted(judged.items(), key=lambda item: (item[1], item[0]))
    ]


def _words(evaluation: Evaluation) -> list[dict[str, str]]:
    real = evaluation.real.words
    return [
        {"word": word, "judged": f"{share:.0%}", "real": f"{real[word]:.0%}"}
        for word, share in evaluation.judged.words.items()
    ]


def _cases(evaluation: Evaluation, progress: Progress) -> Iterator[dict[str, Any]]:
    """The first prompts with their sounds: real, judged, the bundle's, and of the base the row that adheres best."""
    base = [row for row in evaluation.rows if row.name == "base"]
    shown = [evaluation.real, *([evaluation.autoencoder] if evaluation.autoencoder else []), evaluation.judged]
    shown += [*([evaluation.bundle] if evaluation.bundle else [])]
    shown += [max(base, key=lambda row: row.adherence)] if base else []
    count = min(len(row.sounds) for row in shown)
    for number, case in enumerate(evaluation.cases[:count]):
        progress("drawing the page", number, count)
        yield {
            "prompt": case.prompt,
            "kind": case.attributes.kind,
            "sounds": [_sound(row, number, case.attributes.kind, evaluation.rate) for row in shown],
        }


def _sound(row: Row, number: int, kind: str, rate: int) -> dict[str, Any]:
    audio, judged_as = row.sounds[number], row.judged_as[number]
    picture = audio_picture(audio, rate, "", "png", size=(4, 2.6), dpi=70)
    return {
        "name": row.label,
        "judged_as": judged_as,
        "right": judged_as == kind,
        "audio": embedded("audio/mpeg", _mp3(audio, rate)),
        "picture": embedded("image/png", picture),
    }


def _mp3(audio: np.ndarray, rate: int) -> bytes:
    """Audio [channels, samples] as MP3: a tenth of a WAV, and every browser plays it."""
    import soundfile

    made = BytesIO()
    soundfile.write(made, np.clip(audio.T, -1, 1), rate, format="MP3", subtype="MPEG_LAYER_III")
    return made.getvalue()


def plot_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write the picture in the format that `path`'s ending names; OutputError when it cannot be written."""
    plot_rows(path, [row_record(row) for row in evaluation.shown])


def plot_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same, of rows as `evaluation_record` has them."""
    try:
        picture = rows_picture(rows, path.suffix.removeprefix("."))
    except ValueError as error:
        raise OutputError(f"cannot write the picture {path}: {error}; choose another --plot") from error
    replace_file(path, picture)


def rows_picture(rows: Sequence[Mapping[str, Any]], format: str) -> bytes:
    """Adherence, Frechet distance and diversity over the steps; ValueError when matplotlib has no such format."""
    require_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    played = [row for row in rows if row["steps"] is not None]
    steps = sorted({row["steps"] for row in played})
    real = next((row for row in rows if row["name"] == "real clips"), None)
    for axes, name in zip(panels, ("adherence", "frechet", "diversity")):
        for label, line in _lines(played):
            points = [(row["steps"], row[name]) for row in line if row[name] is not None]
            if points:
                axes.plot(*zip(*sorted(points)), "o-", label=label)
        if real is not None and real[name] is not None:
            axes.axhline(real[name], color="grey", linestyle="--", linewidth=1, label="real clips")
        title = "Frechet distance" if name == "frechet" else name
        axes.set(title=title, xlabel="steps", xscale="log", xticks=steps, xticklabels=[str(step) for step in steps])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
    panels[0].set_ylim(0, 1)
    panels[0].legend(loc="lower right", fontsize="small")
    picture = BytesIO()
    figure.savefig(picture, format=format, metadata={"Date": None} if format == "svg" else None)
    return picture.getvalue()


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Rows that differ only in their steps, with what they share."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        guidance = row["guidance"]
        named.setdefault(row["name"] if guidance is None else f"{row['name']}, guidance {guidance:g}", []).append(row)
    yield from named.items()
