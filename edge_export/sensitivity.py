"""Which layers suffer in int8: each linear, convolution and embedding quantized alone, its noise measured.

Quantization is computed in torch, as the runtimes' kernels do it; no toolchain is needed, and no bundle. It knows
neither recipes nor thresholds.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from edge_export.backends import BACKENDS
from edge_export.checkpoint import Checkpoint
from edge_export.errors import UsageError
from edge_export.golden import GOLDEN_PROMPT, GOLDEN_SEED
from edge_export.progress import Progress, silent
from edge_export.reference import reference_programs
from edge_export.report import table
from edge_export.submodules import SUBMODULES, Part, rewrite
from edge_export.tokenizer_export import read_spiece
from quantization.layers import OPERATORS, Layer, layers_of
from quantization.recipe import choose_from
from runtime_py.engine import Tensors
from runtime_py.generate import DEFAULT_SECONDS
from runtime_py.metrics import snr_db
from runtime_py.random import TorchRandom
from runtime_py.sampler import Step, pingpong, sigmas

DECODER_LATENTS = 24
"""A longer window of latents is cut to this: the decoder's layers hear little further, and it costs by the latent."""

STEPS = 2
"""Of the reference generation: the second is at the sigma of the middle one of eight."""

MARGIN_DB = 3.0
"""What a prediction may be off by: noise adds as powers only roughly, and a dit is judged by its worst step."""

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
NEAREST = 3


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """What one layer does to its submodule when it alone computes in int8.

    name: as recipes' patterns match it, without the `.cut_N` of a weight cut in pieces.
    operator: "linear", "conv" or "embedding". parameters: of weights and bias.
    snr_db: of the submodule's output against float32, the worst where there are several; inf when nothing changes.
    weights_snr_db: of the weights after rounding, against themselves before.
    share: of the summed noise power of the submodule's measured layers, 0..1.
    """

    submodule: str
    name: str
    operator: str
    parameters: int
    snr_db: float
    weights_snr_db: float
    share: float


def sensitivity(
    checkpoint: Checkpoint,
    backend: str,
    submodules: tuple[str, ...],
    layers: str = "*",
    heard: Progress = silent,
    *,
    latents: int = DECODER_LATENTS,
) -> tuple[LayerError, ...]:
    """Each layer of `submodules` whose name matches `layers`, in the order of the network `backend` compiles.

    Inputs are what the submodules see while the reference plays the golden prompt; the dit's are those of one
    step. The decoder gets at most `latents` latents out of the middle of the clip.

    Raises:
        UsageError: an unknown submodule or backend, a pattern that matches no layer, `latents` below 1.
    """
    for name in submodules:
        _known(name, SUBMODULES, "submodule")
    _known(backend, BACKENDS, "backend")
    if latents < 1:
        raise UsageError(f"latents is {latents}, expected 1 or more; {DECODER_LATENTS} by default")
    seen = Seen(checkpoint)
    measured: list[LayerError] = []
    names: list[str] = []
    wanted = tuple(dict.fromkeys(submodules))
    for index, name in enumerate(wanted):
        heard(f"loading the {name}", index, len(wanted))
        part = load_part(name, checkpoint, backend, latents)
        matching = {found: layer for found, layer in layers_of(part.module).items() if fnmatchcase(found, layers)}
        if matching:
            measured += layer_errors(part, seen.inputs(part), matching, heard)
        names += layers_of(part.module)
    if not measured:
        where = ", ".join(wanted) or "no submodule"
        raise UsageError(f"no layer of {where} matches {layers!r}; nearest: {_nearest(layers, names)}")
    return tuple(measured)


def load_part(name: str, checkpoint: Checkpoint, backend: str, latents: int) -> Part:
    """A submodule as `backend` compiles it, the decoder for a clip of at most `latents`, which changes no name."""
    submodule, config = SUBMODULES[name], checkpoint.config
    if name == "decoder":
        config = config.shortened(latents)
    return rewrite(submodule, submodule.load(checkpoint), config, backend)


def layer_errors(
    part: Part, inputs: dict[str, Tensor], layers: dict[str, Layer], heard: Progress = silent
) -> list[LayerError]:
    """Measure each of `layers` on `inputs`, by the names of the part's ports. Afterwards `part` is as it was."""
    reference = _outputs(part, inputs)
    errors = []
    for done, (name, layer) in enumerate(layers.items()):
        heard(f"{part.name}: {name}", done, len(layers))
        with in_int8(layer):
            made = _outputs(part, inputs)
        errors.append(
            LayerError(
                submodule=part.name,
                name=name,
                operator=OPERATORS[type(layer[0])],
                parameters=sum(tensor.numel() for module in layer for tensor in module.parameters()),
                snr_db=min(map(snr_db, reference, made)),
                weights_snr_db=_weights_snr_db(layer),
                share=0.0,
            )
        )
    return _with_shares(errors)


@torch.inference_mode()
def _outputs(part: Part, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in part.module(**inputs)]


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


def _weights_snr_db(layer: Layer) -> float:
    pairs = [(module.weight.detach().flatten(), _int8_weights_of(module).flatten()) for module in layer]  # type: ignore[operator]
    before, after = (torch.cat(weights).numpy() for weights in zip(*pairs))
    return snr_db(before, after)


