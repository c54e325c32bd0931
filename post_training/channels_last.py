"""The Oobleck run as pictures of height 1, channels last: the same numbers, on a CPU in a quarter of the time.

oneDNN's one-dimensional convolutions with few channels, their gradients above all, lose most of their time between
layouts. It knows the layers of `edge_export.model.autoencoder`, and no others.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.autoencoder import DecoderBlock, EncoderBlock, ResidualUnit
from edge_export.model.layers import SnakeBeta


def run(layers: nn.Module, x: Tensor) -> Tensor:
    """`layers` of x [batch, channels, time], as one would call them.

    Raises:
        TypeError: there is a layer that it does not know.
    """
    return _run(layers, x[:, :, None].contiguous(memory_format=torch.channels_last))[:, :, 0].contiguous()


def _run(layer: nn.Module, x: Tensor) -> Tensor:
    """x [batch, channels, 1, time]."""
    match layer:
        case nn.Conv1d() | nn.ConvTranspose1d():
            return _convolution(layer, x)
        case ResidualUnit():
            return x + _run(layer.layers, x)
        case SnakeBeta():
            return _snake(layer, x)
        case EncoderBlock() | DecoderBlock():
            return _run(layer.layers, x)
        case nn.Sequential():
            for inner in layer:
                x = _run(inner, x)
            return x
        case nn.ELU() | nn.Tanh() | nn.Identity():
            return layer(x)
    raise TypeError(f"{type(layer).__name__} is no layer of an Oobleck")


def _convolution(layer: nn.Conv1d | nn.ConvTranspose1d, x: Tensor) -> Tensor:
    assert isinstance(layer.padding, tuple) and layer.groups == 1
    weight = layer.weight[:, :, None].contiguous(memory_format=torch.channels_last)
    stride, padding = (1, *layer.stride), (0, *layer.padding)
    if isinstance(layer, nn.Conv1d):
        return F.conv2d(x, weight, layer.bias, stride, padding, (1, *layer.dilation))
    return F.conv_transpose2d(x, weight, layer.bias, stride, padding)


def _snake(layer: SnakeBeta, x: Tensor) -> Tensor:
    alpha, beta = layer.alpha.exp()[:, None, None], layer.beta.exp()[:, None, None]
    return x + torch.sin(x * alpha).square() / (beta + 1e-9)
