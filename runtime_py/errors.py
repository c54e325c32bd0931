"""The errors a runtime can raise. Each message says what is wrong, where, and what to do next.

`edge_export.errors` draws the whole tree; this half stands alone because the runtime does.
"""

from runtime_py.text import printable


class EdgeExportError(Exception):
    """The root. Anything else that escapes is a defect of ours.

    A message is one line: what a stranger's file puts into it cannot break it, nor steer a terminal.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UsageError(EdgeExportError):
    """What was asked for makes no sense: an unknown name, seconds of -1, an empty prompt."""

    exit_code = 2


class BundleError(EdgeExportError):
    """A bundle is missing, altered, from a later version, or unsafe to read."""

    exit_code = 4


class OutputError(EdgeExportError):
    """The result cannot be written: it exists, no permission, no space."""

    exit_code = 6


class ReaderGone(OutputError):
    """Nobody reads any more what goes into a pipe: a command ends as quietly as if SIGPIPE had ended it."""

    exit_code = 141


class MissingDependency(EdgeExportError):
    """A package that only this task needs is not installed."""

    exit_code = 8


class GenerationError(EdgeExportError):
    """A program failed while running, or returned numbers that are not sound (NaN, wrong shape)."""

    exit_code = 10


class DeviceError(EdgeExportError):
    """A device cannot be used: gone, unauthorised, full, or its CPU lacks what the target needs."""

    exit_code = 11


class RecordError(EdgeExportError):
    """A file is no record of a run, or one of another version or bundle."""

    exit_code = 12


def first_line(error: BaseException) -> str:
    """What a library's exception says, in one line of bearable length."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
