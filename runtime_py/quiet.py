"""Keeps native libraries from writing to the terminal: what they print, they print past Python's own streams.

It knows nothing of who prints.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

STREAMS = (1, 2)
_one_at_a_time = threading.RLock()

if hasattr(os, "register_at_fork"):  # no child begins in the silence of another thread, nor with its lock taken
    os.register_at_fork(
        before=_one_at_a_time.acquire,
        after_in_parent=_one_at_a_time.release,
        after_in_child=_one_at_a_time.release,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Standard output and standard error of the whole process go nowhere while the block runs.

    For library calls that are known to chatter, and no longer than they last: other threads are silenced too, and so
    are programs they start meanwhile. A fork waits for the end. Where one of the streams is missing, it stays so.
    """
    with _one_at_a_time, ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("wb")).fileno()
        _flush()
        for stream in STREAMS:
            with suppress(OSError):
                kept = os.dup(stream)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, stream)
                os.dup2(nowhere, stream)
        stack.callback(_flush)  # runs first: what Python still holds belongs to the silence
        yield


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
