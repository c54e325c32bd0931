"""The checkpoint used when none is given: small, random, made when it is first asked for, gone with the process."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_export.new_checkpoint import write_new_checkpoint

SIZE, SEED = "tiny", 0
BUILTIN_NAME = "built-in"


def builtin_checkpoint() -> Path:
    """The folder of the built-in checkpoint."""
    return Path(_made().name, "builtin")


def is_builtin(folder: Path) -> bool:
    """Whether `folder` is that of the built-in checkpoint."""
    return _made.cache_info().currsize > 0 and folder == builtin_checkpoint()


@cache
def _made() -> "TemporaryDirectory[str]":
    scratch = TemporaryDirectory(prefix="edge-export-")
    write_new_checkpoint(Path(scratch.name, "builtin"), SIZE, SEED)
    return scratch
