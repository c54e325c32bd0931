"""Numbers embedded by linears, T5's position bias as a constant: the same numbers."""

import copy

import pytest
import torch
from torch import nn

from edge_export.model.conditioner import NumberConditioner, T5Encoder
from edge_export.model.layers import FourierFeatures, NumberEmbedding
from edge_export.rewrites.embeddings import embeddings_as_linears
from tests.edge_export.networks import CONFIG, assert_same, config_with, kinds_in, operators, randomized

TOKENS = CONFIG.conditioner.tokens


def rewritten(published: nn.Module, config=CONFIG) -> nn.Module:
    return embeddings_as_linears(copy.deepcopy(published), config)


@pytest.mark.parametrize("sigma", [0.0, 0.37, 1.0])
def test_fourier_features_stay(sigma):
    published = randomized(nn.Sequential(FourierFeatures(64)))
    t = torch.tensor([[sigma]])
    assert_same(published(t), rewritten(published)(t))


@pytest.mark.parametrize("number", [0.0, 11.9, 256.0, 300.0])
def test_embedded_seconds_stay(number):
    published = randomized(NumberConditioner(96, 0.0, 256.0))
    seconds = torch.tensor([number])
    assert_same(published(seconds), rewritten(published)(seconds))


def test_the_broadcast_product_is_a_linear():
    published = nn.Sequential(NumberEmbedding(64))
    made = rewritten(published)
    assert NumberEmbedding not in kinds_in(made)
    assert "linear" in operators(made, torch.tensor([0.5]))


def test_the_frequencies_stay_out_of_every_recipe():
    made = rewritten(nn.Sequential(FourierFeatures(64)))
    assert not any(isinstance(part, nn.Linear) for part in made.modules())


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("prompt_tokens", [1, 7, TOKENS])
def test_t5_stays_with_and_without_padding(gated, prompt_tokens):
    config = config_with(t5={"gated": gated})
    published = randomized(T5Encoder(config.conditioner.t5))
    ids = torch.randint(1, 50, (1, TOKENS), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(TOKENS) < prompt_tokens).float()[None]
    assert_same(published(ids, mask)[:, :prompt_tokens], rewritten(published, config)(ids, mask)[:, :prompt_tokens])


def test_the_position_bias_is_looked_up_no_more():
    made = rewritten(randomized(T5Encoder(CONFIG.conditioner.t5)))
    found = operators(made, torch.ones(1, TOKENS, dtype=torch.int32), torch.ones(1, TOKENS))
    assert not found & {"arange", "log", "where", "abs", "gt", "lt"}
    assert made.bias.shape == (3, TOKENS, TOKENS)
