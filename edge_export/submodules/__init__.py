"""The parts of the network that become programs, in the order they run. To add one: a file and a line here.

AS_PUBLISHED is the same network cut and exported as the public recipes do it, to compare with.
"""

from edge_export.submodules.conditioner import CONDITIONER, PUBLISHED_CONDITIONER
from edge_export.submodules.decoder import DECODER, PUBLISHED_DECODER
from edge_export.submodules.dit import DIT, PUBLISHED_DIT
from edge_export.submodules.submodule import Part, Port, Rewrite, Submodule, rewrite

__all__ = ["AS_PUBLISHED", "SUBMODULES", "Part", "Port", "Rewrite", "Submodule", "rewrite", "submodules_for"]

SUBMODULES: dict[str, Submodule] = {submodule.name: submodule for submodule in (CONDITIONER, DIT, DECODER)}

AS_PUBLISHED: dict[str, Submodule] = {
    submodule.name: submodule for submodule in (PUBLISHED_CONDITIONER, PUBLISHED_DIT, PUBLISHED_DECODER)
}


def submodules_for(*, as_published: bool) -> dict[str, Submodule]:
    """The table to export with."""
    return AS_PUBLISHED if as_published else SUBMODULES
