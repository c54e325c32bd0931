"""The gated linear in two: the same numbers, and nothing to split at run time."""

import copy

from torch import nn

from edge_export.model.dit import FeedForward, GatedLinear
from edge_export.rewrites.feed_forward import split_gated_linear
from tests.edge_export.networks import CONFIG, assert_same, kinds_in, noise, operators, randomized


def test_numbers_stay_and_the_split_is_gone():
    published, x = randomized(FeedForward(64)), noise(1, 5, 64)
    rewritten = split_gated_linear(copy.deepcopy(published), CONFIG)
    assert_same(published(x), rewritten(x))
    assert GatedLinear not in kinds_in(rewritten)
    assert not operators(rewritten, x) & {"chunk", "split", "split_with_sizes", "slice"}
    assert sum(isinstance(part, nn.Linear) for part in rewritten.modules()) == 3


def test_halves_do_not_drag_the_whole_along():
    rewritten = split_gated_linear(randomized(GatedLinear(16, 32)), CONFIG)
    for half in (rewritten.value, rewritten.gate):
        assert half.weight.shape == (32, 16)
        assert half.weight.untyped_storage().nbytes() == 4 * half.weight.numel()
