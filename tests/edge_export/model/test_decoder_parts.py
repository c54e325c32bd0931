"""The decoder in two parts gives the sound of the whole, and is cut where its tail hears little."""

import dataclasses

import pytest
import torch
from torch import Tensor

from edge_export.model.autoencoder import Decoder, DecoderBlock
from edge_export.model.config import ModelConfig
from edge_export.model.decoder_parts import MOST_MARGIN, TILE, DecoderCut, DecoderHead, DecoderTail, decoder_cut
from edge_export.model.layers import SnakeBeta
from edge_export.model.receptive_field import decoder_window
from tests.edge_export.networks import DECODER, assert_same, config_with, noise, randomized

STRIDES = (8, 16)
MARGIN = 7  # of a decoder with these strides


def config_for(window: int, strides: tuple[int, ...] = STRIDES, **changes: object) -> ModelConfig:
    """A clip that is decoded in windows of so many latents; a clip too short for margins is one window."""
    config = config_with(decoder={"strides": strides, "c_mults": (1,) * len(strides), **changes})
    latents = window if window <= 2 * MARGIN else 2 * MARGIN + 3 * (window - 2 * MARGIN)
    return dataclasses.replace(config, sample_size=latents * config.decoder.hop)


def parts(config: ModelConfig) -> tuple[DecoderCut, Decoder, DecoderHead, DecoderTail]:
    """Where the decoder of `config` is cut, one of random weights, and its two parts."""
    cut, whole = decoder_cut(config), Decoder(config.decoder, config.latent_scale)
    assert cut is not None
    randomized(whole)
    return cut, whole, DecoderHead(whole, cut), DecoderTail(whole, cut)


@pytest.mark.parametrize("strides", [(8, 16), (16, 16), (4, 8, 8), (2, 4, 8, 8)], ids=str)
@pytest.mark.parametrize("changes", [{}, {"use_snake": False}, {"final_tanh": True}], ids=str)
def test_the_parts_one_after_the_other_are_the_whole(strides, changes):
    config = dataclasses.replace(config_for(21, strides, **changes), latent_scale=0.41)
    cut, whole, head, tail = parts(config)
    latent = noise(1, 8, 21)
    features = head(latent)
    assert features.shape == (1, cut.channels, 21 * cut.rate)
    assert_same(whole(latent), tail(features))


def test_what_one_tile_hears_is_neither_more_nor_less_than_its_margin():
    """A change further away than the margin does not reach what is kept; of the outermost within it, does."""
    cut, whole, _, tail = parts(config_for(24))
    hop, first, end = whole_hop(whole) // cut.rate, TILE * cut.rate, 2 * TILE * cut.rate
    x = noise(1, cut.channels, 24 * cut.rate).double().requires_grad_()
    tail.double()(x)[..., first * hop : end * hop].sum().backward()
    moments = x.grad.abs().sum((0, 1)).nonzero().flatten()
    assert cut.margin == max(first - int(moments[0]), int(moments[-1]) + 1 - end)
    assert cut.tile == TILE * cut.rate + 2 * cut.margin


def whole_hop(decoder: Decoder) -> int:
    return decoder(torch.zeros(1, 8, 1)).shape[-1]


@pytest.mark.parametrize(
    ("strides", "layer"),
    [((8, 16), 2), ((16, 16), 2), ((4, 8, 8), 3), ((2, 4, 4, 8, 8), 3), ((8, 12), 2), ((8, 10), None), ((2, 4), None)],
    ids=str,
)
def test_the_tail_begins_with_the_first_block_that_hears_little(strides, layer):
    cut = decoder_cut(config_for(24, strides))
    assert (cut and cut.layer) == layer
    if cut is not None:
        assert cut.margin <= MOST_MARGIN * cut.rate


@pytest.mark.parametrize("window", [1, 8])
def test_a_window_of_one_tile_is_not_cut(window):
    assert decoder_window(config_for(window)) == window
    assert decoder_cut(config_for(window)) is None
    assert decoder_cut(config_for(TILE + 1)) is not None


def test_the_cut_is_behind_the_activation_of_the_tails_first_block():
    """XNNPACK fails on an int8 program that begins with one."""
    cut, whole, head, tail = parts(config_for(24))
    block = whole.layers[cut.layer]
    assert isinstance(block, DecoderBlock) and isinstance(block.layers[0], SnakeBeta)
    assert list(head.modules())[-1] is block.layers[0]
    assert next(layer for layer in tail.modules() if not list(layer.children())) is block.layers[1]


def test_layers_keep_their_names_and_weights_and_none_is_lost():
    _, whole, head, tail = parts(config_for(24))

    def tensors(module: torch.nn.Module) -> dict[str, Tensor]:
        return dict(module.state_dict(keep_vars=True))

    both = tensors(head) | tensors(tail)
    assert not tensors(head).keys() & tensors(tail).keys()
    assert both.keys() == tensors(whole).keys()
    assert all(both[name] is tensor for name, tensor in tensors(whole).items())


def test_the_published_decoder_is_cut_into_tiles_of_542_features():
    published = dataclasses.replace(DECODER, channels=4, c_mults=(1, 2, 4, 8, 16), strides=(2, 4, 4, 8, 8))
    config = dataclasses.replace(config_with(), decoder=published, sample_size=256 * 2048)
    assert decoder_cut(config) == DecoderCut(layer=3, channels=16, rate=64, tile=542, margin=15)
