"""Attention of three dimensions gives what the published four gave, whatever the heads, norms and widths."""

import copy

import pytest
import torch
from torch import Tensor, nn

from edge_export.model.conditioner import T5Encoder
from edge_export.model.config import ModelConfig
from edge_export.model.dit import CrossAttention, SelfAttention, Transformer, UnitNorm
from edge_export.rewrites.attention import (
    FlatBlockKeys,
    FlatCrossQueries,
    FlatUnitNorm,
    attention_in_three_dimensions,
)
from edge_export.rewrites.cross_keys import BlockKeys, CrossQueries
from edge_export.rewrites.embeddings import embeddings_as_linears
from edge_export.rewrites.feed_forward import split_gated_linear
from tests.edge_export.networks import PRODUCTS, assert_same, config_with, graph_of, kinds_in, noise, randomized

pytestmark = pytest.mark.build


class BehindKeys(nn.Module):
    """A transformer whose blocks take their keys and values out of all blocks' ones, and what makes those."""

    def __init__(self, published: Transformer) -> None:
        super().__init__()
        self.transformer = copy.deepcopy(published)
        self.keys = nn.ModuleList([BlockKeys(block.cross_attn) for block in self.transformer.layers])
        for index, block in enumerate(self.transformer.layers):
            block.cross_attn = CrossQueries(block.cross_attn, index)

    def forward(self, x: Tensor, prepended: Tensor, context: Tensor) -> Tensor:
        keys, values = zip(*(block(context) for block in self.keys))
        return self.transformer(x, prepended, (torch.cat(keys), torch.cat(values)))


def dit_config(heads: int, head_dim: int, **changes: object) -> ModelConfig:
    """Of two blocks, for each must find its own keys."""
    return config_with(dit={"num_heads": heads, "embed_dim": heads * head_dim, "depth": 2, **changes})


