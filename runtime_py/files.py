"""Files replaced whole or not at all. It knows nothing of what is in them."""

import errno
import os
import tempfile
from pathlib import Path

from runtime_py.errors import OutputError


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one move; OutputError, and nothing left, when that fails.

    Only a plain file is replaced: never a folder, nor a device such as /dev/null.
    """
    temporary = None
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a plain file; name another")
        handle, name = tempfile.mkstemp(prefix=".edge-export-", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "write elsewhere"
        raise OutputError(f"cannot write {path}: {error.strerror}; {advice}") from error
    except ValueError as error:  # a zero byte in the name
        raise OutputError(f"cannot write {str(path)!r}: {error}; write elsewhere") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
