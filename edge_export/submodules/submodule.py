"""What a submodule is: a part of the network that becomes one program, with named inputs and outputs.

It knows neither backends' toolchains nor files.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_export.checkpoint import Checkpoint
from edge_export.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Port:
    """A named input or output of static shape. `dtype` as in the manifest: "float32", "int32".

    `plain` inputs are traced with ones instead of noise, which they could not be.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    plain: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """Same numbers, a graph the runtime likes. `apply` may change the module it is given.

    `backends` are those it is for; empty means all.
    """

    name: str
    apply: Callable[[nn.Module, ModelConfig], nn.Module]
    backends: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Submodule:
    """A part of the network that becomes a program, called `name`.

    `load` gives the published module; its forward takes the inputs in the order of `inputs` and returns the
    outputs in the order of `outputs` (one tensor, or a tuple of them). `rewrites` are applied in order. `part_of` names
    the entry of the SUBMODULES table that it is a part of, where it is not that entry itself.
    """

    name: str
    load: Callable[[Checkpoint], nn.Module]
    inputs: Callable[[ModelConfig], tuple[Port, ...]]
    outputs: Callable[[ModelConfig], tuple[Port, ...]]
    rewrites: tuple[Rewrite, ...] = ()
    part_of: str = ""

    @property
    def stage(self) -> str:
        """What recipes and thresholds call it."""
        return self.part_of or self.name


@dataclass(frozen=True, kw_only=True)
class Part:
    """A rewritten submodule, ready for a backend: forward(**inputs) returns a tuple in the order of `outputs`.

    `part_of` as of the submodule.
    """

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    part_of: str = ""

    @property
    def stage(self) -> str:
        """What recipes call it."""
        return self.part_of or self.name

    def example_inputs(self) -> dict[str, Tensor]:
        """Inputs to trace with: seeded noise, ones where noise makes no sense. In the order of `inputs`."""
        generator = torch.Generator().manual_seed(0)
        return {
            port.name: torch.ones(port.shape, dtype=port.torch_dtype)
            if port.plain
            else torch.randn(port.shape, generator=generator)
            for port in self.inputs
        }


class Named(nn.Module):
    """Calls `module` with keyword inputs and returns a tuple, so that names survive tracing."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        made = self.module(*(inputs[name] for name in self.names))
        return made if isinstance(made, tuple) else (made,)


def rewrite(submodule: Submodule, published: nn.Module, config: ModelConfig, backend: str) -> Part:
    """The part that `backend` compiles. `published` is left as it is: structure is copied, weights are shared."""
    weights = {id(tensor): tensor for tensor in (*published.parameters(), *published.buffers())}
    module = copy.deepcopy(published, memo=dict(weights))
    for step in submodule.rewrites:
        if not step.backends or backend in step.backends:
            module = step.apply(module, config)
    inputs = submodule.inputs(config)
    return Part(
        name=submodule.name,
        module=Named(module, tuple(port.name for port in inputs)).eval(),
        inputs=inputs,
        outputs=submodule.outputs(config),
        part_of=submodule.part_of,
    )
