"""What is measured, and whether there is memory enough for it: an estimate from its manifest alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_export.errors import EdgeExportError
from runtime_py.estimate import estimate_request
from runtime_py.machine import MEGA, memory_available
from runtime_py.manifest import Manifest
from runtime_py.request import Request
from runtime_py.text import printable

LONGEST_NAME = 60

# Weights of the reference are read, folded and computed with: three times what they are at the worst.
COPIES = 3
FLOAT32_BYTES = 4
INTERPRETER_BYTES = 300_000_000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: the programs of a bundle, or the fp32 network it was made from."""

    side: str
    folder: Path
    reference: bool
    manifest: Manifest = field(repr=False)

    @property
    def shown(self) -> str:
        if self.reference:
            return "reference (PyTorch, fp32)"  # engine and recipe, as of a bundle
        name = self.folder.resolve().name
        return f"{printable(name)[:LONGEST_NAME]} ({self.manifest.backend}, {self.manifest.recipe.name})"


def memory_needed(subject: Subject, request: Request) -> int:
    """Bytes that a generation may take at its peak, the interpreter with it; of the reference the whole network's."""
    manifest = subject.manifest
    if subject.reference:
        return INTERPRETER_BYTES + COPIES * FLOAT32_BYTES * sum(manifest.model.parameters.values())
    return INTERPRETER_BYTES + estimate_request(manifest, request, keep_loaded=False).total_bytes


def refuse_little_memory(subjects: Iterable[Subject], request: Request) -> None:
    """EdgeExportError when a subject may need more memory than there is."""
    available = memory_available()
    for subject in subjects:
        needed = memory_needed(subject, request)
        if available is not None and available < needed:
            raise EdgeExportError(
                f"not enough memory to bench {subject.shown}: it may need {needed / MEGA:.0f} MB, "
                f"{available / MEGA:.0f} MB are available; close other programs, or bench a smaller bundle"
            )