def transformer(config: ModelConfig) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A random transformer and its inputs: latent, prepended token, context."""
    width, context = config.dit.embed_dim, config.dit.cross_dim
    inputs = (noise(1, config.latent_length, 8), noise(1, 1, width, seed=2), noise(1, 25, context, seed=3))
    return randomized(Transformer(config.dit)), inputs


def assert_rewrite_keeps(config: ModelConfig) -> None:
    published, inputs = transformer(config)
    rewritten = attention_in_three_dimensions(BehindKeys(published), config)
    assert not kinds_in(rewritten) & {SelfAttention, CrossAttention, CrossQueries, BlockKeys, UnitNorm}
    assert_same(published(*inputs), rewritten(*inputs))


@pytest.mark.parametrize("qk_norm", ["ln", "l2", "none"])
@pytest.mark.parametrize("heads", [1, 3])
def test_numbers_stay_for_every_norm(qk_norm, heads):
    assert_rewrite_keeps(dit_config(heads, 64, qk_norm=qk_norm))


@pytest.mark.parametrize(("head_dim", "turned"), [(32, 32), (64, 32), (128, 64)])
def test_numbers_stay_when_positions_turn_all_or_half_of_a_head(head_dim, turned):
    config = dit_config(2, head_dim)
    published, _ = transformer(config)
    tables = attention_in_three_dimensions(published, config).rotary_pos_emb(9)
    assert tables[2] == turned
    assert tables[0].shape == (9, head_dim)
    assert_rewrite_keeps(config)


@pytest.mark.parametrize(("heads", "cross_heads"), [(4, 2), (6, 2), (2, 1)])
def test_heads_that_share_keys_keep_their_order(heads, cross_heads):
    """The first key serves the first few queries, not every second one."""
    config = dit_config(heads, 32, cond_token_dim=cross_heads * 32, project_cond_tokens=False)
    published = CrossAttention(config.dit)
    assert published.repeats == heads // cross_heads
    assert_rewrite_keeps(config)


@pytest.mark.parametrize("qk_norm", ["ln", "l2", "none"])
@pytest.mark.parametrize("cross_heads", [1, 3])
def test_keys_and_values_stay_by_themselves(cross_heads, qk_norm):
    """[heads, tokens, head_dim], so that the halves of the network can be rewritten apart."""
    config = dit_config(3, 32, cond_token_dim=cross_heads * 32, project_cond_tokens=False, qk_norm=qk_norm)
    published = BlockKeys(randomized(CrossAttention(config.dit)))
    rewritten = attention_in_three_dimensions(copy.deepcopy(published), config)
    assert type(rewritten) is FlatBlockKeys
    context = noise(1, 25, cross_heads * 32)
    for before, after in zip(published(context), rewritten(context), strict=True):
        assert before.shape == (cross_heads, 25, 32)
        assert_same(before, after)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_queries_read_only_their_own_blocks_keys(index):
    config = dit_config(4, 32, cond_token_dim=2 * 32, project_cond_tokens=False)
    published = CrossQueries(randomized(CrossAttention(config.dit)), index)
    rewritten = attention_in_three_dimensions(copy.deepcopy(published), config)
    assert type(rewritten) is FlatCrossQueries
    x, keys = noise(1, 9, 128), (noise(6, 25, 32, seed=2), noise(6, 25, 32, seed=3))
    assert_same(published(x, keys), rewritten(x, keys))
    others = torch.tensor([row // 2 != index for row in range(6)])[:, None, None]
    assert_same(rewritten(x, keys), rewritten(x, tuple(part.masked_fill(others, 1e3) for part in keys)))


def assert_flat(module: nn.Module, *inputs: Tensor) -> None:
    graph = graph_of(module, *inputs)
    products = [(name, dimensions) for name, dimensions in graph if name in PRODUCTS]
    assert products
    assert all(product == ("bmm", 3) for product in products)
    assert max(dimensions for _, dimensions in graph) == 3
    assert not {name for name, _ in graph} & {"chunk", "split", "split_with_sizes", "where", "any"}


@pytest.mark.parametrize("cross_heads", [1, 2])
def test_the_graph_has_nothing_of_four_dimensions(cross_heads):
    config = dit_config(2, 64, cond_token_dim=cross_heads * 64, project_cond_tokens=False)
    published, inputs = transformer(config)
    without_chunks = split_gated_linear(BehindKeys(published), config)
    assert_flat(attention_in_three_dimensions(without_chunks, config), *inputs)


def test_positions_are_constants():
    config = dit_config(2, 64)
    published, inputs = transformer(config)
    graph = graph_of(attention_in_three_dimensions(BehindKeys(published), config), *inputs)
    assert not {name for name, _ in graph} & {"sin", "cos", "arange", "outer"}


def test_unit_norm_stays_down_to_the_least_length():
    flat, published = FlatUnitNorm(64), UnitNorm()
    x = noise(3, 5, 64) * torch.tensor([1.0, 1e-6, 1e-14])[:, None, None]
    for before, after in zip(published(x), flat(x)):
        assert_same(before, after)
    assert torch.equal(flat(torch.zeros(1, 1, 64)), torch.zeros(1, 1, 64))


@pytest.fixture(scope="module", params=[False, True], ids=["relu", "gated"])
def t5(request) -> tuple[nn.Module, nn.Module, tuple[Tensor, ...]]:
    """T5 as published, as rewritten, and ids with their mask."""
    config = config_with(t5={"gated": request.param})
    published = randomized(T5Encoder(config.conditioner.t5))
    static = embeddings_as_linears(copy.deepcopy(published), config)
    tokens = config.conditioner.tokens
    ids = torch.randint(1, 50, (1, tokens), generator=torch.Generator().manual_seed(2))
    return (
        published,
        attention_in_three_dimensions(static, config),
        (ids, (torch.arange(tokens) < 9).float()[None]),
    )


def test_numbers_of_t5_stay(t5):
    published, rewritten, (ids, mask) = t5
    assert_same(published(ids, mask)[:, :9], rewritten(ids, mask)[:, :9])


def test_the_graph_of_t5_has_nothing_of_four_dimensions(t5):
    _, rewritten, inputs = t5
    assert_flat(rewritten, *inputs)
