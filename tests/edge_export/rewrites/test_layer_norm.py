"""Every kind of norm becomes linears and elementwise operators, and gives the same numbers."""

import copy

import pytest
import torch
from torch import nn

from edge_export.model.conditioner import T5LayerNorm
from edge_export.model.dit import QK_NORM_EPS
from edge_export.model.layers import LayerNorm
from edge_export.rewrites.layer_norm import LinearNorm, layer_norm_as_linear
from tests.edge_export.networks import CONFIG, assert_same, kinds_in, noise, operators, randomized

WIDTH = 96
NORMS = {
    "published": lambda: LayerNorm(WIDTH),
    "of queries and keys": lambda: nn.LayerNorm(WIDTH, eps=QK_NORM_EPS),
    "without bias": lambda: nn.LayerNorm(WIDTH, bias=False),
    "with a large eps": lambda: nn.LayerNorm(WIDTH, eps=0.5),
    "t5": lambda: T5LayerNorm(WIDTH, 1e-6),
}


@pytest.fixture(params=NORMS)
def published(request) -> nn.Module:
    return randomized(nn.Sequential(NORMS[request.param]()))


@pytest.mark.parametrize("level", [1.0, 1e-2])
def test_numbers_stay(published, level):
    x = level * (noise(1, 5, WIDTH) + 0.5)
    assert_same(published(x), layer_norm_as_linear(copy.deepcopy(published), CONFIG)(x))


def test_no_norm_and_no_mean_is_left(published):
    rewritten = layer_norm_as_linear(copy.deepcopy(published), CONFIG)
    assert kinds_in(rewritten) == {nn.Sequential, LinearNorm}
    found = operators(rewritten, noise(1, 5, WIDTH))
    assert "linear" in found
    assert not found & {"layer_norm", "native_layer_norm", "rms_norm", "mean", "var", "sum"}


def test_a_bias_of_zeros_costs_nothing():
    published = nn.Sequential(LayerNorm(WIDTH)).requires_grad_(False)
    rewritten = layer_norm_as_linear(copy.deepcopy(published), CONFIG)
    assert rewritten[0].bias is None
    assert_same(published(noise(1, 5, WIDTH)), rewritten(noise(1, 5, WIDTH)))


def test_no_recipe_can_quantize_the_mean(published):
    rewritten = layer_norm_as_linear(copy.deepcopy(published), CONFIG)
    assert not any(isinstance(part, nn.Linear) for part in rewritten.modules())
    assert not list(rewritten.parameters())
    assert torch.equal(rewritten[0].average, torch.full((1, WIDTH), 1 / WIDTH))
