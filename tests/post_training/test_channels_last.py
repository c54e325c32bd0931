"""The Oobleck as pictures is the Oobleck: numbers and gradients."""

import pytest
import torch
from torch import nn

from edge_export.model.autoencoder import Decoder, Encoder
from edge_export.model.config import OobleckConfig
from post_training.channels_last import run
from tests.post_training.small import shaken

SHAPE = {"audio_channels": 2, "channels": 3, "c_mults": (2, 3), "strides": (4, 2)}


@pytest.mark.parametrize("use_snake", [True, False])
def test_it_is_the_same_network(use_snake):
    torch.manual_seed(0)
    encoder = shaken(Encoder(OobleckConfig(**SHAPE, latent_dim=8, use_snake=use_snake, final_tanh=False)))
    decoder = shaken(Decoder(OobleckConfig(**SHAPE, latent_dim=4, use_snake=use_snake, final_tanh=True)))
    audio = torch.randn(2, 2, 64)
    found = []
    for called in (lambda module, x: module.layers(x), lambda module, x: run(module.layers, x)):
        mean, scale = called(encoder, audio).chunk(2, 1)
        made = called(decoder, mean + scale)
        weights = [p for module in (encoder, decoder) for p in module.parameters()]
        found.append([made, *torch.autograd.grad(made.square().sum(), weights)])
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_layer_it_does_not_know_is_refused():
    with pytest.raises(TypeError, match="BatchNorm1d is no layer of an Oobleck"):
        run(nn.Sequential(nn.BatchNorm1d(2)), torch.zeros(1, 2, 3))
