"""Habits of the house that a reader of the source can hold: one place prints, and no function is long."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("android_demo", "edge_export", "quantization", "runtime_py", "post_training")
MAY_PRINT = ("console.py", "command_line.py", "__main__.py")
PRINTING = {"print", "rich.print", "sys.stdout.write", "sys.stderr.write", "Console", "rich.console.Console"}
PRINTING |= {f"typer.{name}" for name in ("echo", "secho", "confirm", "prompt")}
LEAVING = {"sys.exit", "exit", "quit"}
MOST_LINES = 60


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def stray(source: str) -> set[str]:
    """What a module calls that prints, or leaves the program."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {ast.unparse(call.func) for call in calls} & (PRINTING | LEAVING)


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES:
                yield f"{node.name} has {lines} lines"


@pytest.mark.parametrize("package", PACKAGES)
def test_one_place_prints_and_leaves(package):
    found = {
        str(path.relative_to(ROOT)): stray(path.read_text(encoding="utf-8"))
        for path in sources(package)
        if path.name not in MAY_PRINT
    }
    assert not {path: calls for path, calls in found.items() if calls}


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks"])
def test_no_function_is_long(package):
    found = {
        str(path.relative_to(ROOT)): list(long_functions(path.read_text(encoding="utf-8"))) for path in sources(package)
    }
    assert not {path: functions for path, functions in found.items() if functions}


def test_what_is_looked_for_is_found():
    assert stray("import typer\nprint(1)\ntyper.echo(2)\nshow_line(3)") == {"print", "typer.echo"}
    long = "def f():\n" + "    x = 1\n" * MOST_LINES
    assert list(long_functions(long)) == [f"f has {MOST_LINES + 1} lines"]
    assert list(long_functions(long.removesuffix("    x = 1\n"))) == []
