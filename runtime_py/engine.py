"""What a program is to the runtime: named arrays in, named arrays out. ENGINES says who can run which file.

It does not know any runtime: each engine imports its own when a program is loaded.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from runtime_py.errors import GenerationError, UsageError
from runtime_py.manifest import ProgramSpec

Tensors = dict[str, np.ndarray]


class Program(Protocol):
    """A loaded program. `run` checks names, shapes and dtypes, and returns arrays that are the caller's own."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors: ...


class Engine(Protocol):
    """An engine is a module with these two functions."""

    def prepare(self) -> None:
        """Import the runtime: seconds that belong to no stage.

        Raises:
            MissingDependency: it is not installed.
        """
        ...

    def load(self, path: Path, spec: ProgramSpec, *, threads: int | None = None, float16: bool = False) -> Program:
        """Open the program at `path` and hold it against `spec`.

        `float16`: the program is to compute in float16 what is not int8, whether this CPU is good at it or not.

        Raises:
            MissingDependency: the engine's runtime is not installed.
            BundleError: the file is no program, or its inputs and outputs are not what `spec` says.
        """
        ...


# backend -> the module that loads its programs
ENGINES: dict[str, str] = {
    "executorch": "runtime_py.engines.executorch",
    "litert": "runtime_py.engines.litert",
}


def engine_for(backend: str) -> Engine:
    """The engine for `backend`; UsageError lists the choices when there is none."""
    if backend not in ENGINES:
        raise UsageError(f"no engine called {backend!r}; choose from {', '.join(sorted(ENGINES))}")
    engine: Engine = import_module(ENGINES[backend])
    return engine


def arrange_inputs(spec: ProgramSpec, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """`inputs` in the program's own order: contiguous, each of exactly the dtype and shape the manifest records.

    Raises:
        GenerationError: a name is missing or unknown, or a shape or dtype differs.
    """
    expected = {tensor.name for tensor in spec.inputs}
    if set(inputs) != expected:
        wrong = sorted(set(inputs) ^ expected)
        raise GenerationError(f"{spec.name}: inputs are {sorted(expected)}; these do not match: {wrong}")
    for tensor in spec.inputs:
        check_tensor(spec, tensor.name, inputs[tensor.name], tensor.shape, tensor.dtype)
    in_order = sorted(spec.inputs, key=lambda tensor: tensor.position)
    return [np.ascontiguousarray(inputs[tensor.name]) for tensor in in_order]


def check_tensor(spec: ProgramSpec, name: str, array: np.ndarray, shape: tuple[int, ...], dtype: str) -> None:
    """Refuse an array that is not what the manifest records."""
    if array.shape != shape or array.dtype.name != dtype:
        raise GenerationError(
            f"{spec.name}: {name} is {array.dtype.name}{list(array.shape)}, expected {dtype}{list(shape)}"
        )
