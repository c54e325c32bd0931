"""int8 as the runtimes' kernels compute it, in torch: weights, activations, and modules that compute so for a while."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from quantization.layers import Layer
from runtime_py.metrics import snr_db

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


@contextmanager
def in_int8(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While the block runs, `modules` compute as in int8; whatever happens in it, their weights come back.

    Activations are made int8 at every call: one scale per token for linears, one per tensor for convolutions.
    Weights are exchanged and never written to, for other modules and the checkpoint's file may share them.
    """
    with ExitStack() as stack:
        for module in modules:
            weight = module.weight
            stack.callback(setattr, module, "weight", weight)
            module.weight = nn.Parameter(_int8_weights_of(module), requires_grad=False)
            if not isinstance(module, nn.Embedding):
                over = (-1,) if isinstance(module, nn.Linear) else None
                stack.callback(module.register_forward_pre_hook(partial(_quantize_input, over)).remove)
        yield


def _quantize_input(over: tuple[int, ...] | None, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (int8_activations(inputs[0], over), *inputs[1:])


def int8_weights(weight: Tensor, axis: int) -> Tensor:
    """`weight` rounded to symmetric int8, -127..127, one scale for each index of `axis`.

    As LiteRT has it, and XNNPACK for convolutions; for linears torchao's largest weight is 127.5, cut to 127.
    """
    others = tuple(dim for dim in range(weight.ndim) if dim != axis)
    scale = _nonzero(weight.abs().amax(others, keepdim=True) / 127)
    return (weight / scale).round().clamp(-127, 127) * scale


def int8_activations(x: Tensor, over: tuple[int, ...] | None = None) -> Tensor:
    """`x` rounded to asymmetric int8, one scale and zero point for all indices of the axes `over`: all by default.

    The range always holds 0, which stays 0: convolutions pad with it.
    """
    over = tuple(range(x.ndim)) if over is None else over
    low, high = x.amin(over, keepdim=True).clamp(max=0), x.amax(over, keepdim=True).clamp(min=0)
    scale = _nonzero((high - low) / 255)
    zero = (-128 - low / scale).round()
    return ((x / scale + zero).round().clamp(-128, 127) - zero) * scale


def _nonzero(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def _int8_weights_of(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return int8_weights(weight.detach(), axis=1 if isinstance(module, TRANSPOSED) else 0)


def weights_snr_db(layer: Layer) -> float:
    """Of the weights after rounding, against themselves before."""
    pairs = [(module.weight.detach().flatten(), _int8_weights_of(module).flatten()) for module in layer]  # type: ignore[operator]
    before, after = (torch.cat(weights).numpy() for weights in zip(*pairs))
    return snr_db(before, after)
