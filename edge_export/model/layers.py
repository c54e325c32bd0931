"""The small parts that conditioner, dit and autoencoder share. Shapes: [batch, tokens, width] unless said."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, eps 1e-5, with the published names gamma and beta (beta is a fixed zero)."""

    eps = 1e-5

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))
        self.beta: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weight=self.gamma, bias=self.beta, eps=self.eps)


class SnakeBeta(nn.Module):
    """x + sin^2(exp(alpha) x) / (exp(beta) + 1e-9), per channel of [batch, channels, time].

    Snake (arXiv 2006.08195) with a second parameter for the magnitude (BigVGAN, arXiv 2206.04658), both
    kept as logarithms.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha, beta = self.alpha.exp()[None, :, None], self.beta.exp()[None, :, None]
        return x + torch.sin(x * alpha).square() / (beta + 1e-9)


class FourierFeatures(nn.Module):
    """[batch, 1] -> [batch, features]: cat(cos, sin)(2 pi t W), with W learned."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features // 2, 1))

    def forward(self, t: Tensor) -> Tensor:
        angle = 2 * math.pi * t @ self.weight.T
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class NumberEmbedding(nn.Module):
    """[batch] in 0..1 -> [batch, 1 + features]: cat(n, sin, cos)(2 pi n w), with w learned. Mind the order."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(features // 2))

    def forward(self, n: Tensor) -> Tensor:
        angle = n[:, None] * self.weights[None, :] * 2 * math.pi
        return torch.cat([n[:, None], angle.sin(), angle.cos()], dim=-1)


class RotaryEmbedding(nn.Module):
    """Angles [tokens, dim] of rotary positions 0..tokens-1 (RoFormer, arXiv 2104.09864), half-split pairs."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / 10000 ** (torch.arange(0, dim, 2).float() / dim))
        self.inv_freq: Tensor

    def forward(self, tokens: int) -> Tensor:
        angles = torch.outer(torch.arange(tokens, dtype=torch.float32, device=self.inv_freq.device), self.inv_freq)
        return torch.cat([angles, angles], dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the first `angles.shape[-1]` of x's last axis; x is [..., tokens, head_dim], the rest passes through."""
    dim = angles.shape[-1]
    turned, kept = x[..., :dim], x[..., dim:]
    first, second = turned.chunk(2, dim=-1)
    swapped = torch.cat([-second, first], dim=-1)
    return torch.cat([turned * angles.cos() + swapped * angles.sin(), kept], dim=-1)


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """[batch, tokens, heads * head_dim] -> [batch, heads, tokens, head_dim]."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[batch, heads, tokens, head_dim] -> [batch, tokens, heads * head_dim]."""
    return x.transpose(1, 2).flatten(2)
