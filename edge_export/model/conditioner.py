"""Prompt and seconds to what the dit attends to: a T5 encoder and a number embedding.

It starts from token ids; tokenizing is `runtime_py.tokenizer`'s business.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.config import PROMPT, ConditionerConfig, T5Config
from edge_export.model.layers import NumberEmbedding, merge_heads, split_heads

NUMBER_FEATURES = 256


class T5LayerNorm(nn.Module):
    """x / rms(x) * weight: no mean taken away, no bias."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


class T5Attention(nn.Module):
    """Attention without 1/sqrt(d), with `bias` [1, heads, tokens, tokens] added to the scores."""

    def __init__(self, config: T5Config, has_bias: bool) -> None:
        super().__init__()
        width = config.num_heads * config.d_kv
        self.d_kv = config.d_kv
        self.q = nn.Linear(config.d_model, width, bias=False)
        self.k = nn.Linear(config.d_model, width, bias=False)
        self.v = nn.Linear(config.d_model, width, bias=False)
        self.o = nn.Linear(width, config.d_model, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (split_heads(project(x), self.d_kv) for project in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2) + bias).softmax(-1)
        return self.o(merge_heads(weights @ v))


class T5FeedForward(nn.Module):
    """ReLU as in T5 1.0."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.relu(self.wi(x)))


class T5GatedFeedForward(nn.Module):
    """Gated GELU (tanh form) as in T5 1.1 and Flan-T5."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class T5AttentionLayer(nn.Module):
    def __init__(self, config: T5Config, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = T5Attention(config, has_bias)
        self.layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + self.SelfAttention(self.layer_norm(x), bias)


class T5FeedForwardLayer(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = T5GatedFeedForward(config) if config.gated else T5FeedForward(config)
        self.layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.DenseReluDense(self.layer_norm(x))


class T5Block(nn.Module):
    def __init__(self, config: T5Config, has_bias: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([T5AttentionLayer(config, has_bias), T5FeedForwardLayer(config)])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        attend, feed_forward = self.layer
        return feed_forward(attend(x, bias))


class T5Stack(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.block = nn.ModuleList([T5Block(config, has_bias=index == 0) for index in range(config.num_layers)])
        self.final_layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)


class T5Encoder(nn.Module):
    """T5's encoder (arXiv 1910.10683): ids and mask [batch, tokens] -> [batch, tokens, d_model]."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config)

    def position_bias(self, tokens: int) -> Tensor:
        """[1, heads, tokens, tokens]: the first block's learned bias by distance, shared by all blocks."""
        first: Any = self.encoder.block[0]
        table: nn.Embedding = first.layer[0].SelfAttention.relative_attention_bias
        buckets = relative_buckets(tokens, self.config, table.weight.device)
        return table(buckets).permute(2, 0, 1)[None]

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        x = self.shared(input_ids)
        hidden = (1.0 - mask[:, None, None, :]) * torch.finfo(torch.float32).min
        bias = self.position_bias(input_ids.shape[1]) + hidden
        for block in self.encoder.block:
            x = block(x, bias)
        return self.encoder.final_layer_norm(x)


def relative_buckets(tokens: int, config: T5Config, device: torch.device | None = None) -> Tensor:
    """Bucket of each (query, key) distance, int64 [tokens, tokens].

    Half of the buckets for keys after the query, half for those before; in each half the nearer distances
    are exact and the farther ones logarithmic up to `relative_attention_max_distance`.
    """
    half = config.relative_attention_num_buckets // 2
    exact = half // 2
    position = torch.arange(tokens, device=device)
    distance = position[None, :] - position[:, None]
    near = distance.abs()
    scale = math.log(config.relative_attention_max_distance / exact)
    far = exact + (torch.log(near.float().clamp(min=1) / exact) / scale * (half - exact)).long()
    return (distance > 0).long() * half + torch.where(near < exact, near, far.clamp(max=half - 1))


class NumberConditioner(nn.Module):
    """[batch] -> [batch, dim]: clamped to its range, scaled to 0..1, embedded."""

    def __init__(self, dim: int, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.embedder = nn.ModuleDict(
            {"embedding": nn.Sequential(NumberEmbedding(NUMBER_FEATURES), nn.Linear(NUMBER_FEATURES + 1, dim))}
        )

    def forward(self, number: Tensor) -> Tensor:
        unit = (number.clamp(self.low, self.high) - self.low) / (self.high - self.low)
        return self.embedder["embedding"](unit)


class PromptConditioner(nn.Module):
    """T5's output, projected if the widths ask for it, times the mask: padding is attended to as zeros."""

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        projected = config.project_out or config.t5.d_model != config.dim
        self.proj_out = nn.Linear(config.t5.d_model, config.dim) if projected else nn.Identity()
        self.t5 = T5Encoder(config.t5)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        return self.proj_out(self.t5(input_ids, mask)) * mask[:, :, None]


class Conditioner(nn.Module):
    """What the dit attends to.

    Args of forward:
        input_ids: int [batch, tokens], padded with 0.
        prompt_mask: float32 [batch, tokens], 1 for tokens of the prompt, 0 for padding.
        seconds: float32 [batch].
    Returns:
        cross_attn_cond [batch, cross_tokens, dim] and global_cond [batch, dim], float32.
    """

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        self.order = config.order
        self.prompt = PromptConditioner(config)
        self.seconds_total = NumberConditioner(config.dim, config.seconds_min, config.seconds_max)

    def forward(self, input_ids: Tensor, prompt_mask: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
        text = self.prompt(input_ids, prompt_mask)
        number = self.seconds_total(seconds)
        parts = [text if key == PROMPT else number[:, None, :] for key in self.order]
        return torch.cat(parts, dim=1), number
