"""Which inputs of a convolutional stack an output depends on: interval arithmetic over time, no values.

It knows layers by their kind; what is neither convolution nor container keeps each moment to itself.
"""

from functools import cache

import torch
from torch import nn

from edge_export.model.autoencoder import Decoder, DecoderBlock, ResidualUnit
from edge_export.model.config import ModelConfig, OobleckConfig

Interval = tuple[int, int]
"""[start, end) along time; may reach outside the signal, where convolutions see zeros."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
TRANSPOSED_CONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d)


def needed_inputs(module: nn.Module, outputs: Interval) -> Interval:
    """The inputs that `outputs` depend on."""
    if isinstance(module, nn.Sequential):
        for layer in reversed(list(module)):
            outputs = needed_inputs(layer, outputs)
        return outputs
    if isinstance(module, DecoderBlock):
        return needed_inputs(module.layers, outputs)
    if isinstance(module, ResidualUnit):
        inner = needed_inputs(module.layers, outputs)
        return min(inner[0], outputs[0]), max(inner[1], outputs[1])
    if isinstance(module, CONVOLUTIONS):
        return _convolution(module, outputs)
    if isinstance(module, TRANSPOSED_CONVOLUTIONS):
        return _transposed(module, outputs)
    return outputs


def _convolution(layer: nn.Conv1d | nn.Conv2d, outputs: Interval) -> Interval:
    kernel, stride, padding, dilation = _last(layer)
    start, last = outputs[0] * stride, (outputs[1] - 1) * stride
    return start - padding, last - padding + (kernel - 1) * dilation + 1


def _transposed(layer: nn.ConvTranspose1d | nn.ConvTranspose2d, outputs: Interval) -> Interval:
    """Output o gets input i where i stride + j = o + padding for some j of the kernel."""
    kernel, stride, padding, _ = _last(layer)
    return -((kernel - 1 - padding - outputs[0]) // stride), (outputs[1] - 1 + padding) // stride + 1


def _last(layer: nn.Module) -> tuple[int, int, int, int]:
    """kernel, stride, padding, dilation along time, the last axis."""
    sizes = (getattr(layer, name)[-1] for name in ("kernel_size", "stride", "padding", "dilation"))
    kernel, stride, padding, dilation = (int(size) for size in sizes)
    return kernel, stride, padding, dilation


@cache
def decoder_margin(config: OobleckConfig) -> int:
    """Latents on either side that the sound of one latent depends on: 10 for the published decoder."""
    with torch.device("meta"):
        decoder = Decoder(config)
    start, end = needed_inputs(decoder.layers, (0, config.hop))
    return max(-start, end - 1)


WINDOWS = 3


def decoder_window(config: ModelConfig) -> int:
    """Latents that the decoder's program takes at a time: the whole clip in three windows, their margins included.

    Fewer windows repeat less; more of them give the first sound sooner and cost less for a short clip.
    """
    margin = decoder_margin(config.decoder)
    return min(config.latent_length, -(-(config.latent_length - 2 * margin) // WINDOWS) + 2 * margin)
