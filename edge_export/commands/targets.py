"""`edge-export targets`: what a bundle can be built for."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from edge_export.commands.options import JsonOption
from edge_export.console import show_json, show_tables

if TYPE_CHECKING:
    from rich.table import Table

    from edge_export.targets import Target


def targets(as_json: JsonOption = False) -> None:
    """List what a bundle can be built for."""
    from edge_export.targets import TARGETS

    if as_json:
        show_json([asdict(target) for target in TARGETS.values()])
        return
    show_tables(target_table(TARGETS.values()))


def target_table(targets: "Iterable[Target]") -> "Table":
    from edge_export.report import table

    made = table("targets", "target", "for", "backend by default", "least CPU features", "packaging")
    for target in targets:
        features = " ".join(target.cpu_features) or "any"
        made.add_row(target.name, target.summary, target.backend, features, target.packaging)
    return made
