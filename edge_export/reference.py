"""The fp32 PyTorch network behind the runtime's own interface, so that one loop plays both.

It knows which checkpoint made a bundle by its hash, and finds it again on this machine by that hash.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge_export.builtin import BUILTIN_CHECKPOINT, BUILTIN_NAME
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import UsageError
from edge_export.submodules import Port, submodules_for
from runtime_py.caches import cache_folder
from runtime_py.engine import OpenProgram, Program, Tensors
from runtime_py.machine import fast_cores
from runtime_py.manifest import Manifest

ADD = ": add --checkpoint DIR"
NOTES = "checkpoints"


class ReferenceProgram:
    """A published module with a program's interface: arrays by name, in and out."""

    def __init__(self, module: nn.Module, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
        self._module = module
        self._inputs, self._outputs = inputs, outputs

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        made = self._module(*(torch.from_numpy(np.ascontiguousarray(inputs[port.name])) for port in self._inputs))
        tensors = made if isinstance(made, tuple) else (made,)
        return {port.name: tensor.numpy() for port, tensor in zip(self._outputs, tensors, strict=True)}


def reference_programs(
    checkpoint: Checkpoint, *, as_published: bool = False, threads: int | None = None
) -> OpenProgram:
    """Opens a stage as the published network computes it, in float32.

    `as_published` as in the bundle's recipe: where the network is cut into stages. The decoder takes any window.
    """
    if threads is not None:
        torch.set_num_threads(threads)

    def open_program(stage: str) -> Program:
        submodule, config = submodules_for(as_published=as_published)[stage], checkpoint.config
        return ReferenceProgram(submodule.load(checkpoint), submodule.inputs(config), submodule.outputs(config))

    return open_program


def open_reference(manifest: Manifest, folder: Path | None, *, threads: int | None = None) -> OpenProgram:
    """The reference for a bundle, from the checkpoint that `checkpoint_of` finds; it raises the same."""
    return reference_programs(
        checkpoint_of(manifest, folder), as_published=manifest.recipe.as_published, threads=threads or fast_cores()
    )


def checkpoint_of(manifest: Manifest, folder: Path | None) -> Checkpoint:
    """A bundle's checkpoint: in `folder`, or the built-in one, or where it lay at the build.

    Raises:
        UsageError: the checkpoint is not known on this machine, or `folder` holds another one.
    """
    found = _checkpoint_folder(manifest, folder)
    checkpoint = open_checkpoint(found)
    if checkpoint.sha256 != manifest.model.checkpoint_sha256:
        raise UsageError(f"{found} is not the checkpoint this bundle was built from (its hash differs)" + ADD)
    return checkpoint


def _checkpoint_folder(manifest: Manifest, folder: Path | None) -> Path:
    if folder is None and manifest.model.name == BUILTIN_NAME:
        return BUILTIN_CHECKPOINT
    if folder is not None and not folder.is_dir():
        raise UsageError(f"there is no checkpoint at {folder}; name the folder of the one this bundle was built from")
    found = folder or _remembered(manifest.model.checkpoint_sha256)
    if found is None or not found.is_dir():
        raise UsageError("the reference engine needs the checkpoint this bundle was built from" + ADD)
    return found


def remember_checkpoint(checkpoint: Checkpoint) -> None:
    """Note where a checkpoint lies, by its hash, so that `--engine reference` finds it. Failing to is no error."""
    try:
        if (folder := cache_folder(NOTES)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / checkpoint.sha256).write_text(str(checkpoint.folder.resolve()), encoding="utf-8")
    except OSError:
        return


def _remembered(sha256: str) -> Path | None:
    folder = cache_folder(NOTES)
    try:
        return None if folder is None else Path((folder / sha256).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
