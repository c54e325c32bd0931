"""Given: attention in four dimensions from fused projections, positions turned by computed angles.
Result: separate linears for q, k and v, products of three dimensions, positions from constant tables.
Why: fused attention decomposes into masks that stay outside the delegate, four-dimensional products leave
copies behind, and a fused projection's split is one more operator that XNNPACK does not take.
"""

import torch
from torch import Tensor, nn

from edge_export.model.conditioner import T5Attention
from edge_export.model.config import ModelConfig
from edge_export.model.dit import SelfAttention, Transformer, UnitNorm
from edge_export.rewrites.cross_keys import BlockKeys, CrossQueries, Keys, own_rows
from edge_export.rewrites.replace import replace_each, split_linear

Tables = tuple[Tensor, Tensor, int]
"""cos and sin [tokens, head_dim], and how many of the dimensions turn."""


class Attend(nn.Module):
    """softmax(q k scale + bias) v for one clip: q, k, v [heads, tokens, head_dim]."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([scale]))
        self.scale: Tensor

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        scores = torch.bmm(q * self.scale, k.permute(0, 2, 1))
        if bias is not None:
            scores = scores + bias
        return torch.bmm(scores.softmax(-1), v)


def heads_first(x: Tensor, head_dim: int) -> Tensor:
    """[1, tokens, heads * head_dim] -> [heads, tokens, head_dim]."""
    return x.reshape(x.shape[1], -1, head_dim).permute(1, 0, 2)


def heads_last(x: Tensor) -> Tensor:
    """[heads, tokens, head_dim] -> [1, tokens, heads * head_dim]."""
    return x.permute(1, 0, 2).reshape(1, x.shape[1], -1)


class FlatSelfAttention(nn.Module):
    def __init__(self, published: SelfAttention) -> None:
        super().__init__()
        self.head_dim = published.head_dim
        self.to_q, self.to_k, self.to_v = split_linear(published.to_qkv, 3)
        self.to_out = published.to_out
        self.q_norm, self.k_norm = published.q_norm, published.k_norm
        self.attend = Attend(self.head_dim**-0.5)

    def forward(self, x: Tensor, tables: Tables) -> Tensor:
        q, k, v = (heads_first(project(x), self.head_dim) for project in (self.to_q, self.to_k, self.to_v))
        return self.to_out(heads_last(self.attend(turn(self.q_norm(q), tables), turn(self.k_norm(k), tables), v)))


class FlatBlockKeys(nn.Module):
    def __init__(self, published: BlockKeys) -> None:
        super().__init__()
        self.head_dim = published.head_dim
        self.to_k, self.to_v = split_linear(published.to_kv, 2)
        self.k_norm = published.k_norm

    def forward(self, context: Tensor) -> Keys:
        k, v = (heads_first(project(context), self.head_dim) for project in (self.to_k, self.to_v))
        return self.k_norm(k), v


class FlatCrossQueries(nn.Module):
    def __init__(self, published: CrossQueries) -> None:
        super().__init__()
        self.head_dim, self.repeats, self.rows = published.head_dim, published.repeats, published.rows
        self.to_q, self.to_out, self.q_norm = published.to_q, published.to_out, published.q_norm
        self.attend = Attend(self.head_dim**-0.5)

    def forward(self, x: Tensor, keys: Keys) -> Tensor:
        q = self.q_norm(heads_first(self.to_q(x), self.head_dim))
        attended = self.attend(self._stack(q), *own_rows(keys, self.rows))
        return self.to_out(heads_last(self._unstack(attended, x.shape[1])))

    def _stack(self, q: Tensor) -> Tensor:
        """Heads that share a key, which are neighbours, as one head of `repeats` times the queries."""
        return q if self.repeats == 1 else q.reshape(-1, self.repeats * q.shape[1], self.head_dim)

    def _unstack(self, x: Tensor, tokens: int) -> Tensor:
        return x if self.repeats == 1 else x.reshape(-1, tokens, self.head_dim)


class FlatT5Attention(nn.Module):
    """T5's, which scales nothing and adds `bias` [heads, tokens, tokens]."""

    def __init__(self, published: T5Attention) -> None:
        super().__init__()
        self.d_kv = published.d_kv
        self.q, self.k, self.v, self.o = published.q, published.k, published.v, published.o

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (heads_first(project(x), self.d_kv) for project in (self.q, self.k, self.v))
        weights = (torch.bmm(q, k.permute(0, 2, 1)) + bias).softmax(-1)
        return self.o(heads_last(torch.bmm(weights, v)))


class FlatUnitNorm(nn.Module):
    """x / max(|x|, 1e-12) over the last axis, the sum of squares as a linear."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(1, head_dim))
        self.register_buffer("least", torch.tensor([1e-24]))
        self.ones: Tensor
        self.least: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(torch.maximum(nn.functional.linear(x * x, self.ones), self.least))


class RotaryTables(nn.Module):
    """cos and sin [tokens, head_dim] as constants; dimensions beyond the rotary ones get 1 and 0."""

    def __init__(self, transformer: Transformer, tokens: int, head_dim: int) -> None:
        super().__init__()
        angles = transformer.rotary_pos_emb(tokens)
        self.rotary_dim = angles.shape[1]
        kept = head_dim - self.rotary_dim
        pad = nn.functional.pad
        self.register_buffer("cos", pad(angles.cos(), (0, kept), value=1.0))
        self.register_buffer("sin", pad(angles.sin(), (0, kept), value=0.0))
        self.cos: Tensor
        self.sin: Tensor

    def forward(self, _tokens: int) -> Tables:
        return self.cos, self.sin, self.rotary_dim


def turn(x: Tensor, tables: Tables) -> Tensor:
    """Rotary positions on x [heads, tokens, head_dim]: x cos + swapped(x) sin, halves of the rotary part swapped."""
    cos, sin, dim = tables
    half = dim // 2
    swapped = torch.cat([-x[..., half:dim], x[..., :half], x[..., dim:]], dim=-1)
    return x * cos + swapped * sin


def attention_in_three_dimensions(module: nn.Module, config: ModelConfig) -> nn.Module:
    tokens, head_dim = config.latent_length + 1, config.dit.head_dim
    for part in list(module.modules()):
        if isinstance(part, Transformer):
            part.rotary_pos_emb = RotaryTables(part, tokens, head_dim)  # type: ignore[assignment]
    module = replace_each(module, SelfAttention, FlatSelfAttention)
    module = replace_each(module, CrossQueries, FlatCrossQueries)
    module = replace_each(module, BlockKeys, FlatBlockKeys)
    module = replace_each(module, UnitNorm, lambda _: FlatUnitNorm(head_dim))
    return replace_each(module, T5Attention, FlatT5Attention)
