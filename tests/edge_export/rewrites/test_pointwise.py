"""The dit's 1x1 convolutions vanish into its projections."""

import copy

from torch import nn

from edge_export.rewrites.cross_keys import keys_shape
from edge_export.rewrites.pointwise import fold_pointwise_convolutions
from tests.edge_export.networks import CONFIG, NETWORKS, assert_same, kinds_in, noise, operators, randomized

KEYS = keys_shape(CONFIG.dit, CONFIG.conditioner.cross_tokens)
INPUTS = (noise(1, *CONFIG.latent_shape), noise(1).abs(), noise(*KEYS), noise(*KEYS, seed=2), noise(1, 96))


def test_numbers_stay_and_no_convolution_is_left():
    published = randomized(NETWORKS["dit"](CONFIG))
    rewritten = fold_pointwise_convolutions(copy.deepcopy(published), CONFIG)
    assert_same(published(*INPUTS), rewritten(*INPUTS))
    assert not kinds_in(rewritten) & {nn.Conv1d, nn.Conv2d}
    assert not {name for name in operators(rewritten, *INPUTS) if "conv" in name}


def test_the_projections_keep_their_shapes():
    published = randomized(NETWORKS["dit"](CONFIG))
    rewritten = fold_pointwise_convolutions(copy.deepcopy(published), CONFIG)
    for name in ("project_in", "project_out"):
        before, after = (getattr(part.transformer, name) for part in (published, rewritten))
        assert after.weight.shape == before.weight.shape
        assert after.bias is None
        assert not after.weight.equal(before.weight)
