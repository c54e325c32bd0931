"""Receipts: which files of a bundle were hashed and found right, so that they need not be hashed at every start.

    <cache>/edge-export/receipts/<key>.json

A file is known by device, inode, size and the two times that every change of it alters. A receipt that is damaged,
foreign or cannot be kept costs time, never a bundle. It does not know what is in the files.
"""

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from runtime_py import strict_json
from runtime_py.caches import cache_folder

RECEIPT_VERSION = 1
MAX_BYTES = 1 << 20
MOST_RECEIPTS = 256
UNSURE_NS = 2 * 10**9
"""A file that changed so shortly before it was hashed may change again within one tick of its clock."""

Identity = tuple[int, int, int, int, int]
"""Device, inode, bytes, and the times of the last change of content and of anything, in nanoseconds."""


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_receipt(bundle: Path, manifest_sha256: str) -> dict[str, Identity]:
    """The files of the folder `bundle` that were found right under this very manifest; none where nothing is known."""
    path = _path(bundle)
    try:
        if path is None or path.lstat().st_size > MAX_BYTES or not stat.S_ISREG(path.lstat().st_mode):
            return {}
        document = strict_json.parse(path.read_text(encoding="utf-8"))
        if document["receipt_version"] != RECEIPT_VERSION or document["manifest_sha256"] != manifest_sha256:
            return {}
        return {name: _identity(values) for name, values in document["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_receipt(bundle: Path, manifest_sha256: str, files: Mapping[str, Identity], *, begun_ns: int) -> None:
    """Note `files` as right, but for those that changed shortly before `begun_ns`, when hashing began."""
    path = _path(bundle)
    if path is None:
        return
    sure = {name: each for name, each in files.items() if max(each[3:]) < begun_ns - UNSURE_NS}
    document = {"receipt_version": RECEIPT_VERSION, "manifest_sha256": manifest_sha256, "files": sure}
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)  # which makes it for this user alone
        partial = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        _trim(path.parent)


def _path(bundle: Path) -> Path | None:
    folder = cache_folder("receipts")
    key = hashlib.sha256(os.fsencode(bundle.resolve())).hexdigest()[:32]
    return None if folder is None else folder / f"{key}.json"


def _identity(values: list[int]) -> Identity:
    device, inode, size, modified, changed = (int(value) for value in values)
    return device, inode, size, modified, changed


def _trim(folder: Path) -> None:
    """Drop the oldest beyond MOST_RECEIPTS, and what killed runs left behind a day ago."""
    found = sorted(((path.stat().st_mtime, path) for path in folder.iterdir()), reverse=True)
    kept = [(age, path) for age, path in found if path.suffix == ".json"]
    old = [path for _, path in kept[MOST_RECEIPTS:]]
    old += [path for age, path in found if path.suffix != ".json" and time.time() - age > 24 * 60 * 60]
    for path in old:
        path.unlink(missing_ok=True)
