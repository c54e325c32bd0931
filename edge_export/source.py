"""A checkpoint, however the user names it: itself, a bundle made from it, or nothing at all.

It knows where to look, not what is in it.
"""

from pathlib import Path

from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import UsageError
from edge_export.reference import checkpoint_of
from runtime_py.bundle import open_bundle
from runtime_py.manifest import MANIFEST_FILE

DEFAULT_BACKEND = "litert"


def open_source(source: Path | None, checkpoint: Path | None) -> tuple[Checkpoint, str]:
    """The checkpoint, and the backend that its bundle is for.

    `source` is a bundle, a checkpoint, or None for the built-in checkpoint; `checkpoint` is where a bundle's lies.

    Raises:
        BundleError, CheckpointError: it is neither, or broken.
        UsageError: the bundle's checkpoint is not known on this machine, or is another.
    """
    if source is not None and (source / MANIFEST_FILE).exists():
        manifest = open_bundle(source).manifest
        return checkpoint_of(manifest, checkpoint), manifest.backend
    if checkpoint is not None:
        raise UsageError("--checkpoint goes with a bundle; name the checkpoint itself instead")
    return open_checkpoint(BUILTIN_CHECKPOINT if source is None else source), DEFAULT_BACKEND
