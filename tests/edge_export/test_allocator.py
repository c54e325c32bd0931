"""Freed memory goes back to the system, while a stage runs and after it."""

import gc
import subprocess
import sys
import weakref

import pytest

from edge_export.allocator import freed_memory_given_back

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status, and is about glibc")
# Floats become int8 one layer after another, as when a network is quantized: what stays lies among what goes.
QUANTIZING = """
import re, torch
from edge_export.allocator import freed_memory_given_back

def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) // 1024

torch.zeros(8 << 20)  # once a large one was freed, glibc keeps the next
with freed_memory_given_back():
    layers = [torch.ones(2 << 20) for _ in range(20)]
    before = resident()
    for index, layer in enumerate(layers):
        layers[index] = (layer / 3).round().to(torch.int8)
        del layer
    print(before - resident())
"""


@LINUX
def test_floats_that_became_int8_are_gone_at_once():
    """20 layers of 8 MiB become 2 MiB each: 120 MiB. Without it, what goes depends on where they lay: 106 at most."""
    finished = subprocess.run([sys.executable, "-c", QUANTIZING], capture_output=True, text=True, check=True)
    assert int(finished.stdout) > 115


def test_what_holds_itself_goes_at_the_end():
    class Node:
        itself: "Node"

    gc.disable()
    try:
        with freed_memory_given_back():
            node = Node()
            node.itself = node
            seen = weakref.ref(node)
            del node
            assert seen() is not None
        assert seen() is None
    finally:
        gc.enable()
