"""Freed memory is kept: a large block that comes and goes costs no new pages."""

import subprocess
import sys

import pytest

# 41: PR_SET_THP_DISABLE; a fault for every page of 4 KiB, however memory lies.
FAULTS = """
import ctypes, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
import numpy as np
from post_training.allocator import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(77)
np.ones(1 << 24, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(1 << 26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77:
        pytest.skip("this C library takes no settings")
    return int(done.stdout)


def test_large_blocks_cost_no_new_pages():
    assert faults("kept") < faults("given back") / 4
