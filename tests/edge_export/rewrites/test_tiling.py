"""The decoder's tail tile by tile gives the same sound, and never sees the whole window."""

import dataclasses

import pytest
import torch
from torch import nn

from edge_export.model.autoencoder import Decoder, DecoderBlock
from edge_export.model.config import ModelConfig
from edge_export.model.receptive_field import decoder_window
from edge_export.rewrites.convolution import FlatDecoder, decoder_in_two_dimensions
from edge_export.rewrites.tiling import MOST_MARGIN, TILE, TiledDecoder, decoder_tail_in_tiles, head_length, upsampling
from tests.edge_export.networks import DECODER, assert_same, config_with, noise, randomized

STRIDES = (8, 16)
MARGIN = 7  # of a decoder with these strides
WINDOWS = [9, 17, 21, 24, 40, 41]


def config_for(window: int, strides: tuple[int, ...] = STRIDES, **changes: object) -> ModelConfig:
    """A clip that is decoded in windows of so many latents; a clip too short for margins is one window."""
    config = config_with(decoder={"strides": strides, "c_mults": (1,) * len(strides), **changes})
    latents = window if window <= 2 * MARGIN else 2 * MARGIN + 3 * (window - 2 * MARGIN)
    return dataclasses.replace(config, sample_size=latents * config.decoder.hop)


def flat_decoder(config: ModelConfig) -> nn.Module:
    return decoder_in_two_dimensions(randomized(Decoder(config.decoder, config.latent_scale)), config)


def decoders(config: ModelConfig) -> tuple[nn.Module, nn.Module]:
    """The same random decoder in two dimensions and in tiles."""
    flat = flat_decoder(config)
    return flat, decoder_tail_in_tiles(flat, config)


def tail_of(decoder: TiledDecoder) -> list[nn.Module]:
    return list(decoder.layers)[decoder.head :]


@pytest.mark.parametrize("window", WINDOWS)
def test_sound_stays_whether_or_not_the_window_is_a_multiple_of_the_tile(window):
    config = config_for(window)
    assert decoder_window(config) == window
    flat, tiled = decoders(config)
    assert len(tiled.spans) == -(-window // TILE)
    latent = noise(1, 8, window)
    assert_same(flat(latent), tiled(latent))


@pytest.mark.parametrize("scale", [1.0, 0.41])
@pytest.mark.parametrize("changes", [{"use_snake": False}, {"final_tanh": True}, {"c_mults": (1, 3)}], ids=str)
def test_sound_of_every_decoder_stays(changes, scale):
    config = dataclasses.replace(config_for(21, **changes), latent_scale=scale)
    flat, tiled = decoders(config)
    assert type(tiled) is TiledDecoder
    assert_same(flat(noise(1, 8, 21)), tiled(noise(1, 8, 21)))


@pytest.mark.parametrize("strides", [(16, 16), (4, 8, 8), (2, 4, 8, 8)], ids=str)
def test_sound_stays_wherever_the_tail_begins(strides):
    config = config_for(33, strides)
    window = decoder_window(config)
    flat, tiled = decoders(config)
    assert type(tiled) is TiledDecoder
    assert_same(flat(noise(1, 8, window)), tiled(noise(1, 8, window)))


def test_what_one_tile_hears_is_neither_more_nor_less_than_it_needs():
    """A change of any moment beyond what a tile is given does not reach it; of the outermost that it is given, does."""
    _, tiled = decoders(config_for(24))
    tail, rate = nn.Sequential(*tail_of(tiled)).double(), upsampling(list(tiled.layers)[: tiled.head])
    hop, tile = upsampling(list(tail)), 8 * rate
    x = noise(1, 4, 1, 24 * rate).double().requires_grad_()
    tail(x)[..., tile * hop : 2 * tile * hop].sum().backward()
    moments = x.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    needed, kept = tiled.spans[1]
    assert needed == (int(moments[0]), int(moments[-1]) + 1)
    assert kept == ((tile - needed[0]) * hop, (2 * tile - needed[0]) * hop)


@pytest.mark.parametrize("window", [1, 8])
def test_one_tile_is_not_tiled(window):
    assert decoder_window(config_for(window)) == window
    assert type(decoders(config_for(window))[1]) is FlatDecoder
    assert type(decoders(config_for(TILE + 1))[1]) is TiledDecoder


@pytest.mark.parametrize("strides", [(2, 4), (4, 16), (8, 8)], ids=str)
def test_a_decoder_whose_blocks_hear_too_far_is_not_tiled(strides):
    config = config_for(40, strides)
    assert decoder_window(config) > TILE
    assert type(decoders(config)[1]) is FlatDecoder


@pytest.mark.parametrize(
    ("strides", "head"),
    [((8, 16), 2), ((16, 16), 2), ((4, 8, 8), 3), ((2, 4, 4, 8, 8), 3), ((8, 12), 2), ((8, 10), 6), ((2, 4), 6)],
    ids=str,
)
def test_the_tail_begins_with_the_first_block_that_hears_little(strides, head):
    config = dataclasses.replace(DECODER, strides=strides, c_mults=(1,) * len(strides))
    assert head_length(list(flat_decoder(dataclasses.replace(config_for(24), decoder=config)).layers)) == head


def lengths(decoder: nn.Module, latent: torch.Tensor, layers: list[nn.Module]) -> list[list[tuple[int, int]]]:
    """For each of `layers`, the lengths of what entered and what left it, call by call."""
    seen: list[list[tuple[int, int]]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_hook(
            lambda _, given, made, calls=calls: calls.append((given[0].shape[-1], made.shape[-1]))
        )
        for layer, calls in zip(layers, seen)
    ]
    decoder(latent)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("window", WINDOWS)
def test_no_tensor_of_the_tail_is_longer_than_a_tile_and_its_margins(window):
    flat, tiled = decoders(config_for(window))
    tail, latent = tail_of(tiled), noise(1, 8, window)
    assert isinstance(tail[0], DecoderBlock)
    most = min(window - 1, TILE + 2 * MOST_MARGIN)
    for calls, [(whole_in, whole_out)] in zip(lengths(tiled, latent, tail), lengths(flat, latent, tail), strict=True):
        assert len(calls) == -(-window // TILE)
        assert all(given <= most * whole_in // window and made <= most * whole_out // window for given, made in calls)


def test_the_head_runs_once():
    _, tiled = decoders(config_for(24))
    head = list(tiled.layers)[: tiled.head]
    assert [len(calls) for calls in lengths(tiled, noise(1, 8, 24), head)] == [1] * len(head)


def test_layers_keep_their_names_and_weights():
    flat, tiled = decoders(config_for(24))
    before = {name: tensor.data_ptr() for name, tensor in flat.state_dict().items()}
    assert {name: tensor.data_ptr() for name, tensor in tiled.state_dict().items()} == before


def test_tiles_are_joined_four_at_a_time():
    _, tiled = decoders(config_for(40))
    assert len(tiled.spans) == 5
    graph = torch.export.export(tiled, (noise(1, 8, 40),), strict=False).graph
    joined = [len(node.args[0]) for node in graph.nodes if node.target is torch.ops.aten.cat.default]
    assert joined == [4, 2]
