"""What a decoder is said to hear is what its gradients reach, and its windows are wide enough for the same sound."""

import dataclasses

import pytest
import torch
from torch import nn

from edge_export.model.autoencoder import Decoder
from edge_export.model.config import ModelConfig, OobleckConfig
from edge_export.model.receptive_field import WINDOWS, Interval, decoder_margin, decoder_window, needed_inputs
from tests.edge_export.networks import CONFIG, DECODER, assert_same, noise, randomized

PUBLISHED = OobleckConfig(
    audio_channels=2,
    channels=128,
    c_mults=(1, 2, 4, 8, 16),
    strides=(2, 4, 4, 8, 8),
    latent_dim=64,
    use_snake=True,
    final_tanh=False,
)


def narrow(*strides: int) -> OobleckConfig:
    """As few channels as there can be: how far a decoder hears is a matter of its strides alone."""
    return dataclasses.replace(DECODER, channels=1, c_mults=(1,) * len(strides), strides=strides, latent_dim=1)


def clip(decoder: OobleckConfig, latents: int) -> ModelConfig:
    return dataclasses.replace(CONFIG, decoder=decoder, sample_size=latents * decoder.hop)


def reached(module: nn.Module, outputs: Interval, *shape: int) -> Interval:
    """From the first to behind the last of the inputs that have a gradient, in double precision."""
    x = noise(*shape).double().requires_grad_()
    module.double()(x)[..., slice(*outputs)].sum().backward()
    moments = x.grad.flatten(0, -2).abs().sum(0).nonzero().flatten()
    return int(moments[0]), int(moments[-1]) + 1


@pytest.mark.parametrize("outputs", [(40, 41), (40, 47), (43, 50)])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(1, 1, 7, padding=3),
        nn.Conv1d(1, 1, 7, padding=27, dilation=9),
        nn.Conv1d(1, 1, 4, padding=1),
        nn.Conv1d(1, 1, 6, stride=3, padding=1),
        nn.Conv2d(1, 1, (1, 7), padding=(0, 9), dilation=(1, 3)),
        nn.ConvTranspose1d(1, 1, 8, stride=4, padding=2),
        nn.ConvTranspose1d(1, 1, 10, stride=5, padding=2),
        nn.ConvTranspose1d(1, 1, 7, stride=3),
        nn.ConvTranspose1d(1, 1, 3, stride=3, padding=1),
        nn.ConvTranspose2d(1, 1, (1, 6), stride=(1, 3), padding=(0, 1)),
    ],
    ids=str,
)
def test_a_layer_hears_what_its_gradients_reach(layer, outputs):
    rows = (1,) * (layer.weight.ndim - 1)
    assert needed_inputs(layer, outputs) == reached(randomized(layer), outputs, *rows, 200)


@pytest.mark.parametrize("use_snake", [True, False], ids=["snake", "elu"])
@pytest.mark.parametrize(
    "strides", [(1,), (4,), (2, 4), (4, 2), (8, 16), (2, 4, 4, 8, 8), (3,), (3, 5), (2, 3)], ids=str
)
def test_the_margin_is_exactly_what_the_sound_of_one_latent_hears(strides, use_snake):
    config = dataclasses.replace(narrow(*strides), use_snake=use_snake)
    margin = decoder_margin(config)
    length, middle = 2 * margin + 5, margin + 2
    sound = (middle * config.hop, (middle + 1) * config.hop)
    start, end = reached(randomized(Decoder(config)), sound, 1, 1, length)
    assert margin == max(middle - start, end - 1 - middle)


@pytest.mark.parametrize("strides", [(2, 4), (3, 5), (2, 3, 4)], ids=str)
def test_a_decoder_hears_what_its_gradients_reach_from_the_first_sound_to_the_last(strides):
    config = narrow(*strides)
    decoder, length = randomized(Decoder(config)), 2 * decoder_margin(config) + 2
    for start in range(0, length * config.hop - 2, 7):
        first, end = needed_inputs(decoder.layers, (start, start + 2))
        assert (max(first, 0), min(end, length)) == reached(decoder, (start, start + 2), 1, 1, length)


def test_the_published_decoder_hears_ten_latents_and_is_given_99_of_256():
    assert decoder_margin(PUBLISHED) == 10
    assert decoder_window(clip(PUBLISHED, 256)) == 99


@pytest.mark.parametrize("latents", [1, 9, 20, 21])
def test_a_short_clip_is_one_window(latents):
    assert decoder_window(clip(PUBLISHED, latents)) == latents


@pytest.mark.parametrize("latents", [22, 23, 24, 60, 255, 256, 257, 1000])
def test_three_windows_are_just_enough_for_a_long_clip(latents):
    margins = 2 * decoder_margin(PUBLISHED)
    own = decoder_window(clip(PUBLISHED, latents)) - margins
    assert 0 < own < latents - margins
    assert WINDOWS * (own - 1) < latents - margins <= WINDOWS * own


@pytest.mark.parametrize("latents", [50, 51, 52])
def test_a_clip_decoded_in_windows_sounds_the_same(latents):
    config = clip(DECODER, latents)
    decoder, margin, window = randomized(Decoder(DECODER)), decoder_margin(DECODER), decoder_window(config)
    latent, hop = noise(1, DECODER.latent_dim, latents), DECODER.hop
    audio, known = torch.zeros(1, DECODER.audio_channels, latents * hop), 0
    for index in range(WINDOWS):
        start = min(index * (window - 2 * margin), latents - window)
        end = start + window if index == WINDOWS - 1 else start + window - margin
        made = decoder(latent[..., start : start + window])
        audio[..., known * hop : end * hop] = made[..., (known - start) * hop : (end - start) * hop]
        known = end
    assert window < latents == known
    assert_same(decoder(latent), audio)
