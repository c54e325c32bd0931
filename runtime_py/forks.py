"""Native runtimes and forks: their threads are not in a forked child, where a call waits for them for ever or crashes.

It knows neither runtimes nor programs.
"""

import ctypes
import os
from weakref import WeakSet

from runtime_py.errors import GenerationError

_used = _inherited = False
_programs: WeakSet[object] = WeakSet()


def use_runtime() -> None:
    """To be called before a runtime is used: children that are forked from then on cannot play.

    Raises:
        GenerationError: this process is such a child.
    """
    global _used
    refuse_forked()
    _used = True


def refuse_forked() -> None:
    """GenerationError in a process that was forked from one in which a runtime had been used.

    To be called before every lock that another thread may have held at the fork.
    """
    if _inherited:
        raise GenerationError(
            "this process was forked from one that had loaded programs, whose threads it lacks; "
            'start it by multiprocessing.get_context("spawn"), or fork before programs are loaded'
        )


def inherited() -> bool:
    """Whether `refuse_forked` refuses."""
    return _inherited


def keep_in_children(program: object) -> None:
    """Let no forked child take `program` down, which would wait for threads that are not there, or crash."""
    _programs.add(program)


def _after_fork() -> None:
    global _inherited
    if _used:
        _inherited = True
        for program in list(_programs):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(program))
        _end_at_once()


def _end_at_once() -> None:
    """Let C's exit, which comes after Python's end, take no runtime down either: of C's own, this is called first."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc._exit, None)  # noqa: SLF001


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
