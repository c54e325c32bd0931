"""Runs `.pte` programs through ExecuTorch's Python bindings. torch only carries arrays in and out."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from runtime_py.engine import Tensors, arrange_inputs, check_tensor
from runtime_py.errors import BundleError, GenerationError, MissingDependency, first_line
from runtime_py.forks import keep_in_children, refuse_forked, use_runtime
from runtime_py.generation_spec import Interface, TensorSpec
from runtime_py.machine import fast_cores
from runtime_py.quiet import quiet

METHOD = "forward"
# Bytes 4 to 8 of a program. The bindings end the whole process when they meet others that are no UTF-8.
IDENTIFIER = b"ET12"
# executorch's ScalarType numbers, from its schema
DTYPES = {3: "int32", 4: "int64", 5: "float16", 6: "float32"}

_loaded: "WeakSet[ExecutorchProgram]" = WeakSet()
_turn = threading.Lock()  # one for all programs, as is the pool of threads


class ExecutorchProgram:
    """A loaded method. ExecuTorch reuses its output memory, so outputs are copied.

    By numpy: where torch copies them, the threads that it does so with spin for as long as a small program runs.
    """

    def __init__(self, method: Any, role: str, interface: Interface) -> None:
        self._method, self._role, self._interface = method, role, interface
        _loaded.add(self)
        keep_in_children(self)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        refuse_forked()
        import torch

        arranged = [torch.from_numpy(array) for array in arrange_inputs(self._role, self._interface, inputs)]
        try:
            with _turn:
                made = self._method(arranged, clone_outputs=False)
                outputs = {tensor.name: made[tensor.position].numpy().copy() for tensor in self._interface.outputs}
        except RuntimeError as error:
            raise GenerationError(f"the {self._role} failed in ExecuTorch: {first_line(error)}") from error
        for tensor in self._interface.outputs:
            check_tensor(self._role, tensor.name, outputs[tensor.name], tensor.shape, tensor.dtype)
        return outputs


def prepare() -> None:
    """Import the runtime, which takes seconds; see `runtime_py.engine.Engine`."""
    try:
        with quiet():
            import executorch.runtime  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            "playing this bundle needs ExecuTorch: pip install 'edge-export[executorch]'"
        ) from error


def load(
    path: Path, role: str, interface: Interface, *, threads: int | None = None, float16: bool = False
) -> ExecutorchProgram:
    """Open a `.pte`; see `runtime_py.engine.Engine`. What computes in float16 says so itself."""
    prepare()
    _check_identifier(path)
    use_runtime()
    with _turn:
        if threads is not None or not _loaded:  # under programs that are loaded, whatever they have
            with quiet():  # it says how it counts this machine's cores
                _set_threads(threads)
        return _load(path, role, interface)


def _load(path: Path, role: str, interface: Interface) -> ExecutorchProgram:
    from executorch.runtime import Runtime, Verification

    try:
        with quiet():
            program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
            method = program.load_method(METHOD)
    except KeyError as error:
        raise BundleError(f"{path} has no method {METHOD!r}; rebuild the bundle") from error
    except (RuntimeError, ValueError, TypeError) as error:
        raise BundleError(f"{path} is no program for ExecuTorch ({first_line(error)}); rebuild the bundle") from error
    meta = method.metadata
    _compare(path, "inputs", interface.inputs, [meta.input_tensor_meta(index) for index in range(meta.num_inputs())])
    _compare(
        path, "outputs", interface.outputs, [meta.output_tensor_meta(index) for index in range(meta.num_outputs())]
    )
    return ExecutorchProgram(method._method, role, interface)  # the public one always copies


def _check_identifier(path: Path) -> None:
    try:
        with path.open("rb") as file:
            found = file.read(8)[4:]
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; rebuild the bundle") from error
    if found != IDENTIFIER:
        raise BundleError(f"{path} is no program for ExecuTorch (no {IDENTIFIER.decode()} in it); rebuild the bundle")


def _compare(path: Path, side: str, specs: tuple[TensorSpec, ...], metas: list[Any]) -> None:
    """Hold the program's own tensors, in its order, against the manifest's."""
    expected = [(tensor.dtype, tensor.shape) for tensor in sorted(specs, key=lambda tensor: tensor.position)]
    found = [(DTYPES.get(int(meta.dtype()), str(meta.dtype())), tuple(meta.sizes())) for meta in metas]
    if expected != found:
        raise BundleError(f"{path}: its {side} are {found}, the manifest says {expected}; rebuild the bundle")


def _set_threads(threads: int | None) -> None:
    """Make the process's one pool of threads anew, which no loaded program survives; None for the fast cores."""
    from executorch.extension.pybindings import portable_lib

    count, reset = (
        getattr(portable_lib, name, None) for name in ("_threadpool_get_thread_count", "_unsafe_reset_threadpool")
    )
    if count is None or reset is None:
        if threads is None:
            return
        raise GenerationError("this build of ExecuTorch cannot set its threads; leave them to it")
    wanted = fast_cores() if threads is None else threads
    if count() == wanted:
        return
    if _loaded:
        raise GenerationError(
            f"threads is {threads}, but ExecuTorch has one pool for the whole process, and loaded programs use it with "
            f"{count()}; close the other generators first, or ask for the same number"
        )
    reset(wanted)
