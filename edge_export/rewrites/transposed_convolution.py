"""Given: a transposed convolution whose kernel is twice its stride, on [1, channels, 1, time].
Result: a convolution of width 2 that makes `stride` samples at once, as channels, which become time.
Why: LiteRT's transposed int8 kernel takes three times as long. What is too large for litert-quantizer 0.11,
which cannot slice convolutions over 32 MiB, is cut by output channels.
"""

import torch
from torch import Tensor, nn

from edge_export.model.config import ModelConfig
from edge_export.rewrites.concat import concat
from edge_export.rewrites.replace import replace_each

MOST_BYTES = 32 << 20


class PhasedConvolution(nn.Module):
    """Output sample (m stride + r - padding) is x[m] w[r] + x[m - 1] w[r + stride]: phase r of group m.

    Output channels are phases, each with all channels: [time, stride * channels] is [time * stride, channels]
    as it lies in memory. The pieces of a cut weight are called `cut_0`, `cut_1`, ...
    """

    def __init__(self, published: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.channels, self.stride = published.out_channels, int(published.stride[-1])
        self.padding = int(published.padding[-1])
        weight = published.weight.detach()[:, :, 0]  # [in, out, 2 stride]
        taps = torch.stack([weight[..., self.stride :], weight[..., : self.stride]], dim=-1)  # [in, out, phase, 2]
        phased = taps.permute(2, 1, 0, 3).flatten(0, 1)[:, :, None]  # [phase * out, in, 1, 2]
        bias = None if published.bias is None else published.bias.detach().repeat(self.stride)
        pieces = pieces_of(phased.nbytes, self.stride)
        biases = (None,) * pieces if bias is None else bias.chunk(pieces)
        self.names = [f"cut_{piece}" for piece in range(pieces)]
        for name, part, its_bias in zip(self.names, phased.chunk(pieces), biases):
            self.add_module(name, _convolution(part, its_bias))

    def forward(self, x: Tensor) -> Tensor:
        phases = concat([self.get_submodule(name)(x) for name in self.names], dim=1)
        samples = (x.shape[-1] + 1) * self.stride - 2 * self.padding
        in_time = phases.permute(0, 2, 3, 1).reshape(1, 1, -1, self.channels)
        return in_time[:, :, self.padding : self.padding + samples].permute(0, 3, 1, 2)


def pieces_of(size: int, stride: int) -> int:
    """The fewest pieces of at most MOST_BYTES, a divisor of `stride`, that weights of `size` bytes are cut into."""
    return next((n for n in range(1, stride) if stride % n == 0 and size <= n * MOST_BYTES), stride)


def _convolution(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    with torch.device("meta"):
        made = nn.Conv2d(weight.shape[1], weight.shape[0], (1, 2), padding=(0, 1), bias=bias is not None)
    made.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format), requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias.clone(), requires_grad=False)
    return made


def transposed_convolution_by_phases(module: nn.Module, _config: ModelConfig) -> nn.Module:
    return replace_each(
        module,
        nn.ConvTranspose2d,
        lambda layer: PhasedConvolution(layer) if layer.kernel_size[-1] == 2 * layer.stride[-1] else layer,
    )
