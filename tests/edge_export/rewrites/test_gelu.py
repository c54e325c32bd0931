"""The tanh form of GELU by way of a sigmoid: the same numbers, and no gelu left for XNNPACK to take for another."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from edge_export.model.conditioner import T5FeedForward, T5GatedFeedForward
from edge_export.rewrites.gelu import gelu_by_sigmoid
from tests.edge_export.networks import CONFIG, T5, assert_same, kinds_in, noise, operators, randomized

GATED = dataclasses.replace(T5, gated=True)


@pytest.mark.parametrize("level", [1.0, 30.0])
def test_numbers_stay(level):
    published, x = randomized(T5GatedFeedForward(GATED)), level * noise(1, 5, GATED.d_model)
    rewritten = gelu_by_sigmoid(copy.deepcopy(published), CONFIG)
    assert_same(published(x), rewritten(x))


def test_no_gelu_is_left():
    rewritten = gelu_by_sigmoid(nn.Sequential(randomized(T5GatedFeedForward(GATED))), CONFIG)
    assert T5GatedFeedForward not in kinds_in(rewritten)
    assert not operators(rewritten, noise(1, 5, GATED.d_model)) & {"gelu", "tanh"}


def test_the_linears_keep_their_names_and_weights():
    published = randomized(T5GatedFeedForward(GATED))
    rewritten = gelu_by_sigmoid(published, CONFIG)
    assert dict(rewritten.named_parameters()).keys() == dict(published.named_parameters()).keys()
    assert rewritten.wi_0.weight is published.wi_0.weight


def test_a_feed_forward_without_gelu_is_left_alone():
    assert type(gelu_by_sigmoid(nn.Sequential(T5FeedForward(T5)), CONFIG)[0]) is T5FeedForward


def test_what_is_far_from_zero_saturates_and_does_not_overflow():
    rewritten = gelu_by_sigmoid(T5GatedFeedForward(GATED), CONFIG).requires_grad_(False)
    for gate, kept in ((1e6, 1.0), (-1e6, 0.0)):
        rewritten.wi_0.weight.fill_(gate / GATED.d_model)
        rewritten.wi_1.weight.fill_(1.0 / GATED.d_model)
        rewritten.wo.weight.fill_(1.0 / GATED.d_ff)
        made = rewritten(torch.ones(1, 1, GATED.d_model))
        assert torch.allclose(made, torch.full_like(made, gate * kept), rtol=1e-5)
