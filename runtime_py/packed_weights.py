"""Weights as a runtime packs them for this CPU, kept in files from one run to the next.

Mapped from a file, they are loaded in no time, and the program's own copy of them is never in memory. It knows
files and their checksums, not programs. Without a folder to write to, all goes on as if there were nothing kept.
"""

import hashlib
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from runtime_py.machine import largest_file

MOST_BYTES = 4 << 30
SPARE_BYTES = 64 << 20  # left free beyond what is to be written, for others who write meanwhile
CHUNK = 1 << 20
ABANDONED = 24 * 60 * 60  # seconds after which a partial file belongs to a run that was killed


def key_of(program: Path, *made_by: str) -> str:
    """What decides how the weights of `program` are packed: the file, this CPU, and who packs them, by version.

    The file is known as the disk knows it, so that it may be moved: reading it all would take longer than packing.
    """
    status = program.stat()
    file = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    parts = (*map(str, file), *made_by, *_cpu())
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@contextmanager
def packed_weights(key: str, folder: Path | None, *, most_bytes: int = 0) -> Iterator[Path | None]:
    """A file for a runtime to open: the weights kept under `key`, or one to write at most `most_bytes` to in the block.

    What was written is kept, under its checksum, when the block ends well. None where nothing can be kept, and where
    there is not room enough: a runtime that cannot write on may end the process.
    """
    kept = None if folder is None else _find(folder, key)
    if folder is None or kept is not None or not (_writable(folder) and _has_room(folder, most_bytes)):
        yield kept
        return
    partial = folder / f".{key}.partial-{secrets.token_hex(4)}"
    try:
        yield partial
        with suppress(OSError):
            partial.replace(folder / f"{key}.{checksum_of(partial)}")
            _trim(folder)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _find(folder: Path, key: str) -> Path | None:
    """The file kept under `key`; one that the disk has altered is removed."""
    try:
        for path in folder.glob(f"{key}.*"):
            if path.suffix == f".{checksum_of(path)}":
                with suppress(OSError):  # of a folder that may only be read
                    os.utime(path)
                return path
            path.unlink(missing_ok=True)
    except OSError:
        return None
    return None


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _has_room(folder: Path, size: int) -> bool:
    """For another `size` bytes, though all who write now should need as many."""
    try:
        writers = 1 + sum(1 for _ in folder.glob(".*.partial-*"))
        free = shutil.disk_usage(folder).free
        return size + SPARE_BYTES <= largest_file() and size * writers + SPARE_BYTES <= free
    except OSError:
        return False


def checksum_of(path: Path) -> str:
    """The sum of a file's 64-bit words and its size: against accidents alone, and as fast as memory is read."""
    total, size = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            words = np.frombuffer(chunk.ljust(-(-len(chunk) // 8) * 8, b"\0"), np.uint64)
            total, size = total + int(np.add.reduce(words)), size + len(chunk)
    return f"{total % (1 << 64):016x}{size:x}"


def _trim(folder: Path) -> None:
    """Drop what was used longest ago beyond MOST_BYTES, and what killed runs left behind."""
    found = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    left = MOST_BYTES
    for path, status in sorted(found, key=lambda pair: -pair[1].st_mtime):
        partial = path.name.startswith(".")
        left -= 0 if partial else status.st_size
        if left < 0 or (partial and time.time() - status.st_mtime > ABANDONED):
            path.unlink(missing_ok=True)


def _cpu() -> tuple[str, ...]:
    """What this CPU is and can, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    found = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return platform.machine(), platform.processor(), *found
