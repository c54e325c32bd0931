"""A program of others, run to its end or ended, and what it printed. It knows none of them."""

import subprocess

from android_demo.offline.errors import ToolFailed
from edge_export.device import process

SECONDS = 1200.0


def run_tool(what: str, argv: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; ToolFailed when it ends with another code than 0, or not at all."""
    try:
        done = process.capture(argv, timeout=SECONDS, environment=environment)
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{what} was ended after {SECONDS:.0f} s; look for what does not end") from error
    if done.code != 0:
        printed = (*done.out.splitlines(), *done.err.splitlines())
        raise ToolFailed(f"{what} failed with {process.signal_name(done.code)}; what it said stands above", printed)
    return done.out
