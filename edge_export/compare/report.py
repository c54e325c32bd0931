"""The page of a comparison: verdict, sound, pictures, times, in one HTML file that needs no network.

It shows what the comparison found, and judges nothing. jinja2 and matplotlib are imported when a page is
asked for.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_export import __version__
from edge_export.compare.comparison import Comparison, heading, named
from edge_export.compare.plot import steps_picture
from edge_export.compare.show import margin_text, named_device
from edge_export.page import embedded, require_page, templates
from edge_export.plots import audio_picture
from edge_export.report import snr_text, verdict
from runtime_py.audio import wav_bytes
from runtime_py.files import replace_file

MOST_PLAYERS = 12
"""So many records get players and pictures; a page with more would be too large for a phone."""


def write_report(path: Path, results: Sequence[tuple[str, Comparison]]) -> None:
    """Write the page of `results`, (source, comparison) in the order to be shown.

    Raises:
        OutputError: the file cannot be written.
        MissingDependency: jinja2 or matplotlib is not installed.
    """
    replace_file(path, report_html(results).encode())


def report_html(results: Sequence[tuple[str, Comparison]]) -> str:
    """The page as text."""
    require_page()
    page = templates("edge_export")
    page.filters |= {
        "verdict": verdict,
        "snr": snr_text,
        "error": lambda error: f"{error:.1e}" if math.isfinite(error) else "no number",
    }
    failed = sum(not comparison.passed for _, comparison in results)
    return page.get_template("compare.html.j2").render(
        passed=not failed,
        verdict=_verdict(not failed),
        title=Path(results[0][0]).name if len(results) == 1 else f"{len(results)} records",
        summary=_summary(results, failed),
        sections=[_section(source, made, full=index < MOST_PLAYERS) for index, (source, made) in enumerate(results)],
        version=__version__,
    )


def _verdict(passed: bool) -> str:
    return "OK" if passed else "FAIL"


def _summary(results: Sequence[tuple[str, Comparison]], failed: int) -> str:
    if len(results) > 1:
        return f"{len(results) - failed} of {len(results)} records hold what their recipes demand."
    comparison = results[0][1]
    if not failed:
        return f"Every stage holds what its recipe demands against the {named(comparison.against)}."
    names = ", ".join(f"{check.stage} {check.tensor}" for check in comparison.checks if not check.passed)
    return f"Too far from the {named(comparison.against)}: {names}."


def _section(source: str, comparison: Comparison, *, full: bool) -> dict[str, Any]:
    run = comparison.record.run
    sounds = list(_sounds(comparison)) if full and comparison.steps else []
    times = list(_times(comparison))
    return {
        "source": Path(source).name,
        "passed": comparison.passed,
        "verdict": _verdict(comparison.passed),
        "device": named_device(run),
        "recipe": f"{run.bundle.backend} {run.bundle.recipe}",
        "clip": f"{run.request.seconds:g}",
        "prompt": run.request.prompt,
        "seed": run.request.seed,
        "steps": run.request.steps,
        "margin": margin_text(comparison.margin),
        "seconds": f"{max((time['total'] for time in times), default=0.0) / 1e3:.2f}",
        "peak": f"{max((time['peak'] for time in times), default=0):.0f}",
        "facts": list(_facts(comparison)),
        "features": " ".join(run.machine.cpu_features),
        "against": heading(comparison.against),
        "emulated": run.label.startswith("qemu"),
        "checks": comparison.checks,
        "sounds": sounds,
        "silent": f"Players and pictures are of the {MOST_PLAYERS} records that are furthest off."
        if comparison.steps
        else "The record holds NaN or infinity: there is no sound to compare.",
        "error": _error_over_steps(comparison),
        "times": times,
    }


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    run = comparison.record.run
    machine, request = run.machine, run.request
    yield "prompt", request.prompt
    yield "request", f"{request.seconds:g} s, seed {request.seed}, {request.steps} steps"
    if run.inputs == "golden":
        yield "inputs", "every stage got the golden vectors' own inputs"
    cpu = f"CPU part {machine.cpu}" if machine.cpu.startswith("0x") else machine.cpu
    yield "device", ": ".join(filter(None, (run.label, cpu)))
    yield "system", f"{machine.system}, {machine.architecture}, {run.threads} of {machine.cores} cores"
    yield (
        "runtime",
        f"{run.runtime.name} {run.runtime.version}, {run.runtime.engine} {run.runtime.engine_version}",
    )
    yield "bundle", f"{run.bundle.model}, {run.bundle.backend}, {run.bundle.recipe}"
    yield "manifest", f"sha256 {run.bundle.manifest_sha256}"
    if comparison.first_differing is not None and comparison.against not in ("reference", "golden"):
        yield "first differing step", f"{comparison.first_differing} of {len(comparison.steps)}"
    if comparison.first_failing is not None:
        yield "first failing step", f"{comparison.first_failing} of {len(comparison.steps)}"


def _sounds(comparison: Comparison) -> Iterator[dict[str, str]]:
    """The device's sound and the truth's."""
    rate = comparison.bundle.manifest.generation.audio.sample_rate
    run = comparison.record.run
    for name, audio in (
        (f"Device: {named_device(run)}", comparison.record.tensors["audio"]),
        (f"Held against: {named(comparison.against)}", comparison.expected["audio"]),
    ):
        picture = audio_picture(audio, rate, "", "png", size=(7, 4.5), dpi=100)
        yield {
            "name": name,
            "wav": embedded("audio/wav", wav_bytes(audio, rate)),
            "picture": embedded("image/png", picture),
        }


def _error_over_steps(comparison: Comparison) -> str:
    if not comparison.steps:
        return ""
    return embedded("image/svg+xml", steps_picture(comparison))


def _times(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Milliseconds and MB of each stage and of all, and its share of the whole time."""
    by_stage = [
        (stage, list(events)) for stage, events in groupby(comparison.record.run.stages, lambda event: event.stage)
    ]
    by_stage += [("all", [event for _, events in by_stage for event in events])] if by_stage else []
    totals = [sum(event.load + event.run for event in events) * 1e3 for _, events in by_stage]
    for (stage, events), total in zip(by_stage, totals):
        yield {
            "stage": stage,
            "load": sum(event.load for event in events) * 1e3,
            "runs": len(events),
            "run": sum(event.run for event in events) * 1e3 / len(events),
            "total": total,
            "peak": max(event.peak_rss_mb for event in events),
            "share": total / max(totals) if max(totals) else 0.0,
        }
