"""What the device commands show: rich tables for people, plain records for machines. It prints nothing."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from edge_export.device.place import PlaceStatus
from edge_export.device.run import DeviceRun
from edge_export.report import table


def stage_table(run: DeviceRun) -> Table:
    """Time and memory of each stage of a record, as `edge-export run` shows its own."""
    numbers = ("load ms", "runs", "per run ms", "total ms", "peak MB")
    made = table(f"time on {run.label}", "stage", *numbers, right=numbers)
    stages = run.record.run.stages
    for name in dict.fromkeys(stage.stage for stage in stages):
        mine = [stage for stage in stages if stage.stage == name]
        load, runs = sum(stage.load for stage in mine), [stage.run for stage in mine]
        total, peak = load + sum(runs), max(stage.peak_rss_mb for stage in mine)
        values = (load * 1e3, len(runs), sum(runs) / len(runs) * 1e3, total * 1e3, peak)
        made.add_row(name, *(form.format(value) for form, value in zip(FORMS, values)))
    if run.label.startswith("qemu"):
        made.caption = "An emulator's times say nothing of a device's."
    whole = sum(stage.load + stage.run for stage in stages)
    made.add_row("all", "", "", "", f"{whole * 1e3:.0f}", "")
    return made


FORMS = ("{:.0f}", "{}", "{:.1f}", "{:.0f}", "{:.0f}")


def place_table(places: Iterable[PlaceStatus]) -> Table:
    made = table("places", "--on", "what", "state")
    for place in places:
        made.add_row(place.where, place.what, "; ".join(place.lacks) if place.lacks else "ready")
    return made


def place_records(places: Iterable[PlaceStatus]) -> list[dict[str, Any]]:
    return [{**asdict(place), "lacks": list(place.lacks), "ready": not place.lacks} for place in places]


def run_record(run: DeviceRun) -> dict[str, Any]:
    """The record without its tensors, which are large and nobody's to read."""
    return {
        **asdict(run.record.run),
        "wav": None if run.record.wav is None else asdict(run.record.wav),
        "label": run.label,
        "runner_bytes": run.runner_bytes,
        "bundle_bytes": run.bundle_bytes,
        "kept": run.kept,
        "notes": list(run.notes),
    }
