"""The cut between conditioner and dit moved behind the keys: together the halves give the published velocity."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from edge_export.model.conditioner import Conditioner
from edge_export.model.config import PROMPT, SECONDS, ModelConfig
from edge_export.model.dit import CrossAttention, Dit
from edge_export.rewrites.cross_keys import BlockKeys, ConditionerToKeys, CrossQueries, DitFromKeys, keys_shape
from tests.edge_export.networks import CONFIG, assert_same, config_with, kinds_in, noise, randomized

pytestmark = pytest.mark.build

TOKENS = CONFIG.conditioner.tokens
CROSS_TOKENS = CONFIG.conditioner.cross_tokens
PROMPT_MASK = (torch.arange(TOKENS) < 9).float()[None]
IDS = (torch.arange(TOKENS)[None] + 1) * PROMPT_MASK.int()
ASKED = (IDS, PROMPT_MASK, torch.tensor([7.0]))

# Queries for each key, and the dit that has them; the conditioning is 96 wide.
HEADS = {
    "one head": (1, {"num_heads": 1, "embed_dim": 96}),
    "three heads": (1, {"num_heads": 3, "embed_dim": 192}),
    "three heads, nothing projected": (1, {"num_heads": 3, "embed_dim": 96, "project_cond_tokens": False}),
    "two queries on one key": (2, {"num_heads": 2, "embed_dim": 192, "project_cond_tokens": False}),
    "four queries on two keys": (2, {"num_heads": 4, "embed_dim": 192, "project_cond_tokens": False}),
    "nine queries on three keys": (3, {"num_heads": 9, "embed_dim": 288, "project_cond_tokens": False}),
}


def dit_config(heads: str = "four queries on two keys", **changes: object) -> ModelConfig:
    return config_with(dit={"depth": 2, **HEADS[heads][1], **changes})


def published(config: ModelConfig) -> tuple[nn.Module, nn.Module]:
    """A random conditioner and dit."""
    return randomized(Conditioner(config.conditioner), seed=3), randomized(Dit(config.dit), seed=4)


def halves(conditioner: nn.Module, dit: nn.Module) -> tuple[nn.Module, nn.Module]:
    return ConditionerToKeys(conditioner, copy.deepcopy(dit)), DitFromKeys(copy.deepcopy(dit))


def assert_velocity_stays(config: ModelConfig) -> None:
    """For one conditioning and two steps."""
    conditioner, dit = published(config)
    cond, global_cond = conditioner(*ASKED)
    to_keys, from_keys = halves(conditioner, dit)
    cross_k, cross_v, its_global_cond = to_keys(*ASKED)
    assert torch.equal(its_global_cond, global_cond)
    for seed, sigma in enumerate((1.0, 0.3)):
        noisy = noise(1, *config.latent_shape, seed=seed), torch.tensor([sigma])
        assert_same(dit(*noisy, cond, global_cond), from_keys(*noisy, cross_k, cross_v, global_cond))


@pytest.mark.parametrize("qk_norm", ["ln", "l2", "none"])
@pytest.mark.parametrize("heads", HEADS)
def test_velocity_stays(heads, qk_norm):
    config = dit_config(heads, qk_norm=qk_norm)
    assert Dit(config.dit).transformer.layers[0].cross_attn.repeats == HEADS[heads][0]
    assert_velocity_stays(config)


@pytest.mark.parametrize("depth", [1, 4, 6])
def test_each_of_many_blocks_finds_its_own_keys(depth):
    assert_velocity_stays(dit_config(depth=depth))


@pytest.mark.parametrize("heads", HEADS)
def test_keys_have_the_declared_shape(heads):
    config = dit_config(heads)
    to_keys, _ = halves(*published(config))
    cross_k, cross_v, _ = to_keys(*ASKED)
    assert cross_k.shape == cross_v.shape == keys_shape(config.dit, CROSS_TOKENS)


@pytest.mark.parametrize("order", [(PROMPT, SECONDS), (SECONDS, PROMPT)], ids=" ".join)
def test_keys_are_in_the_order_of_the_blocks_and_of_the_conditioning(order):
    config = dit_config(depth=3)
    conditioner, dit = published(
        dataclasses.replace(config, conditioner=dataclasses.replace(config.conditioner, order=order))
    )
    to_keys, _ = halves(conditioner, dit)
    cross_k, cross_v, _ = to_keys(*ASKED)
    context = dit.to_cond_embed(conditioner(*ASKED)[0])
    for block, k, v in zip(dit.transformer.layers, cross_k.chunk(3), cross_v.chunk(3), strict=True):
        expected_k, expected_v = (part.unflatten(-1, (2, 48)) for part in block.cross_attn.to_kv(context).chunk(2, -1))
        assert_same(block.cross_attn.k_norm(expected_k)[0].transpose(0, 1), k)
        assert_same(expected_v[0].transpose(0, 1), v)


def test_the_dit_projects_no_conditioning_any_more():
    _, from_keys = halves(*published(dit_config()))
    left = [name for name, _ in from_keys.named_modules()]
    assert not [name for name in left if name.endswith(("to_kv", "to_cond_embed", "cross_attn.k_norm"))]
    assert not kinds_in(from_keys) & {CrossAttention, BlockKeys}
    assert CrossQueries in kinds_in(from_keys)


def places(*modules: nn.Module) -> list[int]:
    return sorted(parameter.data_ptr() for module in modules for parameter in module.parameters())


def test_every_weight_is_in_one_half_and_none_is_copied():
    conditioner, dit = published(dit_config())
    before = places(conditioner, dit)
    assert places(ConditionerToKeys(conditioner, dit), DitFromKeys(dit)) == before


def joined(module: nn.Module, *inputs: Tensor) -> list[int]:
    """How many tensors each `cat` of the exported graph takes."""
    graph = torch.export.export(module, inputs, strict=False).graph
    return [len(node.args[0]) for node in graph.nodes if node.target is torch.ops.aten.cat.default]


def test_keys_of_more_than_four_blocks_are_joined_four_at_a_time():
    to_keys, _ = halves(*published(dit_config(depth=6)))
    assert max(joined(to_keys, *ASKED)) == 4
