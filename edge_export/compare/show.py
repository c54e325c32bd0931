"""What `edge-export compare` shows: a table and lines for people, a plain record for machines. It prints nothing."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.markup import escape
from rich.table import Table

from edge_export.compare.comparison import Comparison, named
from edge_export.compare.wav import WavComparison
from edge_export.report import check_record, table
from runtime_py.record import RunInfo
from runtime_py.request import Request
from runtime_py.text import printable


def comparison_record(comparison: Comparison, source: str) -> dict[str, Any]:
    """What `compare --json` prints of one record."""
    run = comparison.record.run
    first_step, failing = comparison.first_differing, comparison.first_failing
    return {
        "record": source,
        "bundle": str(comparison.bundle.folder),
        "against": comparison.against,
        "passed": comparison.passed,
        "margin_db": _finite(comparison.margin),
        "label": run.label,
        "machine": asdict(run.machine),
        "threads": run.threads,
        "runtime": asdict(run.runtime),
        "recipe": run.bundle.recipe,
        "request": asdict(run.request),
        "inputs": run.inputs,
        "checks": [check_record(check) for check in comparison.checks],
        "steps_snr_db": [_finite(value) for value in comparison.steps],
        "drift_snr_db": [_finite(value) for value in comparison.drift],
        "first_differing_step": first_step,
        "first_failing_step": failing,
        "open_seconds": run.open_seconds,
        "stages": [asdict(stage) for stage in run.stages],
    }


def wav_record(comparison: WavComparison, source: Path) -> dict[str, Any]:
    """What `compare --json` prints of a WAV."""
    tags = comparison.tags
    return {
        "wav": str(source),
        "bundle": str(comparison.bundle.folder),
        "against": comparison.against,
        "passed": comparison.check.passed,
        "recipe": comparison.bundle.manifest.recipe.name,
        "request": asdict(tags.request),
        "finishing": asdict(tags.finishing),
        "same_bytes": comparison.same_bytes,
        "checks": [check_record(comparison.check)],
    }


def matrix_table(comparisons: Iterable[tuple[str, Comparison]]) -> Table:
    """One line for each record, in the order given."""
    numbers = ("clip s", "seed", "steps", "margin dB", "took s", "MB")
    columns = ("record", "device", "bundle", "prompt", *numbers)
    made = table("records, the furthest off first; margin: from the nearest threshold", *columns, "", right=numbers)
    for source, comparison in comparisons:
        run = comparison.record.run
        verdict = "[green]ok[/green]" if comparison.passed else "[bold red]FAIL[/bold red]"
        made.add_row(
            escape(Path(source).name),
            escape(shown(named_device(run))),
            escape(shown(f"{run.bundle.backend} {run.bundle.recipe}")),
            escape(shown(run.request.prompt)),
            f"{run.request.seconds:g}",
            str(run.request.seed),
            str(run.request.steps),
            margin_text(comparison.margin),
            f"{sum(stage.load + stage.run for stage in run.stages):.2f}",
            f"{max((stage.peak_rss_mb for stage in run.stages), default=0):.0f}",
            verdict,
        )
    return made


def title(comparison: Comparison) -> str:
    """Who played what, in one line."""
    run = comparison.record.run
    return f"{_played(run.request)}, {run.bundle.backend} {run.bundle.recipe}, on {shown(named_device(run))}"


def _played(request: Request) -> str:
    return f"{request.prompt!r}, {request.seconds:g} s, seed {request.seed}, {request.steps} steps"


def wav_title(comparison: WavComparison) -> str:
    """What a WAV says of itself, in one line."""
    manifest, finishing = comparison.bundle.manifest, comparison.tags.finishing
    done = [
        word for word, is_done in (("normalized", finishing.normalize), ("not faded", not finishing.fade)) if is_done
    ]
    return ", ".join((_played(comparison.tags.request), *done, f"{manifest.backend} {manifest.recipe.name}"))


def wav_heading(comparison: WavComparison) -> str:
    return f"Against the {named(comparison.against)}, the request made again"


def wav_lines(comparison: WavComparison) -> list[str]:
    """What the table does not say of a WAV, and the verdict where it passed."""
    check = comparison.check
    same = {True: ["Every byte of the file is the same"], False: ["The file's bytes are others"], None: []}
    lines = same[comparison.same_bytes]
    if check.threshold_db is None and check.snr_db < math.inf and check.passed:
        unjudged = "Not judged: a run in int8 takes a path of its own, of which its recipe demands nothing; "
        return [*lines, f"{unjudged}compare a record of it, made with --record"]
    return [*lines, "Passed: it is the sound that it says"] if check.passed else lines


def verdict_lines(comparison: Comparison) -> list[str]:
    """Of a record that passed; one that did not is an error."""
    margin = (
        "all are equal" if comparison.margin == float("inf") else f"the nearest by {margin_text(comparison.margin)} dB"
    )
    return [f"Passed: every stage holds what it has to, {margin}"] if comparison.passed else []


def step_lines(comparison: Comparison) -> list[str]:
    """What the table does not say of the dit's steps, one line each."""

    def list_of(values: tuple[float, ...]) -> str:
        return ", ".join("equal" if value == float("inf") else f"{value:.0f}" for value in values)

    which = "on its own input" if comparison.against in ("reference", "golden", "bundle") else "of the two"
    lines = [f"Each dit step {which}, in dB: {list_of(comparison.steps)}"] if comparison.steps else []
    if comparison.drift:
        lines.append(f"What enters each step, against the other trajectory: {list_of(comparison.drift)}")
    if comparison.first_differing is not None and comparison.against not in ("reference", "golden"):
        lines.append(f"The first step that differs at all is {comparison.first_differing}")
    return lines


def named_device(run: RunInfo) -> str:
    """What to call a device: its label, or the best there is."""
    return run.label or run.machine.cpu or run.machine.architecture


def shown(text: str, most: int = 60) -> str:
    """A stranger's text as one printable line of bearable length."""
    return shorten(printable(text), most, placeholder=" ...")


def margin_text(margin: float) -> str:
    """dB above the nearest threshold, in words where that is no number."""
    return {math.inf: "equal", -math.inf: "broken"}.get(margin, f"{margin:+.1f}")


def _finite(value: float) -> float | None:
    """JSON has no infinity: equal tensors have an SNR of null."""
    return value if math.isfinite(value) else None
