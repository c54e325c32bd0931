"""Worker processes leave Ctrl-C to the process that started them, which ends them. It knows no work."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started within never hear Ctrl-C, not even while they import: what is ignored is inherited.

    Only the main thread may set that; in another nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
