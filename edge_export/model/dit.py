"""The diffusion transformer: latent, sigma and conditioning to velocity.

It knows one step; the sampler is `runtime_py.sampler`'s business.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.config import DitConfig
from edge_export.model.layers import (
    FourierFeatures,
    LayerNorm,
    RotaryEmbedding,
    merge_heads,
    rotate,
    split_heads,
)

Context = Tensor | tuple[Tensor, Tensor]
"""What each block's cross-attention is given: the projected conditioning, or what a rewrite makes of it."""

TIMESTEP_FEATURES = 256
QK_NORM_EPS = 1e-6


class UnitNorm(nn.Module):
    """x / |x| over the last axis: the "l2" form of q/k norm."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


def qk_norm(kind: str, head_dim: int) -> nn.Module:
    """The norm of queries and keys, per head: "ln", "l2" or "none"."""
    if kind == "ln":
        return nn.LayerNorm(head_dim, eps=QK_NORM_EPS)
    return UnitNorm() if kind == "l2" else nn.Identity()


class SelfAttention(nn.Module):
    """Attention among tokens, q and k normed per head and turned by their positions."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.to_qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=False)
        self.to_out = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        self.q_norm = qk_norm(config.qk_norm, config.head_dim)
        self.k_norm = qk_norm(config.qk_norm, config.head_dim)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.head_dim) for part in self.to_qkv(x).chunk(3, dim=-1))
        q, k = rotate(self.q_norm(q), angles), rotate(self.k_norm(k), angles)
        return self.to_out(merge_heads(F.scaled_dot_product_attention(q, k, v)))


class CrossAttention(nn.Module):
    """Attention from tokens to the conditioning. The published model attends to padding too: no mask."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.repeats = config.embed_dim // config.cross_dim or 1
        self.to_q = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        self.to_kv = nn.Linear(config.cross_dim, 2 * config.cross_dim, bias=False)
        self.to_out = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        self.q_norm = qk_norm(config.qk_norm, config.head_dim)
        self.k_norm = qk_norm(config.qk_norm, config.head_dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q = self.q_norm(split_heads(self.to_q(x), self.head_dim))
        k, v = (split_heads(part, self.head_dim) for part in self.to_kv(context).chunk(2, dim=-1))
        k = self.k_norm(k).repeat_interleave(self.repeats, dim=1)
        v = v.repeat_interleave(self.repeats, dim=1)
        return self.to_out(merge_heads(F.scaled_dot_product_attention(q, k, v)))


class GatedLinear(nn.Module):
    """SwiGLU (arXiv 2002.05202): the first half of the projection times silu of the second."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.silu(gate)


class FeedForward(nn.Module):
    """width -> 2 x 4 width -> width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = 4 * dim
        self.ff = nn.Sequential(GatedLinear(dim, inner), nn.Identity(), nn.Linear(inner, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class Block(nn.Module):
    """Self-attention, cross-attention, feed-forward, each after a norm and added to the stream."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.pre_norm = LayerNorm(config.embed_dim)
        self.self_attn = SelfAttention(config)
        self.cross_attend_norm = LayerNorm(config.embed_dim)
        self.cross_attn = CrossAttention(config)
        self.ff_norm = LayerNorm(config.embed_dim)
        self.ff = FeedForward(config.embed_dim)

    def forward(self, x: Tensor, context: Context, angles: Tensor) -> Tensor:
        x = x + self.self_attn(self.pre_norm(x), angles)
        x = x + self.cross_attn(self.cross_attend_norm(x), context)
        return x + self.ff(self.ff_norm(x))


class Transformer(nn.Module):
    """Blocks between two projections. Positions count the prepended token."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.project_in = nn.Linear(config.io_channels, config.embed_dim, bias=False)
        self.project_out = nn.Linear(config.embed_dim, config.io_channels, bias=False)
        self.rotary_pos_emb = RotaryEmbedding(max(config.head_dim // 2, 32))
        self.layers = nn.ModuleList([Block(config) for _ in range(config.depth)])

    def forward(self, x: Tensor, prepended: Tensor, context: Context) -> Tensor:
        x = torch.cat([prepended, self.project_in(x)], dim=1)
        angles = self.rotary_pos_emb(x.shape[1])
        for layer in self.layers:
            x = layer(x, context, angles)
        return self.project_out(x)


def embedder(in_dim: int, out_dim: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_dim, out_dim, bias), nn.SiLU(), nn.Linear(out_dim, out_dim, bias))


class Dit(nn.Module):
    """One evaluation of the network.

    Args of forward (float32):
        latent: [batch, io_channels, length], the noisy latent at `sigma`.
        sigma: [batch], 1 (noise) to 0 (clean).
        cross_attn_cond: [batch, cross_tokens, cond_token_dim].
        global_cond: [batch, global_cond_dim].
    Returns:
        velocity [batch, io_channels, length]: clean = latent - sigma * velocity.
    """

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width, channels = config.embed_dim, config.io_channels
        self.timestep_features = FourierFeatures(TIMESTEP_FEATURES)
        self.to_timestep_embed = embedder(TIMESTEP_FEATURES, width, bias=True)
        self.to_cond_embed = embedder(config.cond_token_dim, config.cross_dim, bias=False)
        self.to_global_embed = embedder(config.global_cond_dim, width, bias=False)
        self.transformer = Transformer(config)
        self.preprocess_conv = nn.Conv1d(channels, channels, 1, bias=False)
        self.postprocess_conv = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, latent: Tensor, sigma: Tensor, cross_attn_cond: Tensor, global_cond: Tensor) -> Tensor:
        return self.velocity(latent, sigma, self.to_cond_embed(cross_attn_cond), global_cond)

    def velocity(self, latent: Tensor, sigma: Tensor, context: Context, global_cond: Tensor) -> Tensor:
        """`forward` with what the blocks attend to already projected."""
        timestep = self.to_timestep_embed(self.timestep_features(sigma[:, None]))
        prepended = (self.to_global_embed(global_cond) + timestep)[:, None, :]
        x = (latent + self.preprocess_conv(latent)).transpose(1, 2)
        x = self.transformer(x, prepended, context)[:, 1:, :].transpose(1, 2)
        return x + self.postprocess_conv(x)
