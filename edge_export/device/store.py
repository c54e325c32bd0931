"""The folder of the user's cache that devices need: SDKs, built runners, logs; and one writer at a time.

Each folder that was brought or built holds a JSON file with the hashes of all the others. What they are for is not
known here.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from edge_export.errors import OutputError, UsageError
from edge_export.staging import staged_folder
from runtime_py import strict_json
from runtime_py.bundle import sha256_of
from runtime_py.caches import cache_folder

Found = TypeVar("Found")


def store(*below: str) -> Path:
    """XDG_CACHE_HOME/edge-export/device, or a path below; UsageError when this user has no home."""
    folder = cache_folder("device")
    if folder is None:
        raise UsageError("there is no home folder to keep the runner in; set XDG_CACHE_HOME")
    return folder.joinpath(*below)


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


def hashes(root: Path, folder: Path) -> dict[str, str]:
    """sha256 by path below `root` of the files in `folder`, in order of their names."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in files}


def write_hashes(folder: Path, name: str, origin: dict[str, Any]) -> None:
    """Write the file `name`: of what the files in `folder` were made, and their hashes."""
    document = {**origin, "files": hashes(folder, folder)}
    (folder / name).write_text(json.dumps(document, indent=2), encoding="utf-8")


def intact_files(
    folder: Path, name: str, key: str, value: str, *, needed: tuple[str, ...] = ()
) -> dict[str, str] | None:
    """The files that `write_hashes` wrote of, if all are as they were, hold those `needed`, and `key` is `value`.

    A cache may have been trimmed, or cut short by a full disk.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        document = strict_json.parse((folder / name).read_text(encoding="utf-8"))
        files: dict[str, str] = document["files"]
        whole = document[key] == value and files.keys() >= set(needed)
        if whole and all(sha256_of(folder / file) == sha256 for file, sha256 in files.items()):
            return files
    return None
