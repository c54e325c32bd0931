"""Runs `.tflite` programs through LiteRT on the CPU: tensors by the names of the file's signature.

It knows neither stages nor samplers; what a program must look like it reads from the manifest.
"""

import atexit
import ctypes
import math
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime_py.caches import cache_folder
from runtime_py.engine import Tensors, arrange_inputs
from runtime_py.errors import BundleError, GenerationError, MissingDependency, first_line
from runtime_py.forks import keep_in_children, refuse_forked, use_runtime
from runtime_py.generation_spec import Interface, TensorSpec
from runtime_py.machine import fast_cores
from runtime_py.packed_weights import key_of, packed_weights
from runtime_py.quiet import quiet

if TYPE_CHECKING:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.environment import Environment
    from ai_edge_litert.interpreter import Interpreter, SignatureRunner

REBUILD = "copy or build the bundle again"

# XNNPACK's flags, from the delegate's header: int8 signed and unsigned, linears of any weights, and float16 by force.
FORCED_FLOAT16 = 1 | 2 | 4 | 8

# Weights packed are at most so much larger than the file: float16 unpacked to float32. Short rows, filled up to
# XNNPACK's width, grow more, but have few bytes: the room left free on the disk is ample for them.
MOST_GROWTH = 2


class LiteRtProgram:
    """A program with its memory planned: `run` may be called again and again. Its runs share it, and so take turns."""

    def __init__(self, model: "CompiledModel", signature: str, role: str, interface: Interface) -> None:
        self._role, self._interface, self._model, self._signature = role, interface, model, signature
        self._turn = threading.Lock()
        keep_in_children(self)
        inputs, outputs = ([tensor.name for tensor in side] for side in (interface.inputs, interface.outputs))
        self._inputs = {name: model.create_input_buffer_by_name(signature, name) for name in inputs}
        self._outputs = {name: model.create_output_buffer_by_name(signature, name) for name in outputs}
        for (
            tensor
        ) in interface.inputs:  # At the first write LiteRT sets itself up once more: here, where it is silenced.
            self._inputs[tensor.name].write(np.zeros(tensor.shape, tensor.dtype))

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        """The program's outputs for `inputs`, both by name.

        Raises:
            GenerationError: the inputs are not the program's, the runtime fails, or this process was forked since.
        """
        refuse_forked()
        interface = self._interface
        in_order = sorted(interface.inputs, key=lambda tensor: tensor.position)
        arranged = arrange_inputs(self._role, interface, inputs)
        try:
            with self._turn:
                for tensor, array in zip(in_order, arranged, strict=True):
                    self._inputs[tensor.name].write(array)
                self._model.run_by_name(self._signature, self._inputs, self._outputs)
                return {tensor.name: self._read(tensor) for tensor in interface.outputs}
        except (RuntimeError, ValueError) as error:
            raise GenerationError(f"{self._role}: LiteRT failed: {first_line(error)}") from error

    def _read(self, tensor: TensorSpec) -> np.ndarray:
        flat: np.ndarray = self._outputs[tensor.name].read(math.prod(tensor.shape), np.dtype(tensor.dtype).type)
        return flat.reshape(tensor.shape)


def prepare() -> None:
    """Import the runtime; see `runtime_py.engine.Engine`."""
    try:
        with quiet():
            import ai_edge_litert.compiled_model
            import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise MissingDependency("LiteRT programs need ai-edge-litert: pip install 'edge-export[litert]'") from error


def load(
    path: Path, role: str, interface: Interface, *, threads: int | None = None, float16: bool = False
) -> LiteRtProgram:
    """Open the `.tflite` at `path`, mapped, and hold its signature against `interface`.

    `threads` of None means one for each fast core. Packed weights are kept from one run to the next.

    Raises:
        MissingDependency: ai-edge-litert is not installed.
        BundleError: the file is no LiteRT model, or its inputs and outputs are not those of `interface`.
        GenerationError: this process was forked from one that had loaded programs.
    """
    prepare()
    use_runtime()
    reader = _reader(path)
    inputs, outputs = interface_of(reader)
    _compare(path, "inputs", interface.inputs, inputs)
    _compare(path, "outputs", interface.outputs, outputs)
    (signature,) = reader.get_signature_list()
    del reader
    with quiet():  # LiteRT and XNNPACK announce themselves on standard error
        return LiteRtProgram(_compile(path, threads or fast_cores(), float16), signature, role, interface)


def _reader(path: Path) -> "Interpreter":
    """An interpreter to read the file's interface with; no memory is planned."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with quiet():
            return Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{path} is no LiteRT model ({first_line(error)}); {REBUILD}") from error


def _compile(path: Path, threads: int, float16: bool) -> "CompiledModel":
    """XNNPACK applied. In float16, whose packed weights LiteRT 2.3 cannot keep, they are made each time."""
    folder = None if float16 else cache_folder("weights")
    flags = FORCED_FLOAT16 if float16 else None
    key, most_bytes = key_of(path, f"ai-edge-litert {version('ai-edge-litert')}"), MOST_GROWTH * path.stat().st_size
    for kept_in in (folder, None):  # without, where they could not be written to their end
        try:
            with packed_weights(key, kept_in, most_bytes=most_bytes) as weights:
                model = _compiled(path, threads, flags, weights)
                if weights is None or _is_finished(weights):
                    return model
                del model
                raise RuntimeError(f"{weights} ends early")
        except (RuntimeError, ValueError) as error:
            failure = error
    raise BundleError(f"{path} is no LiteRT model ({first_line(failure)}); {REBUILD}") from failure


def _is_finished(weights: Path) -> bool:
    """Whether XNNPACK has put its version at the beginning, which it writes last; or there was nothing to pack."""
    try:
        with weights.open("rb") as file:
            return any(file.read(8))
    except FileNotFoundError:
        return True


def _compiled(path: Path, threads: int, flags: int | None, weights: Path | None) -> "CompiledModel":
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.cpu_options import CpuOptions
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import Options

    cpu = CpuOptions(
        num_threads=threads, xnnpack_flags=flags, xnnpack_weight_cache_path="" if weights is None else str(weights)
    )
    options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
    return CompiledModel.from_file(str(path), environment=_environment(), options=options)


@cache
def _environment() -> "Environment":
    """LiteRT's own state, one for the process, and never taken down: LiteRT would announce that at the very end."""
    from ai_edge_litert.environment import Environment

    made = Environment.create()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made.capsule))
    atexit.register(_end_quietly)
    return made


def _end_quietly() -> None:
    """The state that LiteRT makes for tensors is taken down after Python's end, with announcements."""
    with Path(os.devnull).open("wb") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), sys.stderr.fileno())


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
            interpreter = Interpreter(model_path=str(path), num_threads=threads or fast_cores())
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{path} is no LiteRT model ({first_line(error)}); {REBUILD}") from error
    return interpreter


def only_signature(interpreter: "Interpreter") -> "SignatureRunner":
    """The runner of the file's one signature; BundleError when there is not exactly one."""
    names = list(interpreter.get_signature_list())
    if len(names) != 1:
        raise BundleError(f"the LiteRT model has {len(names)} signatures, expected one; {REBUILD}")
    return interpreter.get_signature_runner(names[0])


def interface_of(interpreter: "Interpreter") -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
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
