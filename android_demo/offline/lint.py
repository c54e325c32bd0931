"""How the Kotlin of the project is written: ktlint's standard rules, and no long function. It builds nothing."""

import re
from pathlib import Path

from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import Jdk
from edge_export.errors import UsageError

MOST_LINES = 40
FUNCTION = re.compile(r"( *)(?:[a-z]+ )*fun .*")
MADE = "build"  # Gradle's name for what it makes


def lint(project: Path, jdk: Jdk, ktlint: Path) -> int:
    """How many Kotlin files of the project were read; ToolFailed where there is something to say of one."""
    files = [path for end in ("kt", "kts") for path in sorted(project.rglob(f"*.{end}"))]
    files = [path for path in files if MADE not in path.relative_to(project).parts]
    if not files:
        raise UsageError(f"{project} holds no Kotlin; name the folder of a Gradle project")
    jdk.run("ktlint", ("-jar", str(ktlint)), tuple(map(str, files)), ())
    long = [line for path in files for line in long_functions(path)]
    if long:
        raise ToolFailed(f"{len(long)} functions have more than {MOST_LINES} lines; they stand above", tuple(long))
    return len(files)


def long_functions(path: Path) -> list[str]:
    """FILE:LINE and name of each function longer than MOST_LINES, in Kotlin as ktlint leaves it.

    There a function goes on while lines are indented deeper than its `fun`, or close the list of what it takes.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        begun = FUNCTION.fullmatch(line)
        if begun is None:
            continue
        end = number + 1
        while end < len(lines) and (not lines[end] or lines[end].startswith((begun[1] + " ", begun[1] + ")"))):
            end += 1
        length = end - number + (end < len(lines) and lines[end].startswith(begun[1] + "}"))
        if length > MOST_LINES:
            found.append(f"{path}:{number + 1}: {length} lines: {line.strip()}")
    return found
