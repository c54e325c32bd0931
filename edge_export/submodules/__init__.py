"""The parts of the network that become programs, in the order they run. To add one: a file and a line here.

STRAIGHT is the same network cut and exported as the public recipes do it, to compare with.
"""

from edge_export.submodules.conditioner import CONDITIONER, STRAIGHT_CONDITIONER
from edge_export.submodules.decoder import DECODER, STRAIGHT_DECODER
from edge_export.submodules.dit import DIT, STRAIGHT_DIT
from edge_export.submodules.submodule import Part, Port, Rewrite, Submodule, rewrite

__all__ = ["STRAIGHT", "SUBMODULES", "Part", "Port", "Rewrite", "Submodule", "rewrite", "submodules_for"]

SUBMODULES: dict[str, Submodule] = {submodule.name: submodule for submodule in (CONDITIONER, DIT, DECODER)}

STRAIGHT: dict[str, Submodule] = {
    submodule.name: submodule for submodule in (STRAIGHT_CONDITIONER, STRAIGHT_DIT, STRAIGHT_DECODER)
}


def submodules_for(straight: bool) -> dict[str, Submodule]:
    """The table to export with."""
    return STRAIGHT if straight else SUBMODULES
