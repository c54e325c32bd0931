"""Joins tensors in a tree, since XNNPACK takes at most five of them at once and leaves more outside the delegate."""

from collections.abc import Sequence

import torch
from torch import Tensor

MOST = 4


def concat(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """`torch.cat` of any number of tensors, in groups of at most four."""
    while len(tensors) > 1:
        groups = [tensors[start : start + MOST] for start in range(0, len(tensors), MOST)]
        tensors = [torch.cat(list(group), dim) if len(group) > 1 else group[0] for group in groups]
    return tensors[0]
