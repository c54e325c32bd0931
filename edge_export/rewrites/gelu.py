"""Given: the tanh form of GELU in a gated T5.
Result: the same function as x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
Why: XNNPACK knows one GELU, the one by erf, and takes it for both forms: 75 dB away, below what fp32 must reach.
"""

import math

import torch
from torch import Tensor, nn

from edge_export.model.conditioner import T5GatedFeedForward
from edge_export.model.config import ModelConfig
from edge_export.rewrites.replace import replace_each


class SigmoidGatedFeedForward(nn.Module):
    """wo(gelu(wi_0 x) * wi_1 x), for (1 + tanh u) / 2 is sigmoid(2u) (arXiv 1606.08415)."""

    def __init__(self, published: T5GatedFeedForward) -> None:
        super().__init__()
        self.wi_0, self.wi_1, self.wo = published.wi_0, published.wi_1, published.wo
        slope = 2 * math.sqrt(2 / math.pi)
        self.register_buffer("slope", torch.tensor([slope]))
        self.register_buffer("cubic", torch.tensor([slope * 0.044715]))
        self.slope: Tensor
        self.cubic: Tensor

    def forward(self, x: Tensor) -> Tensor:
        gate = self.wi_0(x)
        gelu = gate * torch.sigmoid(gate * (gate * gate * self.cubic + self.slope))
        return self.wo(gelu * self.wi_1(x))


def gelu_by_sigmoid(module: nn.Module, _config: ModelConfig) -> nn.Module:
    return replace_each(module, T5GatedFeedForward, SigmoidGatedFeedForward)
