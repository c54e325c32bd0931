"""Runs `.tflite` programs through LiteRT's interpreter on the CPU: tensors by the names of the file's signature.

It knows neither stages nor samplers; what a program must look like it reads from the manifest.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime_py.engine import Tensors, arrange_inputs, check_tensor
from runtime_py.errors import BundleError, GenerationError, MissingDependency, first_line
from runtime_py.manifest import ProgramSpec, TensorSpec
from runtime_py.quiet import quiet

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter, SignatureRunner

REBUILD = "copy or build the bundle again"


class LiteRtProgram:
    """A program with its memory planned: `run` may be called again and again."""

    def __init__(self, interpreter: "Interpreter", spec: ProgramSpec) -> None:
        self._spec = spec
        self._interpreter = interpreter  # the signature's runner borrows from it
        self._signature = only_signature(interpreter)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        """The program's outputs for `inputs`, both by name.

        Raises:
            GenerationError: the inputs are not the program's, or the runtime fails.
        """
        spec = self._spec
        in_order = sorted(spec.inputs, key=lambda tensor: tensor.position)
        arrays = {tensor.name: array for tensor, array in zip(in_order, arrange_inputs(spec, inputs))}
        try:
            made = self._signature(**arrays)
        except (RuntimeError, ValueError) as error:
            raise GenerationError(f"{spec.name}: LiteRT failed: {first_line(error)}") from error
        for tensor in spec.outputs:
            check_tensor(spec, tensor.name, made[tensor.name], tensor.shape, tensor.dtype)
        return {tensor.name: made[tensor.name] for tensor in spec.outputs}


def prepare() -> None:
    """Import the runtime; see `runtime_py.engine.Engine`."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise MissingDependency("LiteRT programs need ai-edge-litert: pip install 'edge-export[litert]'") from error


def load(path: Path, spec: ProgramSpec, *, threads: int | None = None) -> LiteRtProgram:
    """Open the `.tflite` at `path`, mapped, and hold its signature against `spec`.

    `threads` of None means one for every CPU this process may use.

    Raises:
        MissingDependency: ai-edge-litert is not installed.
        BundleError: the file is no LiteRT model, or its inputs and outputs are not what `spec` says.
    """
    interpreter = open_model(path, threads=threads)
    inputs, outputs = interface(interpreter)
    _compare(path, "inputs", spec.inputs, inputs)
    _compare(path, "outputs", spec.outputs, outputs)
    return LiteRtProgram(interpreter, spec)


def open_model(path: Path, *, threads: int | None = None) -> "Interpreter":
    """An interpreter for `path`, XNNPACK applied and memory planned.

    Raises:
        MissingDependency: ai-edge-litert is not installed.
        BundleError: the file is no LiteRT model.
    """
    prepare()
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet():  # XNNPACK announces itself on standard error
            interpreter = Interpreter(model_path=str(path), num_threads=threads or usable_cpus())
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{path} is no LiteRT model ({first_line(error)}); {REBUILD}") from error
    return interpreter


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def only_signature(interpreter: "Interpreter") -> "SignatureRunner":
    """The runner of the file's one signature; BundleError when there is not exactly one."""
    names = list(interpreter.get_signature_list())
    if len(names) != 1:
        raise BundleError(f"the LiteRT model has {len(names)} signatures, expected one; {REBUILD}")
    return interpreter.get_signature_runner(names[0])


def interface(interpreter: "Interpreter") -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as the file has them: names of its signature, positions of its main graph."""
    signature = only_signature(interpreter)
    return (
        _tensors(signature.get_input_details(), interpreter.get_input_details()),
        _tensors(signature.get_output_details(), interpreter.get_output_details()),
    )


def _tensors(named: Mapping[str, dict], in_order: list[dict]) -> tuple[TensorSpec, ...]:
    positions = {tensor["index"]: position for position, tensor in enumerate(in_order)}
    specs = (
        TensorSpec(
            name=name,
            position=positions[tensor["index"]],
            dtype=np.dtype(tensor["dtype"]).name,
            shape=tuple(int(size) for size in tensor["shape"]),
        )
        for name, tensor in named.items()
    )
    return tuple(sorted(specs, key=lambda spec: spec.position))


def _compare(path: Path, side: str, expected: Iterable[TensorSpec], found: Iterable[TensorSpec]) -> None:
    wanted, is_now = {spec.name: spec for spec in expected}, {spec.name: spec for spec in found}
    for name in sorted(wanted.keys() | is_now.keys()):
        if wanted.get(name) != is_now.get(name):
            raise BundleError(
                f"{path}: {side}: {name} is {_say(is_now.get(name))}, "
                f"the manifest says {_say(wanted.get(name))}; {REBUILD}"
            )


def _say(spec: TensorSpec | None) -> str:
    return f"{spec.dtype}{list(spec.shape)} at position {spec.position}" if spec else "not there"
