"""The folder of the user's cache that devices need: SDKs, built runners, logs; and one writer at a time.

It knows places on the disk, not what they hold.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from edge_export.errors import OutputError, UsageError
from edge_export.staging import staged_folder

Found = TypeVar("Found")


def store(*below: str) -> Path:
    """XDG_CACHE_HOME/edge-export/device, or a path below; UsageError when this user has no home."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise UsageError("there is no home folder to keep the runner in; set XDG_CACHE_HOME") from None
    return Path(cache, "edge-export", "device", *below).absolute()


@contextmanager
def one_writer(name: str) -> Iterator[None]:
    """Wait until no other process is in a block of this name.

    Raises:
        OutputError: the cache cannot be written.
    """
    path = store(f"{name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; set XDG_CACHE_HOME to another place") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def fetched(
    folder: Path, name: str, read: Callable[[Path], Found | None], make: Callable[[Path], None]
) -> Found | None:
    """What `read` finds in `folder`, which `make` fills as a whole when it finds nothing; None if not even then.

    One process at a time under `name`. What was damaged is replaced.

    Raises:
        OutputError: the cache cannot be written; and whatever `make` raises, which leaves nothing behind.
    """
    with one_writer(name):
        found = read(folder)
        if found is not None:
            return found
        shutil.rmtree(folder, ignore_errors=True)
        with staged_folder(folder) as partial:
            make(partial)
        return read(folder)
