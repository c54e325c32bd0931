"""The checkpoint used when none is given: small, random, made on the spot."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_export.new_checkpoint import write_new_checkpoint

SIZE, SEED = "tiny", 0


BUILTIN_NAME = "built-in"


@contextmanager
def builtin_checkpoint() -> Iterator[Path]:
    """Yield the folder of the built-in checkpoint; it is gone when the block ends."""
    with TemporaryDirectory(prefix="edge-export-") as folder:
        checkpoint = Path(folder, "builtin")
        write_new_checkpoint(checkpoint, SIZE, SEED)
        yield checkpoint
