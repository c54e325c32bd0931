"""Memory that is freed stays with the process: large tensors come and go at every layer.

glibc gives each of them back to the system and asks for it again, which took most of the time of encoding on two
cores. It knows no other C library: there nothing changes.
"""

import ctypes

# malloc.h's names of the settings
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
MOST = 2**31 - 1
PAD = 256 << 20


def keep_freed_memory() -> bool:
    """Tell malloc; False where it takes no such settings."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(
        mallopt(name, value) == 1 for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MOST), (M_TOP_PAD, PAD))
    )
