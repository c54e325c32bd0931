"""The parts of the network that become programs, in the order they run. To add one: a file and a line here."""

from edge_export.submodules.conditioner import CONDITIONER
from edge_export.submodules.decoder import DECODER
from edge_export.submodules.dit import DIT
from edge_export.submodules.submodule import Part, Port, Rewrite, Submodule, rewrite

__all__ = ["SUBMODULES", "Part", "Port", "Rewrite", "Submodule", "rewrite"]

SUBMODULES: dict[str, Submodule] = {submodule.name: submodule for submodule in (CONDITIONER, DIT, DECODER)}
