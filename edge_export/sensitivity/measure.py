"""Which layers suffer in int8: each linear, convolution and embedding quantized alone, its noise measured.

Quantization is computed in torch, as the runtimes' kernels do it; no toolchain is needed, and no bundle. It knows
neither recipes nor thresholds.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor

from edge_export.backends import BACKENDS
from edge_export.checkpoint import Checkpoint
from edge_export.errors import UsageError
from edge_export.progress import Progress, silent
from edge_export.sensitivity.inputs import ReferenceInputs
from edge_export.sensitivity.layer_error import LayerError, with_shares
from edge_export.sensitivity.rounding import in_int8, weights_snr_db
from edge_export.submodules import SUBMODULES, Part, rewrite
from quantization.layers import OPERATORS, Layer, layers_of
from quantization.recipe import choose_from
from runtime_py.metrics import snr_db

DECODER_LATENTS = 24
"""A longer window of latents is cut to this: the decoder's layers see little further, and it costs by the latent."""

NEAREST = 3


def measure_layers(
    checkpoint: Checkpoint,
    backend: str,
    submodules: tuple[str, ...],
    layers: str = "*",
    progress: Progress = silent,
    *,
    latents: int = DECODER_LATENTS,
) -> tuple[LayerError, ...]:
    """Each layer of `submodules` whose name matches `layers`, in the order of the network `backend` compiles.

    Inputs are what the submodules get while the reference plays the golden prompt; the dit's are those of one
    step. The decoder gets at most `latents` latents out of the middle of the clip.

    Raises:
        UsageError: an unknown submodule or backend, a pattern that matches no layer, `latents` below 1.
    """
    for name in submodules:
        _known(name, SUBMODULES, "submodule")
    _known(backend, BACKENDS, "backend")
    if latents < 1:
        raise UsageError(f"latents is {latents}, expected 1 or more; {DECODER_LATENTS} by default")
    inputs = ReferenceInputs(checkpoint)
    measured: list[LayerError] = []
    names: list[str] = []
    wanted = tuple(dict.fromkeys(submodules))
    for index, name in enumerate(wanted):
        progress(f"loading the {name}", index, len(wanted))
        part = rewritten_part(name, checkpoint, backend, latents)
        matching = {found: layer for found, layer in layers_of(part.module).items() if fnmatchcase(found, layers)}
        if matching:
            measured += layer_errors(part, inputs.of(part), matching, progress)
        names += layers_of(part.module)
    if not measured:
        where = ", ".join(wanted) or "no submodule"
        raise UsageError(f"no layer of {where} matches {layers!r}; nearest: {_nearest(layers, names)}")
    return tuple(measured)


def rewritten_part(name: str, checkpoint: Checkpoint, backend: str, latents: int) -> Part:
    """A submodule as `backend` compiles it, the decoder for a clip of at most `latents`, which changes no name."""
    submodule, config = SUBMODULES[name], checkpoint.config
    if name == "decoder":
        config = config.shortened(latents)
    return rewrite(submodule, submodule.load(checkpoint), config, backend)


def layer_errors(
    part: Part, inputs: dict[str, Tensor], layers: dict[str, Layer], progress: Progress = silent
) -> list[LayerError]:
    """Measure each of `layers` on `inputs`, by the names of the part's ports. Afterwards `part` is as it was."""
    reference = _outputs(part, inputs)
    errors = []
    for done, (name, layer) in enumerate(layers.items()):
        progress(f"{part.name}: {name}", done, len(layers))
        with in_int8(layer):
            made = _outputs(part, inputs)
        errors.append(
            LayerError(
                submodule=part.name,
                name=name,
                operator=OPERATORS[type(layer[0])],
                parameters=sum(tensor.numel() for module in layer for tensor in module.parameters()),
                snr_db=min(map(snr_db, reference, made)),
                weights_snr_db=weights_snr_db(layer),
                share=0.0,
            )
        )
    return with_shares(errors)


@torch.inference_mode()
def _outputs(part: Part, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in part.module(**inputs)]


def _known(name: str, choices: Iterable[str], what: str) -> None:
    names = list(choices)
    if name not in names:
        raise UsageError(f"no {what} called {name!r}; {choose_from(name, names)}")


def _nearest(pattern: str, names: Iterable[str]) -> str:
    found = get_close_matches(pattern, list(names), n=NEAREST, cutoff=0.0)
    return ", ".join(found) or "none"
