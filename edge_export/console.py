"""The only place that prints: tables, JSON, lines, notes, and progress. It knows no command.

Results go to standard output, notes and progress to standard error. rich is imported when something needs it.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from edge_export.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

MOST_LINES = 100
PIPE_WIDTH = 160


def show_line(text: str) -> None:
    print(text)


def show_note(text: str, program: str = "edge-export") -> None:
    """What is good to know beside the result, on standard error."""
    print(f"{program}: note: {text}", file=sys.stderr)


def json_text(record: object, *, escaped: bool = False) -> str:
    return json.dumps(record, indent=2, ensure_ascii=escaped, allow_nan=False) + "\n"


def show_json(record: object) -> None:
    encoding = (sys.stdout.encoding or "utf-8").lower()
    print(json_text(record, escaped=not encoding.startswith("utf")), end="")


def show_tables(*tables: "Table") -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    for table in tables:
        console.print(table)


def agreed(question: str) -> bool:
    """Ask on standard error; Enter agrees."""
    return typer.confirm(question, default=True, err=True)


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Show progress on standard error: a bar on a terminal, a line for each piece elsewhere."""
    if sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield _lines()


def _lines() -> Progress:
    """A line for each piece; where pieces are too many to count, for each kind of piece."""
    last = ""

    def progress(what: str, done: int, total: int) -> None:
        nonlocal last
        if what != last:
            last = what
            print(f"[{min(done + 1, total)}/{total}] {what}" if total <= MOST_LINES else what, file=sys.stderr)

    return progress


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # A copy of standard error: while toolchains are silenced, the process's own leads nowhere.
    stream = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace")
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with stream, Bar(*columns, console=Console(file=stream, force_terminal=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)
