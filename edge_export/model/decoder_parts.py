"""The decoder cut in two, its last blocks being the tail, and where to cut: plain arithmetic on the configuration.

It knows neither programs nor backends.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from edge_export.model.autoencoder import Decoder, DecoderBlock
from edge_export.model.config import ModelConfig
from edge_export.model.receptive_field import decoder_window, needed_inputs

TILE = 8
"""Latents whose sound is kept of one tile. Its tensors stay in the CPU's caches; fewer would repeat more."""

MOST_MARGIN = 0.5
"""Latents: blocks that hear further than this to either side belong to no tail, for tiles would repeat too much."""


@dataclass(frozen=True, kw_only=True)
class DecoderCut:
    """The tail begins in layer `layer`, after its activation, with `channels` features, `rate` of each latent.

    tile: features that the tail takes at a time. margin: how many on either side a cut makes wrong.
    """

    layer: int
    channels: int
    rate: int
    tile: int
    margin: int


def decoder_cut(config: ModelConfig) -> DecoderCut | None:
    """Where to cut, or None: no block hears little enough, or the window is no longer than a tile."""
    with torch.device("meta"):
        layers = Decoder(config.decoder).layers
    strides, window = config.decoder.strides[::-1], decoder_window(config)
    for layer in range(2, len(strides) + 1):  # layer 0 is a convolution, then come the blocks
        rate, hop = prod(strides[: layer - 1]), prod(strides[layer - 1 :])
        start, end = needed_inputs(layers[layer:], (0, hop))
        margin = max(-start, end - 1)
        if margin <= MOST_MARGIN * rate:
            tile = TILE * rate + 2 * margin
            channels = config.decoder.widths[-layer]
            found = DecoderCut(layer=layer, channels=channels, rate=rate, tile=tile, margin=margin)
            return found if tile < window * rate else None
    return None


class Layers(nn.Module):
    """Some of a block's layers, under the names that they have in it."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DecoderHead(Layers):
    """Latent [batch, latent_dim, length] -> features [batch, channels, length * rate].

    Its last layer is the activation of the tail's first block: XNNPACK fails on an int8 program that begins with one.
    """

    def __init__(self, decoder: Decoder, cut: DecoderCut) -> None:
        children = dict(decoder.layers.named_children())
        block = _block(decoder, cut)
        kept = {name: child for name, child in children.items() if int(name) < cut.layer}
        super().__init__(kept | {str(cut.layer): Layers({"0": block.layers[0]})})
        self.latent_scale = decoder.latent_scale

    def forward(self, latent: Tensor) -> Tensor:
        return super().forward(latent if self.latent_scale == 1.0 else latent * self.latent_scale)


class DecoderTail(Layers):
    """Features [batch, channels, tile] -> audio [batch, audio_channels, tile * hop / rate]."""

    latent_scale = 1.0

    def __init__(self, decoder: Decoder, cut: DecoderCut) -> None:
        children = dict(decoder.layers.named_children())
        rest = {name: child for name, child in _block(decoder, cut).layers.named_children() if name != "0"}
        kept = {name: child for name, child in children.items() if int(name) > cut.layer}
        super().__init__({str(cut.layer): Layers(rest)} | kept)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features)


def _block(decoder: Decoder, cut: DecoderCut) -> DecoderBlock:
    block = decoder.layers[cut.layer]
    assert isinstance(block, DecoderBlock)
    return block
