"""The reference runtime: plays a bundle with numpy and the standard library.

It is the specification that the C++, Kotlin and Swift runtimes follow. It knows bundles, not
checkpoints, and never imports torch: an engine imports its own runtime when a program is loaded.
Importing it imports nothing else: `load` and the names beside it come when they are asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime_py.errors import EdgeExportError
    from runtime_py.generator import Clip, Generator, load
    from runtime_py.loop import Event
    from runtime_py.request import Request

__version__ = "0.1.0"

__all__ = ["Clip", "EdgeExportError", "Event", "Generator", "Request", "__version__", "load"]

# name -> the module it lies in
_LAZY = {
    "Clip": "generator",
    "EdgeExportError": "errors",
    "Event": "loop",
    "Generator": "generator",
    "Request": "request",
    "load": "generator",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
