"""Compiles a part of the network for LiteRT: converted by litert-torch, quantized by litert-quantizer, then tried.

XNNPACK takes the graph when a program is loaded, not here; what it will take is read from a loaded one. It knows
nothing of bundles.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edge_export.backends.backend import Compiled, check_ports
from edge_export.backends.litert_graph import graph_spec, layer_operators, layers_in, open_graph, weights_dtypes
from edge_export.backends.memory_litert import model_memory
from edge_export.errors import BuildError, BundleError, EdgeExportError, MissingDependency
from edge_export.submodules.submodule import Named, Part
from quantization.embedding import quantize_embeddings
from quantization.litert import Entry, Layer, litert_recipe, rule_of
from quantization.recipe import FLOAT, Recipe
from runtime_py.engines.litert import interface_of, only_signature, open_model
from runtime_py.errors import first_line
from runtime_py.metrics import snr_db
from runtime_py.quiet import quiet

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

SUFFIX = ".tflite"
PACKAGES = ("torch", "litert-torch", "litert-converter", "litert-quantizer", "ai-edge-litert")
FLOAT16 = True

# Far below what a sound program reaches and far above what one with two tensors swapped does.
FLOAT_DB, QUANTIZED_DB = 60.0, 10.0
TRIAL_SECONDS = 20.0
QUANTIZER_BYTES = 32 << 20


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
        quantize_embeddings(part.module, part.stage, recipe)
        traced = NamedOutputs(part).eval()
        program = convert(part, traced)
        layers = layers_to_quantize(program, part, traced, recipe)
        if layers:
            program = _quantize(program, litert_recipe(recipe, part.stage, layers))
        float16 = part.stage in recipe.float16
        if layers or float16:
            from edge_export.backends.tflite_writer import rewritten

            program = rewritten(program, float16=float16)
    # Python writes, for on a full disk the toolchain's own writers take the process with them.
    out.write_bytes(program)
    del program
    with _told_in_one_line(part):
        interpreter = open_model(out)
        compiled = _describe(interpreter, part, float16)
        _check_weights(interpreter, part, recipe, layers)
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


def convert(part: Part, traced: nn.Module) -> bytes:
    """The part in float32.

    Constants are handled lazily ("lightweight"): a tenth of the time for the published decoder, and half of the
    memory. What that leaves unfolded the runtime folds.
    """
    import litert_torch

    model = litert_torch.convert(traced, sample_kwargs=part.example_inputs(), lightweight_conversion=True)
    return model.model_content()


def layers_to_quantize(program: bytes, part: Part, traced: nn.Module, recipe: Recipe) -> tuple[Layer, ...]:
    """The operations that the recipe quantizes; BuildError when one of its layers cannot be told in the graph."""
    network = part.module.module if isinstance(part.module, Named) else part.module
    asked = {
        name
        for name, operator in layer_operators(network).items()
        if rule_of(recipe, part.stage, operator, name) is not FLOAT
    }
    if not asked:
        return ()
    _refuse(part, recipe, _too_large(network, asked), "of over 32 MiB, where litert-quantizer fails")
    layers = tuple(layer for layer in layers_in(open_graph(program), traced, network) if layer.name in asked)
    _refuse(part, recipe, asked - {layer.name for layer in layers}, "not to be told in the converted graph")
    return layers


def _too_large(network: nn.Module, names: Iterable[str]) -> set[str]:
    """Convolutions that litert-quantizer 0.11 cannot quantize: it takes large weights in slices of two dimensions."""
    weights = {name: network.get_submodule(name).get_parameter("weight") for name in names}
    return {name for name, weight in weights.items() if weight.ndim > 2 and weight.nbytes > QUANTIZER_BYTES}


def _refuse(part: Part, recipe: Recipe, names: Iterable[str], problem: str) -> None:
    """A layer that cannot be quantized is no layer to leave in float32 silently."""
    if all_names := sorted(names):
        more = f" and {len(all_names) - 3} more" if len(all_names) > 3 else ""
        raise BuildError(
            f"{part.name}: recipe {recipe.name} quantizes {', '.join(all_names[:3])}{more}: {problem}; "
            "give it a float32 rule before that one, or use --backend executorch"
        )


def _quantize(program: bytes, recipe: list[Entry]) -> bytes:
    from litert_quantizer import quantizer

    made = quantizer.Quantizer(program, recipe).quantize(enable_progress_bar=False, enable_progress_report=False)
    return made.quantized_model


def _describe(interpreter: "Interpreter", part: Part, float16: bool) -> Compiled:
    """Interface, graph and memory as written; BuildError when the interface is not the part's."""
    inputs, outputs = interface_of(interpreter)
    return Compiled(
        inputs=check_ports(part.name, "inputs", part.inputs, list(inputs)),
        outputs=check_ports(part.name, "outputs", part.outputs, list(outputs)),
        graph=graph_spec(interpreter),
        memory=model_memory(interpreter, float16=float16),
    )


def _check_weights(interpreter: "Interpreter", part: Part, recipe: Recipe, layers: Iterable[Layer]) -> None:
    dtypes = weights_dtypes(interpreter)
    passed_over = {layer.name for layer in layers if dtypes[layer.scope] != "int8"}
    _refuse(part, recipe, passed_over, "passed over by litert-quantizer")


def _try(interpreter: "Interpreter", part: Part, least_db: float) -> None:
    """Run the program once beside the network: two swapped tensors of one shape show only in the numbers.

    A program so slow that the network, slower still, would take minutes is left to the bundle's own proof.
    """
    inputs = part.example_inputs()
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
