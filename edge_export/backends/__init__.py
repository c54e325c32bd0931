"""The backends there are. To add one: a file here, in `quantization/` and in `runtime_py/engines/`, a line each."""

from importlib import import_module

from edge_export.backends.backend import Backend, Compiled
from edge_export.errors import UsageError

__all__ = ["BACKENDS", "Backend", "Compiled", "backend_for"]

# name -> module; imported when needed, since each pulls in its toolchain
BACKENDS: dict[str, str] = {
    "executorch": "edge_export.backends.executorch",
    "litert": "edge_export.backends.litert",
}


def backend_for(name: str) -> Backend:
    """The backend called `name`; UsageError lists the choices when there is none."""
    if name not in BACKENDS:
        raise UsageError(f"no backend called {name!r}; choose from {', '.join(sorted(BACKENDS))}")
    backend: Backend = import_module(BACKENDS[name])
    return backend