class Seen:
    """What submodules see while the reference plays the golden prompt. Each piece is computed once, when asked for."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._config, self._spiece = checkpoint.config, checkpoint.spiece
        self._open = reference_programs(checkpoint)

    def inputs(self, part: Part) -> dict[str, Tensor]:
        """For each input port of `part` a tensor of its shape."""
        seen: dict[str, Callable[[], Tensors]] = {
            "conditioner": lambda: self.prompt,
            "dit": self._dit,
            "decoder": lambda: {"latent": self._middle(part.inputs[0].shape[-1])},
        }
        arrays = seen[part.name]()
        return {port.name: torch.from_numpy(np.ascontiguousarray(arrays[port.name])) for port in part.inputs}

    @property
    def seconds(self) -> float:
        config = self._config
        clip = config.latent_length * config.decoder.hop / config.sample_rate
        return min(DEFAULT_SECONDS, clip, config.conditioner.seconds_max)

    @cached_property
    def prompt(self) -> Tensors:
        """The conditioner's inputs."""
        prompt = read_spiece(self._spiece).encode_prompt(GOLDEN_PROMPT, self._config.conditioner.tokens)
        seconds = np.array([self.seconds], np.float32)
        return {"input_ids": prompt.ids[None], "prompt_mask": prompt.mask[None], "seconds": seconds}

    @cached_property
    def conditioning(self) -> Tensors:
        return self._open("conditioner").run(self.prompt)

    @cached_property
    def last_step(self) -> Step:
        """The second of two steps from noise."""
        dit, random = self._open("dit"), TorchRandom(GOLDEN_SEED)

        def velocity(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
            return dit.run({"latent": latent, "sigma": np.array([sigma], np.float32), **self.conditioning})["velocity"]

        noise = (random.randn(1, *self._config.latent_shape) for _ in range(STEPS))
        *_, last = pingpong(velocity, noise, sigmas(STEPS))
        return last

    def _dit(self) -> Tensors:
        step = self.last_step
        return {"latent": step.latent, "sigma": np.array([step.sigma], np.float32), **self.conditioning}

    def _middle(self, latents: int) -> np.ndarray:
        """`latents` of the clean latent, [1, channels, latents], out of the middle of what is heard."""
        clean, config = self.last_step.clean, self._config
        played = math.ceil(self.seconds * config.sample_rate / config.decoder.hop)
        start = min(max(0, (played - latents) // 2), clean.shape[-1] - latents)
        return clean[..., start : start + latents]


def worst_first(errors: Iterable[LayerError]) -> list[LayerError]:
    """By submodule, in the order they came in, and within each by falling noise."""
    return [error for group in by_submodule(errors).values() for error in sorted(group, key=lambda e: e.snr_db)]


def by_submodule(errors: Iterable[LayerError]) -> dict[str, list[LayerError]]:
    groups: dict[str, list[LayerError]] = {}
    for error in errors:
        groups.setdefault(error.submodule, []).append(error)
    return groups


def predicted_db(errors: Iterable[LayerError]) -> float:
    """SNR of one submodule with all of these layers in int8: rounding errors do not know of each other, so that
    their noise powers add. Where outputs are several, no output is expected to be worse."""
    return _decibels(math.fsum(map(_noise, errors)))


def suggest(errors: Iterable[LayerError], threshold_db: float) -> tuple[LayerError, ...]:
    """The fewest layers to leave in float so that each submodule is predicted to reach `threshold_db`, worst first."""
    allowed = _power(threshold_db)
    left: list[LayerError] = []
    for group in by_submodule(errors).values():
        quietest_first = sorted(group, key=lambda error: -error.snr_db)
        sums = accumulate(map(_noise, quietest_first))
        kept = sum(total <= allowed for total in sums)
        left += reversed(quietest_first[kept:])
    return tuple(left)


def _noise(error: LayerError) -> float:
    """Noise power over signal power."""
    return _power(error.snr_db)


def _power(snr_db: float) -> float:
    return math.inf if snr_db == -math.inf else 10 ** (-snr_db / 10)


def _decibels(noise: float) -> float:
    return math.inf if noise == 0 else -10 * math.log10(noise)


def _with_shares(errors: list[LayerError]) -> list[LayerError]:
    """With each layer's part of all noise; a layer that makes NaN leaves nothing to the others."""
    broken = sum(math.isinf(_noise(error)) for error in errors)
    powers = [float(math.isinf(_noise(error))) if broken else _noise(error) for error in errors]
    total = math.fsum(powers) or 1.0
    return [replace(error, share=power / total) for error, power in zip(errors, powers)]


def sensitivity_table(errors: Iterable[LayerError]) -> Table:
    """For people, worst first."""
    numbers = ("parameters", "SNR dB", "weights dB", "noise")
    made = table("each layer alone in int8", "submodule", "layer", "operator", *numbers, right=numbers)
    for error in worst_first(errors):
        made.add_row(
            error.submodule,
            error.name,
            error.operator,
            f"{error.parameters:,}",
            _shown(error.snr_db),
            _shown(error.weights_snr_db),
            f"{error.share:.1%}",
        )
    return made


def _shown(snr_db: float) -> str:
    return "equal" if snr_db == math.inf else f"{snr_db:.1f}"


def sensitivity_record(errors: Iterable[LayerError]) -> dict[str, Any]:
    """For machines, worst first. JSON has no infinity: such numbers are null, and `equal` says which way."""
    errors = worst_first(errors)
    return {
        "predicted_snr_db": {name: _finite(predicted_db(group)) for name, group in by_submodule(errors).items()},
        "layers": [_record(error) for error in errors],
    }


def _record(error: LayerError) -> dict[str, Any]:
    record = {key: _finite(value) for key, value in asdict(error).items()}
    return {**record, "equal": error.snr_db == math.inf}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _known(name: str, choices: Iterable[str], what: str) -> None:
    names = list(choices)
    if name not in names:
        raise UsageError(f"no {what} called {name!r}; {choose_from(name, names)}")


def _nearest(pattern: str, names: Iterable[str]) -> str:
    found = get_close_matches(pattern, list(names), n=NEAREST, cutoff=0.0)
    return ", ".join(found) or "none"
