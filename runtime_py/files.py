"""Where outputs go: files are replaced whole or not at all, pipes and devices are written to.

A path of `-` is standard output. It knows nothing of what is in them.
"""

import errno
import os
import re
import stat
import tempfile
from pathlib import Path

from runtime_py.errors import OutputError, ReaderGone, UsageError

STDOUT = Path("-")
MOST_LINKS = 40  # as Linux has it


def check_outputs(*paths: Path | None, bundle: Path | None = None) -> None:
    """Refuse outputs that could not be written, or that would spoil the bundle: asked before the work, not after.

    Raises:
        OutputError: one lies inside the bundle, is a folder, in no folder, or a stream that cannot be written.
        UsageError: two are one file.
    """
    wanted = [path for path in paths if path is not None]
    for path in wanted:
        if path != STDOUT:
            refuse_inside(path, bundle)
        descriptor, place = _descriptor(path), _resolved(path)
        if descriptor is not None:
            _pour(path, descriptor, b"")
        elif not place.parent.is_dir():
            folder = place.parent
            raise OutputError(f"cannot write {path}: there is no folder {folder}; make it, or write elsewhere")
        else:
            _mode(path)
    where = [_descriptor(path) or _resolved(path) for path in wanted]
    twice = [path for path, place in zip(wanted, where) if where.count(place) > 1]
    if twice:
        raise UsageError(f"{' and '.join(map(str, twice))} are one file; name two files")


def refuse_inside(path: Path, bundle: Path | None) -> None:
    """OutputError where `path`, by whatever links, leads into the bundle."""
    if bundle is not None and _resolved(path).is_relative_to(_resolved(bundle)):
        raise OutputError(f"{path} lies inside the bundle, which must stay as it is; write elsewhere")


def is_stdout(path: Path | None) -> bool:
    """Whether this output is standard output, by any of its names."""
    return path is not None and _descriptor(path) == 1


def is_stream(path: Path) -> bool:
    """Whether this output is a pipe or a device, which is written to: nothing of a like name can stand beside it."""
    there = os.path.exists(path)  # noqa: PTH110 - Path's own raises where the name is too long
    return _descriptor(path) is not None or (there and not path.is_file())


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one move: it is there whole, or what was there stays.

    A link is followed to what it names, which is replaced or made. A pipe or a device is written to, and so is
    whatever stands behind a descriptor of this process: `-`, /dev/stdout, /dev/fd/3.

    Raises:
        ReaderGone: nobody reads the pipe any more.
        OutputError: it cannot be written, or is a folder; nothing is left.
    """
    try:
        descriptor = _descriptor(path)
        if descriptor is not None:
            _pour(path, descriptor, data)
            return
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            _replace(_resolved(path), data)
        else:
            opened = os.open(path, os.O_WRONLY)  # of a pipe this waits for a reader
            try:
                _pour(path, opened, data)
            finally:
                os.close(opened)
    except OSError as error:
        raise _refusal(path, error) from error
    except ValueError as error:  # a zero byte in the name
        raise OutputError(f"cannot write {str(path)!r}: {error}; write elsewhere") from error


def _descriptor(path: Path) -> int | None:
    """The descriptor of this process that `path` names, maybe through links: what it stands for has no other name."""
    if path == STDOUT:
        return 1
    for _ in range(MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if re.fullmatch(rf"(/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd)/[0-9]{{1,5}}", f"{folder}/{path.name}"):
            return int(path.name)
        try:
            path = Path(folder, path.readlink())
        except OSError:
            return None
    return None


def _resolved(path: Path) -> Path:
    """Where links lead, also one to nothing yet; `Path.resolve` raises at a loop."""
    return Path(os.path.realpath(path))


def _mode(path: Path) -> int | None:
    """Of what `path` leads to, which is no folder; None where nothing is there yet."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refusal(path, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder; name a file")
    return mode


def _pour(path: Path, descriptor: int, data: bytes) -> None:
    """Write `data` through a descriptor, from where it stands: what is behind it may hold more than ours."""
    try:
        rest = memoryview(data)
        rest = rest[os.write(descriptor, rest) :]  # of nothing, too: it says whether more could be written
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BrokenPipeError as error:
        raise ReaderGone(f"nobody reads {path} any more") from error
    except OSError as error:
        raise _refusal(path, error) from error


def _replace(path: Path, data: bytes) -> None:
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=".edge-export-", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _refusal(path: Path, error: OSError) -> OutputError:
    advice = "free some space" if error.errno == errno.ENOSPC else "write elsewhere"
    return OutputError(f"cannot write {path}: {error.strerror}; {advice}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
