"""The process's own streams, made fit for whatever stands behind them: nothing, a full disk, a reader that leaves.

It knows nothing of what is written to them.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from runtime_py.errors import OutputError, ReaderGone
from runtime_py.files import is_stdout

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def open_streams() -> None:
    """Make the three streams safe to use, whatever the process was started with. To be called before anything else.

    A closed descriptor is taken, for the next file to be opened would get it, and whatever is printed into it.
    On standard output the first failure is an OutputError, and what comes after is lost; standard error loses
    quietly. Characters that a stream cannot encode are written as escapes.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # a closed standard output becomes one that cannot be written
            os.open(os.devnull, os.O_WRONLY if descriptor == 2 else os.O_RDONLY)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    if _is_own(sys.stdout, sys.__stdout__):
        sys.stdout = _held(sys.stdout, _Stream(1, lossy=False))
    if _is_own(sys.stderr, sys.__stderr__):
        sys.stderr = _held(sys.stderr, _Stream(2, lossy=True))


@contextmanager
def summary(*outputs: Path | None) -> Iterator[None]:
    """What the block prints is the result where no output is named, and else stands beside it.

    Beside it, it goes to standard error where an output is standard output, and costs nothing where it cannot be
    written.
    """
    beside = any(path is not None for path in outputs)
    stream = sys.stderr if any(map(is_stdout, outputs)) else sys.stdout
    with suppress(*([OutputError] if beside else [])), redirect_stdout(stream):
        yield
        stream.flush()


class _Stream(io.FileIO):
    """A standard stream: OutputError for the first thing that it cannot take, unless it is lossy; it is after that."""

    def __init__(self, descriptor: int, *, lossy: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._lossy = lossy

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self._lossy:
                return memoryview(data).nbytes
            self._lossy = True
            if isinstance(error, BrokenPipeError):
                raise ReaderGone("nobody reads standard output any more") from error
            raise OutputError(f"cannot write to standard output: {error.strerror}; send it elsewhere") from error


def _is_own(stream: TextIO | None, first: Any) -> bool:
    """Whether it is the interpreter's, and a plain file to the system: others are left as they are."""
    if stream is not first:
        return False
    buffer = getattr(stream, "buffer", None)
    return stream is None or type(getattr(buffer, "raw", buffer)) is io.FileIO


def _held(stream: Any, raw: _Stream) -> TextIO:
    """A text stream on `raw`, as `stream` was; that is None in a process without one."""
    encoding, errors, at_once = "utf-8", "strict", False
    if stream is not None:
        encoding, errors, at_once = stream.encoding, stream.errors, stream.line_buffering or stream.write_through
        with suppress(OSError):
            stream.flush()
    errors = "backslashreplace" if errors == "strict" else errors
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=at_once)
