"""The parts of the network that become programs, in the order they run. To add one: a file and a line here.

SUBMODULES is what recipes and thresholds name. One of its entries may become two programs: `programs_for` says which.

AS_PUBLISHED is the same network cut and exported as the public recipes do it, to compare with.
"""

from edge_export.model.config import ModelConfig
from edge_export.model.decoder_parts import decoder_cut
from edge_export.submodules.conditioner import CONDITIONER, PUBLISHED_CONDITIONER
from edge_export.submodules.decoder import DECODER, PUBLISHED_DECODER, decoder_parts
from edge_export.submodules.dit import DIT, PUBLISHED_DIT
from edge_export.submodules.submodule import Part, Port, Rewrite, Submodule, rewrite

__all__ = [
    "AS_PUBLISHED",
    "SUBMODULES",
    "Part",
    "Port",
    "Rewrite",
    "Submodule",
    "programs_for",
    "rewrite",
    "submodules_for",
]

SUBMODULES: dict[str, Submodule] = {submodule.name: submodule for submodule in (CONDITIONER, DIT, DECODER)}

AS_PUBLISHED: dict[str, Submodule] = {
    submodule.name: submodule for submodule in (PUBLISHED_CONDITIONER, PUBLISHED_DIT, PUBLISHED_DECODER)
}


def submodules_for(*, as_published: bool) -> dict[str, Submodule]:
    """The table whose entries the reference computes."""
    return AS_PUBLISHED if as_published else SUBMODULES


def programs_for(config: ModelConfig, *, as_published: bool) -> dict[str, Submodule]:
    """What becomes a program of a bundle, by role: that table, its decoder in two where it can be cut."""
    table, cut = submodules_for(as_published=as_published), decoder_cut(config)
    if as_published or cut is None:
        return table
    return table | {part.name: part for part in decoder_parts(cut)}
