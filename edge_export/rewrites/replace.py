"""Walks a network and replaces modules: what every rewrite has in common."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Kind = TypeVar("Kind", bound=nn.Module)


def replace_each(module: nn.Module, kind: type[Kind], make: Callable[[Kind], nn.Module]) -> nn.Module:
    """`module` with each inner module of exactly `kind` replaced by what `make` makes of it."""
    if type(module) is kind:
        return make(module)
    for name, child in module.named_children():
        setattr(module, name, replace_each(child, kind, make))
    return module


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear with these weights, copied, so that a slice of a larger tensor does not drag it along."""
    with torch.device("meta"):
        made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return made


def split_linear(layer: nn.Linear, parts: int) -> list[nn.Linear]:
    """A linear cut by its outputs into `parts` equal ones."""
    biases = layer.bias.chunk(parts) if layer.bias is not None else (None,) * parts
    return [linear(weight, bias) for weight, bias in zip(layer.weight.chunk(parts), biases, strict=True)]
