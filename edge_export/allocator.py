"""Memory that a stage frees goes back to the system, and not into a heap that only grows.

glibc keeps what large tensors leave behind once it has seen a few of them. It knows no other C library: there nothing
changes but that cycles are collected.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

M_MMAP_THRESHOLD = -3  # malloc.h's name of the setting
LARGE = 1 << 20
USUAL = 32 << 20  # where glibc itself ends up among large tensors


@contextmanager
def freed_memory_given_back() -> Iterator[None]:
    """Inside, what is larger than a mebibyte is mapped by itself; at the end, graphs that hold themselves go too."""
    _map_from(LARGE)
    try:
        yield
    finally:
        gc.collect()
        _map_from(USUAL)


def _map_from(size: int) -> None:
    try:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, size)
    except (OSError, AttributeError, TypeError):  # of other systems
        return
