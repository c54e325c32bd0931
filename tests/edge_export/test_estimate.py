"""What is told of a generation's memory is within a quarter of what a process of its own takes.

The runtime's own libraries are taken as this system maps them; what is told of them is the most.
"""

import sys

import pytest

from runtime_py.estimate import OVERHEAD
from tests.edge_export.measure_memory import Growth, estimated, measured

SECONDS = 0.7
NEAR = 0.25

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("keep_loaded", [False, True])
@pytest.mark.parametrize("backend", ["executorch", "litert"])
def test_the_estimate_is_near_what_is_measured(built, backend, keep_loaded):
    bundle = built(backend, "int8-dynamic")
    told = estimated(bundle, SECONDS, keep_loaded=keep_loaded)
    found = measured(bundle, SECONDS, keep_loaded=keep_loaded)
    libraries = OVERHEAD["python", backend].mapped_bytes
    as_told = Growth(
        total=told.total_bytes - libraries + found.libraries,
        mapped=told.mapped_bytes - libraries + found.libraries,
        private=told.private_bytes,
        libraries=libraries,
    )
    for part in ("total", "mapped", "private"):
        assert getattr(as_told, part) == pytest.approx(getattr(found, part), rel=NEAR), (part, as_told, found)
    assert found.libraries < 1.25 * libraries
