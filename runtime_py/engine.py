"""What a program is to the runtime: named arrays in, named arrays out. ENGINES says who can run which file.

It does not know any runtime: each engine imports its own when a program is loaded.
"""

import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from runtime_py.bundle import Bundle
from runtime_py.errors import GenerationError, UsageError
from runtime_py.forks import refuse_forked
from runtime_py.generation_spec import Interface

MOST_THREADS = 256

Tensors = dict[str, np.ndarray]


class Program(Protocol):
    """A loaded program. `run` checks names, shapes and dtypes, and returns arrays that are the caller's own.

    Threads may share one: runs of it take turns. A child that was forked after it was loaded is refused.
    """

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors: ...


OpenProgram = Callable[[str], Program]
"""Loads the program of a role, one of `generation_spec.ROLES`."""


class Engine(Protocol):
    """An engine is a module with these two functions."""

    def prepare(self) -> None:
        """Import the runtime: seconds that belong to no stage.

        Raises:
            MissingDependency: it is not installed.
        """
        ...

    def load(
        self, path: Path, role: str, interface: Interface, *, threads: int | None = None, float16: bool = False
    ) -> Program:
        """Open the program at `path`, called `role` in messages, and hold it against `interface`.

        `float16`: the program is to compute in float16 what is not int8, whether this CPU is good at it or not.

        Raises:
            MissingDependency: the engine's runtime is not installed.
            BundleError: the file is no program, or its inputs and outputs are not those of `interface`.
            GenerationError: this process was forked from one that had loaded programs.
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


def check_threads(threads: int | None) -> None:
    """UsageError for a number of CPU threads that makes no sense; None takes the fast cores."""
    if threads is not None and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise UsageError(f"threads is {threads!r}, expected 1 to {MOST_THREADS}")


def bundle_programs(bundle: Bundle, *, threads: int | None = None) -> OpenProgram:
    """Opens the bundle's own programs with the engine of its backend.

    Raises:
        UsageError: threads out of range.
        MissingDependency: the engine's runtime is not installed.
    """
    engine_for(bundle.manifest.backend).prepare()
    return unprepared_programs(bundle, threads=threads)


def unprepared_programs(bundle: Bundle, *, threads: int | None = None) -> OpenProgram:
    """The same, of an engine that whoever takes them prepares first."""
    check_threads(threads)
    manifest = bundle.manifest
    engine = engine_for(manifest.backend)

    def open_program(role: str) -> Program:
        path, interface = bundle.path(manifest.programs[role]), manifest.generation.programs[role]
        return engine.load(path, role, interface, threads=threads, float16=role in manifest.recipe.float16)

    return open_program


def kept_loaded(open_program: OpenProgram) -> OpenProgram:
    """Opens each program once and keeps it: for those who generate again and again, and have the memory.

    Threads that ask for one at the same time get the same.
    """
    loaded: dict[str, Program] = {}
    turn = threading.Lock()

    def open_once(role: str) -> Program:
        refuse_forked()
        with turn:
            if role not in loaded:
                loaded[role] = open_program(role)
            return loaded[role]

    return open_once


def arrange_inputs(role: str, interface: Interface, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """`inputs` in the program's own order: contiguous, each of exactly the dtype and shape the manifest records.

    Raises:
        GenerationError: a name is missing or unknown, or a shape or dtype differs.
    """
    expected = {tensor.name for tensor in interface.inputs}
    if set(inputs) != expected:
        wrong = sorted(set(inputs) ^ expected)
        raise GenerationError(f"{role}: inputs are {sorted(expected)}; these do not match: {wrong}")
    for tensor in interface.inputs:
        check_tensor(role, tensor.name, inputs[tensor.name], tensor.shape, tensor.dtype)
    in_order = sorted(interface.inputs, key=lambda tensor: tensor.position)
    return [np.ascontiguousarray(inputs[tensor.name]) for tensor in in_order]


def check_tensor(role: str, name: str, array: np.ndarray, shape: tuple[int, ...], dtype: str) -> None:
    """Refuse an array that is not what the manifest records."""
    if array.shape != shape or array.dtype.name != dtype:
        raise GenerationError(f"{role}: {name} is {array.dtype.name}{list(array.shape)}, expected {dtype}{list(shape)}")
