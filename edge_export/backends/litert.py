"""Compiles a part of the network for LiteRT: converted by litert-torch, quantized by litert-quantizer, then tried.

XNNPACK takes the graph when a program is loaded, not here; what it will take is read from a loaded one. It knows
nothing of bundles.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edge_export.backends.backend import Compiled
from edge_export.backends.litert_graph import graph_spec, layer_operators, layers_in, open_graph, weights_dtypes
from edge_export.errors import BuildError, BundleError, EdgeExportError, MissingDependency
from edge_export.submodules.submodule import Named, Part, Port
from quantization.litert import Entry, Layer, litert_recipe, rule_of
from quantization.recipe import FLOAT, Recipe
from runtime_py.engines.litert import interface, only_signature, open_model
from runtime_py.errors import first_line
from runtime_py.manifest import TensorSpec
from runtime_py.metrics import snr_db
from runtime_py.quiet import quiet

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

SUFFIX = ".tflite"
PACKAGES = ("torch", "litert-torch", "litert-converter", "litert-quantizer", "ai-edge-litert")

# Far below what a sound program reaches and far above what one with two tensors swapped does.
FLOAT_DB, QUANTIZED_DB = 60.0, 10.0
TRIAL_SECONDS = 20.0


class NamedOutputs(nn.Module):
    """A part whose outputs have names too: litert-torch takes them from the dict."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part.module
        self.names = tuple(port.name for port in part.outputs)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, self.part(**inputs), strict=True))


def compile(part: Part, recipe: Recipe, out: Path) -> Compiled:
    """Write `part` to `out` as a `.tflite`, its layers quantized as `recipe` says.

    Names are the part's; positions are those of the written file's main graph.

    Raises:
        MissingDependency: litert-torch or litert-quantizer is not installed.
        BuildError: a toolchain failed, a layer that the recipe quantizes cannot be, the file's inputs and outputs
            are not the part's, or its numbers are not.
    """
    with _told_in_one_line(part), quiet():
        _import_toolchain()
        traced = NamedOutputs(part).eval()
        program = _convert(part, traced)
        layers = _layers_to_quantize(program, part, traced, recipe)
        if layers:
            program = _quantize(program, litert_recipe(recipe, part.name, layers))
    # Python writes, for on a full disk the toolchain's own writers take the process with them.
    out.write_bytes(program)
    del program
    with _told_in_one_line(part):
        interpreter = open_model(out)
        compiled = _describe(interpreter, part)
        _check_weights(interpreter, part, layers)
        _try(interpreter, part, least_db=QUANTIZED_DB if layers else FLOAT_DB)
    return compiled


@contextmanager
def _told_in_one_line(part: Part) -> Iterator[None]:
    """Whatever a toolchain raises becomes a BuildError; our own errors and Ctrl-C pass."""
    try:
        yield
    except BundleError as error:
        raise BuildError(f"{part.name}: the compiled program cannot be used: {error}") from error
    except EdgeExportError:
        raise
    except Exception as error:
        raise BuildError(
            f"{part.name}: the LiteRT toolchain failed with {type(error).__name__}: {first_line(error)}; "
            "try --backend executorch, and report this"
        ) from error


def _import_toolchain() -> None:
    try:
        import litert_quantizer  # noqa: F401
        import litert_torch  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            f"LiteRT programs are compiled by litert-torch and litert-quantizer ({first_line(error)}): "
            "pip install 'edge-export[litert-export]'"
        ) from error


def _convert(part: Part, traced: nn.Module) -> bytes:
    """The part in float32.

    Constants are handled lazily ("lightweight"): a tenth of the time for the published decoder, and half of the
    memory. What that leaves unfolded the runtime folds.
    """
    import litert_torch

    model = litert_torch.convert(traced, sample_kwargs=part.example_inputs(), lightweight_conversion=True)
    return model.model_content()


def _layers_to_quantize(program: bytes, part: Part, traced: nn.Module, recipe: Recipe) -> tuple[Layer, ...]:
    """The operations that the recipe quantizes; BuildError when one of its layers cannot be told in the graph."""
    network = part.module.module if isinstance(part.module, Named) else part.module
    asked = {
        name
        for name, operator in layer_operators(network).items()
        if rule_of(recipe, part.name, operator, name) is not FLOAT
    }
    if not asked:
        return ()
    layers = tuple(layer for layer in layers_in(open_graph(program), traced, network) if layer.name in asked)
    lost = sorted(asked - {layer.name for layer in layers})
    if lost:
        raise BuildError(
            f"{part.name}: recipe {recipe.name} quantizes {', '.join(lost)}, not to be found in the converted graph; "
            "leave it in float32 with a rule of its own, or report this"
        )
    return layers


def _quantize(program: bytes, recipe: list[Entry]) -> bytes:
    from litert_quantizer import quantizer

    made = quantizer.Quantizer(program, recipe).quantize(enable_progress_bar=False, enable_progress_report=False)
    return made.quantized_model


def _describe(interpreter: "Interpreter", part: Part) -> Compiled:
    """Interface and graph as written; BuildError when the interface is not the part's."""
    inputs, outputs = interface(interpreter)
    return Compiled(
        inputs=_in_order_of(part, part.inputs, inputs),
        outputs=_in_order_of(part, part.outputs, outputs),
        graph=graph_spec(interpreter),
    )


def _in_order_of(part: Part, ports: Sequence[Port], found: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    by_name = {spec.name: spec for spec in found}
    for port in ports:
        spec = by_name.get(port.name)
        if spec is None or (spec.dtype, spec.shape) != (port.dtype, port.shape):
            became = f"{spec.dtype}{list(spec.shape)}" if spec else "missing"
            raise BuildError(
                f"{part.name}: {port.name} of {port.dtype}{list(port.shape)} is {became} in the compiled program"
            )
    if len(found) != len(ports):
        extra = sorted(by_name.keys() - {port.name for port in ports})
        raise BuildError(f"{part.name}: the compiled program has more tensors than the network: {', '.join(extra)}")
    return tuple(by_name[port.name] for port in ports)


def _check_weights(interpreter: "Interpreter", part: Part, layers: Iterable[Layer]) -> None:
    """litert-quantizer passes over what it does not support; a recipe is not a wish."""
    dtypes = weights_dtypes(interpreter)
    kept = [layer.name for layer in layers if dtypes.get(layer.scope) != "int8"]
    if kept:
        raise BuildError(f"{part.name}: litert-quantizer left {', '.join(kept)} in float32; report this")


def _try(interpreter: "Interpreter", part: Part, least_db: float) -> None:
    """Run the program once beside the network: two swapped tensors of one shape show only in the numbers.

    A program so slow that the network, slower still, would take minutes is left to the bundle's own proof.
    """
    inputs = _trial_inputs(part)
    start = time.monotonic()
    made = only_signature(interpreter)(**{name: tensor.numpy() for name, tensor in inputs.items()})
    if time.monotonic() - start > TRIAL_SECONDS:
        return
    with torch.inference_mode():
        expected = part.module(**inputs)
    for port, tensor in zip(part.outputs, expected, strict=True):
        found = snr_db(tensor.numpy(), made[port.name])
        if not found >= least_db:
            raise BuildError(
                f"{part.name}: {port.name} of the compiled program is {found:.1f} dB from the network's, "
                f"expected {least_db:g} at least; report this"
            )


def _trial_inputs(part: Part) -> dict[str, Tensor]:
    """The example inputs, floats brought into 0..1: what every input takes, a mask too."""
    return {
        name: tensor.clamp(0, 1) if tensor.is_floating_point() else tensor
        for name, tensor in part.example_inputs().items()
    }
