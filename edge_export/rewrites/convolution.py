"""Given: the autoencoder's one-dimensional convolutions and snakes on [1, channels, time].
Result: two-dimensional ones on [1, channels, 1, time], the snakes' parameters as constants.
Why: runtimes have no one-dimensional convolution: each would be wrapped in copies that stay outside the
delegate; and exp(alpha), 1 / (exp(beta) + 1e-9) never change, nor does the latent's scale, which goes into the
first weights. ELU becomes operators XNNPACK has.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.autoencoder import Decoder
from edge_export.model.config import ModelConfig
from edge_export.model.decoder_parts import DecoderHead, DecoderTail
from edge_export.model.layers import SnakeBeta
from edge_export.rewrites.replace import replace_each

Conv2d = TypeVar("Conv2d", nn.Conv2d, nn.ConvTranspose2d)


class FlatSnake(nn.Module):
    """x + sin^2(alpha x) / beta on [1, channels, 1, time]."""

    def __init__(self, published: SnakeBeta) -> None:
        super().__init__()
        self.register_buffer("alpha", published.alpha.detach().exp().reshape(1, -1, 1, 1))
        self.register_buffer("inverse_beta", 1 / (published.beta.detach().exp() + 1e-9).reshape(1, -1, 1, 1))
        self.alpha: Tensor
        self.inverse_beta: Tensor

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.sin(x * self.alpha)
        return x + wave * wave * self.inverse_beta


class FlatElu(nn.Module):
    """max(x, 0) + exp(min(x, 0)) - 1."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("one", torch.ones(1))
        self.one: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) + (torch.exp(-F.relu(-x)) - self.one)


class FlatDecoder(nn.Module):
    """The decoder, or a part of it, with one row of height; takes and gives what the published one does."""

    def __init__(self, published: Decoder | DecoderHead | DecoderTail) -> None:
        super().__init__()
        self.layers = _scaled(published.layers, published.latent_scale)

    def forward(self, latent: Tensor) -> Tensor:
        # Not a reshape: quantization would be moved before it, onto three dimensions, where XNNPACK fails.
        return self.run(latent.unsqueeze(2)).squeeze(2)

    def run(self, x: Tensor) -> Tensor:
        """[1, channels, 1, length] -> the same, with other channels and a greater length."""
        return self.layers(x)


def _scaled(layers: nn.Sequential, scale: float) -> nn.Sequential:
    """The layers for a latent that nobody multiplied by `scale`: it is in the first one's weights."""
    if scale == 1.0:
        return layers
    first = copy.deepcopy(layers[0])
    assert isinstance(first, nn.Conv1d)
    first.weight = nn.Parameter(first.weight.detach() * scale, requires_grad=False)
    return nn.Sequential(first, *list(layers)[1:])


def _conv2d(conv: nn.Conv1d) -> nn.Conv2d:
    with torch.device("meta"):
        made = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            (1, conv.kernel_size[0]),
            stride=(1, conv.stride[0]),
            padding=(0, int(conv.padding[0])),
            dilation=(1, conv.dilation[0]),
            bias=conv.bias is not None,
        )
    return _filled(made, conv)


def _conv_transpose2d(conv: nn.ConvTranspose1d) -> nn.ConvTranspose2d:
    with torch.device("meta"):
        made = nn.ConvTranspose2d(
            conv.in_channels,
            conv.out_channels,
            (1, conv.kernel_size[0]),
            stride=(1, conv.stride[0]),
            padding=(0, int(conv.padding[0])),
            bias=conv.bias is not None,
        )
    return _filled(made, conv)


def _filled(made: Conv2d, conv: nn.Conv1d | nn.ConvTranspose1d) -> Conv2d:
    made.weight = nn.Parameter(conv.weight.detach()[:, :, None, :], requires_grad=False)
    made.bias = conv.bias
    return made


def decoder_in_two_dimensions(module: nn.Module, _config: ModelConfig) -> nn.Module:
    module = replace_each(module, Decoder, FlatDecoder)
    module = replace_each(module, DecoderHead, FlatDecoder)
    module = replace_each(module, DecoderTail, FlatDecoder)
    module = replace_each(module, SnakeBeta, FlatSnake)
    module = replace_each(module, nn.ELU, lambda _: FlatElu())
    module = replace_each(module, nn.Conv1d, _conv2d)
    return replace_each(module, nn.ConvTranspose1d, _conv_transpose2d)
