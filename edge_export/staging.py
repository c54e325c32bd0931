"""A folder that appears only when it is complete, and disk trouble told in one line.

It knows nothing of what is written.
"""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_export.errors import OutputError

FULL = (errno.ENOSPC, errno.EDQUOT)
# Trouble of the disk, whichever file it met; everything else counts only for files of the folder being written.
DISK = (*FULL, errno.EROFS, errno.EFBIG)
NAME_KEPT = 40  # characters of the target's name in the partial folder's: the rest must fit into 255 bytes


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder beside `out`; it becomes `out`, synced to disk, when the block ends without error.

    Missing parents are made. On any error, and on Ctrl-C, everything made here is removed again.

    Raises:
        OutputError: `out` exists, or cannot be written: no permission, no space, no such place.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100  resolve() would follow a link at `out` itself
    partial = out.parent / f".{out.name[:NAME_KEPT]}.partial-{secrets.token_hex(4)}"
    missing: list[Path] = []
    try:
        with _disk_errors(out, inside=Path(out.anchor)):
            _refuse_existing(out)
            missing += [parent for parent in reversed(out.parents) if not parent.exists()]
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
        with _disk_errors(out, inside=partial):
            yield partial
            _finish(partial)
            _refuse_existing(out)
            partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in reversed(missing):
            with suppress(OSError):  # others may use it by now
                parent.rmdir()
        raise
    with suppress(OSError):  # it is complete and in its place, whether or not its parent can be synced
        _sync(out.parent)


def output_error(error: OSError, out: Path) -> OutputError:
    """What `error` means for someone who wants `out` written."""
    what = {
        errno.ENOSPC: "the disk is full; free some space, or write to another disk",
        errno.EDQUOT: "your disk quota is used up; free some space, or write to another disk",
        errno.EACCES: "permission denied; choose a place that you may write to",
        errno.EPERM: "not permitted; choose a place that you may write to",
        errno.EROFS: "the file system is read-only; choose another place",
        errno.ENOTDIR: "part of the path is a file, not a folder; choose another place",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
        errno.EEXIST: "it exists; choose another place or remove it",
        errno.ENOTEMPTY: "it exists; choose another place or remove it",
    }.get(error.errno or 0, f"{error.strerror or error}; check the place and its disk")
    return OutputError(f"cannot write {out}: {what}")


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        kind = "folder" if out.is_dir() else "file"
        raise OutputError(f"the {kind} {out} exists; choose another place or remove it")
    with suppress(FileNotFoundError):  # lexists says no to every error; let the others speak
        out.lstat()


def _finish(folder: Path) -> None:
    """Give files the permissions that the umask asks for (some writers make them private), and sync all."""
    readable = stat.S_IMODE(folder.stat().st_mode) & 0o644
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                continue
            path.chmod(stat.S_IMODE(path.stat().st_mode) | readable)
            _sync(path)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(out: Path, inside: Path) -> Iterator[None]:
    """Turn trouble with the disk, or with files in `inside`, into OutputError; leave all other errors alone."""
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        translated = _translate(error, out, inside)
        if translated is None:
            raise
        raise translated from error


def _translate(error: Exception, out: Path, inside: Path) -> OutputError | None:
    trouble = _disk_trouble(error)
    if trouble is not None:
        return output_error(trouble, out)
    if isinstance(error, OSError) and any(_within(name, inside) for name in (error.filename, error.filename2)):
        return output_error(error, out)
    return None


def _disk_trouble(error: BaseException) -> OSError | None:
    """The trouble with the disk behind `error`, which may be wrapped, or told only in words by a native writer."""
    link: BaseException | None = error
    while link is not None:
        numbers = [link.errno] if isinstance(link, OSError) else _errno_in(str(link))
        for number in numbers:
            if number in DISK:
                return OSError(number, os.strerror(number))
        link = link.__cause__ or link.__context__
    return None


def _errno_in(message: str) -> list[int]:
    """The error numbers that a message speaks of: Rust's form, or the system's words for a full disk."""
    numbers = [int(number) for number in re.findall(r"\(os error (\d+)\)", message)]
    return numbers + [number for number in FULL if os.strerror(number).lower() in message.lower()]


def _within(name: object, folder: Path) -> bool:
    if not isinstance(name, str | bytes | os.PathLike):
        return False
    return Path(os.path.abspath(os.fsdecode(name))).is_relative_to(folder)  # noqa: PTH100
