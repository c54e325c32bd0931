"""Given: LayerNorm or T5's RMS norm over the last axis.
Result: the mean as a linear with one row of 1/N, the rest elementwise.
Why: XNNPACK has no layer norm and no mean over the last axis of three.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.conditioner import T5LayerNorm
from edge_export.model.config import ModelConfig
from edge_export.model.layers import LayerNorm
from edge_export.rewrites.replace import replace_each


class LinearNorm(nn.Module):
    """[..., N] -> [..., N]: (x - mean) / sqrt(variance + eps) * weight + bias; T5's form keeps the mean.

    The row of 1/N is a buffer and no `nn.Linear`, so that no recipe quantizes it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, eps: float, centred: bool) -> None:
        super().__init__()
        self.centred = centred
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach() if bias is not None and bool(bias.any()) else None)
        self.register_buffer("average", torch.full((1, weight.shape[0]), 1.0 / weight.shape[0]))
        self.register_buffer("eps", torch.tensor([eps]))
        self.weight: Tensor
        self.bias: Tensor | None
        self.average: Tensor
        self.eps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.centred:
            x = x - F.linear(x, self.average)
        x = x * torch.rsqrt(F.linear(x * x, self.average) + self.eps) * self.weight
        return x if self.bias is None else x + self.bias


def layer_norm_as_linear(module: nn.Module, _config: ModelConfig) -> nn.Module:
    module = replace_each(module, LayerNorm, lambda norm: LinearNorm(norm.gamma, norm.beta, norm.eps, centred=True))
    module = replace_each(module, T5LayerNorm, lambda norm: LinearNorm(norm.weight, None, norm.eps, centred=False))
    return replace_each(
        module,
        nn.LayerNorm,
        lambda norm: LinearNorm(norm.weight, cast(Tensor | None, norm.bias), norm.eps, centred=True),
    )
