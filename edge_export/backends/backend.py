"""What a backend is: it turns a part of the network into one compiled program file.

When and how a recipe is applied is the backend's business.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_export.errors import BuildError
from edge_export.submodules.submodule import Part, Port
from quantization.recipe import Recipe
from runtime_py.estimate import MemorySpec
from runtime_py.manifest import GraphSpec, TensorSpec


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a backend says of the program it wrote: interface, what became of the graph, and memory that it needs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    graph: GraphSpec
    memory: MemorySpec


class Backend(Protocol):
    """A backend is a module with these."""

    SUFFIX: str
    PACKAGES: tuple[str, ...]
    """Distributions whose versions decide what comes out; the manifest records them."""
    FLOAT16: bool
    """Whether programs can compute in float16 what is not int8."""

    def compile(self, part: Part, recipe: Recipe, out: Path) -> Compiled:
        """Write the program for `part` to `out`.

        Names are the part's; positions are those of the compiled program, read back from it.

        Raises:
            MissingDependency: the toolchain is not installed.
            BuildError: the toolchain failed, or the program's interface is not the part's.
        """
        ...


def check_ports(part: str, side: str, ports: tuple[Port, ...], found: list[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The compiled program's tensors in the order of the part's ports; BuildError when they are not the same."""
    by_name = {tensor.name: tensor for tensor in found}
    expected = {port.name: (port.dtype, port.shape) for port in ports}
    compiled = {tensor.name: (tensor.dtype, tensor.shape) for tensor in found}
    if expected != compiled:
        raise BuildError(f"the compiled {part} has {side} {compiled}, expected {expected}")
    return tuple(by_name[port.name] for port in ports)
