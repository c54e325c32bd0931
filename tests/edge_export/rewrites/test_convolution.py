"""The decoder in two dimensions gives the same audio, and leaves nothing of one dimension behind."""

import copy

import pytest
from torch import nn

from edge_export.model.autoencoder import Decoder
from edge_export.model.layers import SnakeBeta
from edge_export.rewrites.convolution import decoder_in_two_dimensions
from tests.edge_export.networks import CONFIG, CONV1D, assert_same, config_with, kinds_in, noise, operators, randomized

CONVOLUTIONS_1D = (nn.Conv1d, nn.ConvTranspose1d)
CONVOLUTIONS_2D = (nn.Conv2d, nn.ConvTranspose2d)


@pytest.fixture(params=[True, False], ids=["snake", "elu"])
def use_snake(request) -> bool:
    return request.param


def decoders(scale: float = 1.0, **changes: object) -> tuple[nn.Module, nn.Module]:
    """A random decoder as published, and as rewritten."""
    config = config_with(decoder=changes, latent_scale=scale)
    published = randomized(Decoder(config.decoder, config.latent_scale))
    return published, decoder_in_two_dimensions(copy.deepcopy(published), config)


@pytest.mark.parametrize("final_tanh", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.41])
def test_audio_stays(use_snake, final_tanh, scale):
    published, rewritten = decoders(scale, use_snake=use_snake, final_tanh=final_tanh)
    assert_same(published(noise(1, 8, 5)), rewritten(noise(1, 8, 5)))


def test_no_module_and_no_operator_of_one_dimension_is_left(use_snake):
    _, rewritten = decoders(use_snake=use_snake)
    assert not kinds_in(rewritten) & {*CONVOLUTIONS_1D, SnakeBeta, nn.ELU}
    found = operators(rewritten, noise(1, 8, 5))
    assert "conv2d" in found
    assert not found & {*CONV1D, "elu"}


def test_the_snakes_exponentials_are_constants():
    _, rewritten = decoders()
    assert not operators(rewritten, noise(1, 8, 5)) & {"exp", "reciprocal", "div"}


def test_a_scale_costs_nothing():
    scaled, plain = (operators(decoders(scale, use_snake=False)[1], noise(1, 8, 5)) for scale in (0.41, 1.0))
    assert scaled == plain


def test_the_weights_are_shared():
    published = randomized(Decoder(CONFIG.decoder))
    before = {part.weight.data_ptr() for part in published.modules() if isinstance(part, CONVOLUTIONS_1D)}
    rewritten = decoder_in_two_dimensions(published, CONFIG)
    after = {part.weight.data_ptr() for part in rewritten.modules() if isinstance(part, CONVOLUTIONS_2D)}
    assert before == after
