"""What several commands show: rich tables for people, plain records for machines. It prints nothing."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from edge_export.verify import Check
from runtime_py.bundle import Bundle
from runtime_py.generation_spec import STAGES
from runtime_py.machine import MEGA
from runtime_py.manifest import Manifest


def table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; columns named in `right` are aligned to the right."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def program_table(manifest: Manifest) -> Table:
    made = table(
        "programs",
        "program",
        "file",
        "MB",
        "packed MB",
        "working MB",
        "delegates",
        "delegated",
        "outside",
        right=("MB", "packed MB", "working MB"),
    )
    for role, program in manifest.programs.items():
        graph = program.graph
        outside = sum(graph.undelegated.values())
        total = graph.delegated + outside
        share = f"{graph.delegated} of {total} ops ({graph.delegated / total:.0%})" if total else "none"
        names = ", ".join(f"{count} {name}" for name, count in graph.undelegated.items()) or "nothing"
        sizes = (program.bytes, program.memory.packed_bytes, program.memory.working_bytes)
        made.add_row(role, program.file, *(f"{size / MEGA:.1f}" for size in sizes), str(graph.delegates), share, names)
    return made


def check_table(checks: Iterable[Check], title: str = "against the fp32 reference, on equal inputs") -> Table:
    numbers = ("SNR dB", "max error", "log-mel dB", "needs dB")
    made = table(title, "stage", "tensor", *numbers, "", right=numbers)
    for check in checks:
        made.add_row(
            check.stage,
            check.tensor,
            snr_text(check.snr_db),
            f"{check.max_error:.1e}",
            "" if check.log_mel_db is None else f"{check.log_mel_db:.2f}",
            "" if check.threshold_db is None else f"{check.threshold_db:g}",
            {"ok": "[green]ok[/green]", "FAIL": "[bold red]FAIL[/bold red]"}.get(verdict(check), ""),
        )
    return made


def verdict(check: Check) -> str:
    """ok or FAIL; nothing of what a program made that nobody judges."""
    shown_only = check.threshold_db is None and check.stage in (*STAGES, "run") and check.snr_db < math.inf
    return "FAIL" if not check.passed else "" if shown_only else "ok"


def check_record(check: Check) -> dict[str, Any]:
    """JSON has no infinity: an SNR of equal tensors is null, and `equal` says so."""
    record = asdict(check)
    record["equal"] = check.snr_db == math.inf
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }


def verify_record(bundle: Bundle, checks: Iterable[Check]) -> dict[str, Any]:
    records = [check_record(check) for check in checks]
    return {
        "bundle": str(bundle.folder),
        "backend": bundle.manifest.backend,
        "recipe": bundle.manifest.recipe.name,
        "passed": all(record["passed"] for record in records),
        "checks": records,
    }


def snr_text(snr_db: float) -> str:
    """dB, or in words where tensors are equal or hold no number."""
    return {math.inf: "equal", -math.inf: "none"}.get(snr_db, f"{snr_db:.1f}")
