"""Given: a dit whose every block projects the conditioning to keys and values, in every step.
Result: a conditioner that ends in the keys and values of all blocks, and a dit that begins with them.
Why: no step changes them. It moves the cut between two programs, so both halves are here.
"""

import re

from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.conditioner import Conditioner
from edge_export.model.config import DitConfig
from edge_export.model.dit import CrossAttention, Dit
from edge_export.model.layers import merge_heads, split_heads
from edge_export.rewrites.concat import concat

KEYS = re.compile(r"^to_cond_embed\.|\.cross_attn\.(to_kv|k_norm)\.")
"""Names of the dit's weights that a ConditionerToKeys takes over."""

Keys = tuple[Tensor, Tensor]
"""Keys and values of all blocks, one block's heads after another's: [depth * heads, tokens, head_dim] each."""


def own_rows(keys: Keys, rows: slice) -> Keys:
    """One block's keys and values, [heads, tokens, head_dim], out of those of all."""
    k, v = (part[rows] for part in keys)
    return k, v


class BlockKeys(nn.Module):
    """The half of one block's cross-attention that reads the conditioning: one clip's keys and values."""

    def __init__(self, published: CrossAttention) -> None:
        super().__init__()
        self.head_dim = published.head_dim
        self.to_kv, self.k_norm = published.to_kv, published.k_norm

    def forward(self, context: Tensor) -> Keys:
        k, v = (split_heads(part, self.head_dim)[0] for part in self.to_kv(context).chunk(2, dim=-1))
        return self.k_norm(k), v


class CrossQueries(nn.Module):
    """The half that reads the tokens. It takes its own block's keys and values out of all."""

    def __init__(self, published: CrossAttention, index: int) -> None:
        super().__init__()
        self.head_dim, self.repeats = published.head_dim, published.repeats
        self.to_q, self.to_out, self.q_norm = published.to_q, published.to_out, published.q_norm
        heads = published.to_kv.in_features // self.head_dim
        self.rows = slice(index * heads, (index + 1) * heads)

    def forward(self, x: Tensor, keys: Keys) -> Tensor:
        q = self.q_norm(split_heads(self.to_q(x), self.head_dim))
        k, v = (part.repeat_interleave(self.repeats, dim=0)[None] for part in own_rows(keys, self.rows))
        return self.to_out(merge_heads(F.scaled_dot_product_attention(q, k, v)))


class ConditionerToKeys(Conditioner):
    """input_ids, prompt_mask, seconds -> cross_k, cross_v, global_cond."""

    def __init__(self, published: Conditioner, dit: Dit) -> None:
        nn.Module.__init__(self)
        self.order = published.order
        self.prompt, self.seconds_total = published.prompt, published.seconds_total
        self.to_cond_embed = dit.to_cond_embed
        blocks = (block.cross_attn for block in dit.transformer.layers)
        self.cross = nn.ModuleList([BlockKeys(attention) for attention in blocks])  # type: ignore[arg-type]

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, prompt_mask: Tensor, seconds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        cond, global_cond = super().forward(input_ids, prompt_mask, seconds)
        context = self.to_cond_embed(cond)
        keys, values = zip(*(block(context) for block in self.cross))
        return concat(keys, dim=0), concat(values, dim=0), global_cond


class DitFromKeys(Dit):
    """latent, sigma, cross_k, cross_v, global_cond -> velocity."""

    def __init__(self, published: Dit) -> None:
        nn.Module.__init__(self)
        for name, child in published.named_children():
            if name != "to_cond_embed":
                self.add_module(name, child)
        for index, block in enumerate(self.transformer.layers):
            block.cross_attn = CrossQueries(block.cross_attn, index)  # type: ignore[arg-type]

    def forward(  # type: ignore[override]
        self, latent: Tensor, sigma: Tensor, cross_k: Tensor, cross_v: Tensor, global_cond: Tensor
    ) -> Tensor:
        return self.velocity(latent, sigma, (cross_k, cross_v), global_cond)


def keys_shape(config: DitConfig, tokens: int) -> tuple[int, int, int]:
    """The shape of cross_k and of cross_v."""
    return config.depth * config.cross_dim // config.head_dim, tokens, config.head_dim
