"""What is measured, and whether there is memory enough for it: an estimate from its manifest alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_export.errors import EdgeExportError
from runtime_py.machine import MEGA, memory_available
from runtime_py.manifest import Manifest
from runtime_py.text import printable

LONGEST_NAME = 60

# A program is mapped, unpacked and packed again for the CPU: three times its file at the worst.
COPIES = 3
FLOAT32_BYTES = 4
# The decoder's widest layers hold 128 channels of float32 for each sample, about four such tensors at once.
DECODER_BYTES_PER_SAMPLE = 4 * 128 * FLOAT32_BYTES
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


def memory_needed(subject: Subject) -> int:
    """Bytes that a generation may take at its peak: an estimate on the safe side, from the manifest alone.

    Stages follow one another, so it is the largest program's; of the reference the whole network's.
    """
    manifest = subject.manifest
    if subject.reference:
        return INTERPRETER_BYTES + COPIES * FLOAT32_BYTES * sum(manifest.model.parameters.values())
    samples = manifest.generation.tensor("decoder", "outputs", "audio").shape[-1]
    activations = {"decoder": samples * DECODER_BYTES_PER_SAMPLE}
    peaks = (COPIES * program.bytes + activations.get(role, 0) for role, program in manifest.programs.items())
    return INTERPRETER_BYTES + max(peaks)


def refuse_little_memory(subjects: Iterable[Subject]) -> None:
    """EdgeExportError when a subject may need more memory than there is."""
    available = memory_available()
    for subject in subjects:
        needed = memory_needed(subject)
        if available is not None and available < needed:
            raise EdgeExportError(
                f"not enough memory to bench {subject.shown}: it may need {needed / MEGA:.0f} MB, "
                f"{available / MEGA:.0f} MB are available; close other programs, or bench a smaller bundle"
            )
