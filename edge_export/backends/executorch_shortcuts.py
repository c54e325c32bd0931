"""What executorch and torch.fx do over and over while a program is lowered, done once.

Each is in force inside a `with`, and changes no byte of any program. It knows graphs and passes, and no network.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx

DECIDES_ABOUT_GRAPHS = {"call", "requires", "ensures"}
"""What a pass may have of its own and still trace a graph anew as it is."""


@contextmanager
def origins_shared() -> Iterator[None]:
    """Let nodes share what torch.fx notes of their origin, which nothing here reads or changes.

    Every pass copies it deeply, with all passes before it: a quarter of the time of compiling the published decoder.
    """
    from torch.fx.traceback import NodeSource

    NodeSource.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del NodeSource.__deepcopy__  # type: ignore[attr-defined]


@contextmanager
def unchanged_graphs_kept() -> Iterator[None]:
    """Let a pass that changed nothing hand on the graph it was given.

    XNNPACK's passes each look for one pattern, and end by tracing the whole graph anew whether it was there or not.
    A graph that comes from such a trace, and that nobody changed since, would only come out the same.
    """
    from executorch.exir.pass_base import ExportPass
    from torch.fx.passes.infra.pass_base import PassResult

    trace = ExportPass.call
    traced: list[Any] = []

    def call(self: Any, module: fx.GraphModule) -> Any:
        if _traces_as_it_is(type(self), ExportPass) and traced == _nodes(module):
            return PassResult(module, False)
        result = trace(self, module)
        traced[:] = _nodes(result.graph_module)
        return result

    ExportPass.call = call
    try:
        yield
    finally:
        del ExportPass.call


def _nodes(module: fx.GraphModule) -> list[Any]:
    """Equal lists: the same nodes in the same order, and nothing that one says of another has changed."""
    return [(node, node.op, node.target, node.args, node.kwargs) for node in module.graph.nodes]


def _traces_as_it_is(kind: type, base: type) -> bool:
    """Whether passes of this kind leave to `base` what becomes of each node when a graph is traced."""
    own = {name for name in dir(base) if not name.startswith("__") and callable(getattr(base, name))}
    return all(getattr(kind, name) is getattr(base, name) for name in own - DECIDES_ABOUT_GRAPHS)
