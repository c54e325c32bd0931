"""Given: numbers embedded by products of broadcast vectors; T5's position bias looked up by distance.
Result: the frequencies as a linear from one number; the position bias as a constant.
Why: the broadcast products and the lookup stay outside the delegate, and the bias never changes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.conditioner import T5Encoder
from edge_export.model.config import ModelConfig
from edge_export.model.layers import FourierFeatures, NumberEmbedding
from edge_export.rewrites.replace import replace_each


class LinearFourierFeatures(nn.Module):
    """[1, 1] -> [1, features]: cat(cos, sin)(W t), with 2 pi inside W. W is no `nn.Linear`: it stays float32."""

    def __init__(self, published: FourierFeatures) -> None:
        super().__init__()
        self.register_buffer("weight", published.weight.detach() * 2 * math.pi)
        self.weight: Tensor

    def forward(self, t: Tensor) -> Tensor:
        angle = F.linear(t, self.weight)
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class LinearNumberEmbedding(nn.Module):
    """[1] -> [1, 1 + features]: cat(n, sin, cos)(W n), with 2 pi inside W."""

    def __init__(self, published: NumberEmbedding) -> None:
        super().__init__()
        self.register_buffer("weight", published.weights.detach()[:, None] * 2 * math.pi)
        self.weight: Tensor

    def forward(self, n: Tensor) -> Tensor:
        n = n.reshape(1, 1)
        angle = F.linear(n, self.weight)
        return torch.cat([n, angle.sin(), angle.cos()], dim=-1)


class StaticT5Encoder(nn.Module):
    """For one prompt of `tokens`: the position bias [heads, tokens, tokens] is a constant."""

    def __init__(self, published: T5Encoder, tokens: int) -> None:
        super().__init__()
        self.shared, self.encoder = published.shared, published.encoder
        self.register_buffer("bias", published.position_bias(tokens)[0].detach().clone())
        self.register_buffer("hidden", torch.tensor([torch.finfo(torch.float32).min]))
        self.bias: Tensor
        self.hidden: Tensor

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        x = self.shared(input_ids)
        bias = self.bias + (1.0 - mask.reshape(1, 1, -1)) * self.hidden
        for block in self.encoder.block:
            x = block(x, bias)
        return self.encoder.final_layer_norm(x)


def embeddings_as_linears(module: nn.Module, config: ModelConfig) -> nn.Module:
    module = replace_each(module, FourierFeatures, LinearFourierFeatures)
    module = replace_each(module, NumberEmbedding, LinearNumberEmbedding)
    return replace_each(module, T5Encoder, lambda t5: StaticT5Encoder(t5, config.conditioner.tokens))
