"""Whose figures are whose: those of the machine that measured last at the top of a file, other machines' below it.

It does not know what was measured.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime_py.files import replace_file

# What a machine is told by beside its name, since one name stands for CPUs with and without fast int8.
TELLING = ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve2", "sme")

Record = dict[str, Any]


def machine_name(machine: Record) -> str:
    """What a machine's figures are known by: CPU, what it has for int8, cores; of old records, what they say."""
    features = [name for name in TELLING if name in machine.get("cpu_features", ())]
    has = f" ({', '.join(features)})" if features else ""
    cores = machine["usable_cores"]
    return f"{machine['cpu']}{has}, {cores} core{'s' if cores > 1 else ''}"


def with_machine(before: Record, results: Record) -> Record:
    """`results` at the top, and below `others` the last ones of every other machine that `before` has, by its name."""
    others = dict(before.get("others", {}))
    if before:
        others[machine_name(before["machine"])] = {key: before[key] for key in before if key != "others"}
    others.pop(machine_name(results["machine"]), None)
    return {**results, "others": others}


def machines(results: Record) -> Iterator[tuple[str, Record]]:
    """Every machine's name and figures, the last one's first."""
    yield machine_name(results["machine"]), results
    yield from results.get("others", {}).items()


def read(path: Path) -> Record:
    """What a file holds; nothing where there is none."""
    record: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return record


def save(path: Path, results: Record) -> None:
    path.parent.mkdir(exist_ok=True)
    replace_file(path, (json.dumps(portable(results), indent=2) + "\n").encode())


def portable(value: Any) -> Any:
    """`value` with bundles by their folders' names: where they lay says nothing on another machine."""
    if isinstance(value, list):
        return [portable(each) for each in value]
    if isinstance(value, dict):
        return {key: Path(each).name if key == "bundle" else portable(each) for key, each in value.items()}
    return value
