"""The layers of a network that recipes speak of: what kinds there are and what they are called."""

import re

from torch import nn

OPERATORS: dict[type[nn.Module], str] = {
    nn.Linear: "linear",
    nn.Conv1d: "conv",
    nn.Conv2d: "conv",
    nn.ConvTranspose1d: "conv",
    nn.ConvTranspose2d: "conv",
    nn.Embedding: "embedding",
}
"""Exactly these types: what a rewrite adds beside them stays in float."""

Layer = tuple[nn.Module, ...]
"""One layer of the network: more than one module where a rewrite cut its weights."""

WRAPPERS = re.compile(r"^(module\.)+")
PIECE = re.compile(r"\.cut_\d+$")


def layer_name(path: str) -> str:
    """The name that patterns match of the module at `path`: without our wrappers, and without the piece of a cut."""
    return PIECE.sub("", WRAPPERS.sub("", path))


def layers_of(module: nn.Module) -> dict[str, Layer]:
    """The layers there are to quantize, by name, in the order of the network."""
    found: dict[str, Layer] = {}
    for path, part in module.named_modules():
        if type(part) in OPERATORS:
            name = layer_name(path)
            found[name] = (*found.get(name, ()), part)
    return found
