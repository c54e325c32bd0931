"""The machine: one meaning of its CPU's features, and how much memory there is, by what the system's files say."""

import math
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime_py import machine
from runtime_py.machine import (
    cpu_name,
    fast_cores,
    features_of_all,
    largest_file,
    memory_available,
    peak_memory_mb,
    this_machine,
    usable_cores,
)

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
BIG_LITTLE = """processor\t: 0
Features\t: fp asimd crc32 asimddp
CPU part\t: 0xd05

processor\t: 1
Features\t: crc32 asimd fp i8mm
CPU part\t: 0xd0b

Hardware\t: Features of another kind
"""
ONCE = """Processor\t: ARMv7 Processor rev 4 (v7l)
processor\t: 0
BogoMIPS\t: 38.40

processor\t: 1
BogoMIPS\t: 38.40

Features\t: half thumb neon
Hardware\t: Some Board
"""


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (BIG_LITTLE, ("fp", "asimd", "crc32")),
        (ONCE, ("half", "thumb", "neon")),
        ("processor\t: 0\nflags\t\t: fpu sse avx2\nvmx flags\t: vnmi\n", ("fpu", "sse", "avx2")),
        ("processor\t: 0\nFeatures\t: fp\n\nprocessor\t: 1\nFeatures\t:\n", ()),
        ("processor\t: 0\nmodel name\t: some CPU\n", ()),
        ("", ()),
    ],
)
def test_features_are_those_that_all_cores_have_in_the_order_of_the_first(text, features):
    assert features_of_all(text) == features


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (BIG_LITTLE, "0xd05"),
        ("processor\t: 0\nmodel name\t: Some CPU: fast\nCPU part\t: 0x1\n", "Some CPU: fast"),
        ("processor\t: 0\nCPU part\t: 0xd0b\nHardware\t: Some Board\n", "Some Board"),
        ("", ""),
    ],
)
def test_a_cpu_is_called_as_its_first_core(text, name):
    assert cpu_name(text) == name


# Memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the system's files: of memory in kB, of the groups that this process is in, and of those groups."""

    def make(*, total: int = 16 * GIB, available: int | None = 8 * GIB, groups: str = "", **files: object) -> None:
        lines = [f"MemTotal:       {total >> 10} kB", "MemFree:        12 kB"]
        lines += [] if available is None else [f"MemAvailable:   {available >> 10} kB"]
        (tmp_path / "meminfo").write_text("\n".join(lines) + "\n")
        (tmp_path / "own").write_text(groups)
        for name, value in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")

    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    return make


def test_without_groups_memory_is_the_systems(system):
    system(available=3 * GIB)
    assert memory_available() == 3 * GIB
    assert this_machine().memory_bytes == 16 * GIB


def test_a_system_that_does_not_say_is_unknown(system, monkeypatch, tmp_path):
    system(available=None)
    assert memory_available() is None
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "nothing")
    assert memory_available() is None
    assert this_machine().memory_bytes == 0


SECOND = "0::/app/job\nno group at all\n"
FIRST = "12:cpu,cpuacct:/app\n5:memory:/app/job\n1:name=systemd:/app\n0::/app\n"


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        (SECOND, {"app/job/memory.max": 2 * GIB, "app/job/memory.current": GIB // 2}, 3 * GIB // 2),
        (SECOND, {"app/job/memory.max": "max", "app/job/memory.current": GIB}, 8 * GIB),
        (SECOND, {"app/memory.max": GIB, "app/memory.current": GIB // 4, "app/job/memory.max": "max"}, 3 * GIB // 4),
        (SECOND, {"memory.max": GIB, "memory.current": GIB // 8}, 7 * GIB // 8),
        (SECOND, {"app/job/memory.max": GIB, "app/job/memory.current": 2 * GIB}, 0),
        (
            SECOND,
            {
                "app/job/memory.max": GIB,
                "app/job/memory.current": GIB,
                "app/job/memory.stat": f"anon 1\ninactive_file {GIB // 4}\nactive_file 9",
            },
            GIB // 4,
        ),
        (SECOND, {"app/job/memory.max": 32 * GIB, "app/job/memory.current": GIB}, 8 * GIB),
        (SECOND, {"other/memory.max": GIB, "other/memory.current": 0}, 8 * GIB),
        (SECOND, {"app/job/memory.max": GIB}, 8 * GIB),
        (SECOND, {"app/job/memory.max": "what", "app/job/memory.current": 0}, 8 * GIB),
        (
            FIRST,
            {"memory/app/job/memory.limit_in_bytes": GIB, "memory/app/job/memory.usage_in_bytes": GIB // 2},
            GIB // 2,
        ),
        (
            FIRST,
            {
                "memory/app/job/memory.limit_in_bytes": GIB,
                "memory/app/job/memory.usage_in_bytes": GIB,
                "memory/app/job/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB // 2}",
            },
            GIB // 2,
        ),
        (FIRST, {"memory/memory.limit_in_bytes": 2 * GIB, "memory/memory.usage_in_bytes": GIB}, GIB),
        (
            FIRST,
            {"memory/app/job/memory.limit_in_bytes": 0x7FFFFFFFFFFFF000, "memory/app/job/memory.usage_in_bytes": GIB},
            8 * GIB,
        ),
    ],
    ids=["limit", "no limit", "of one above", "seen at the root", "beyond", "reclaimed", "above the system's",
         "another's", "no use", "no number", "version 1", "version 1, reclaimed", "version 1 at the root",
         "version 1 without"],
)  # fmt: skip
def test_a_container_may_take_what_its_groups_leave_and_no_more_than_the_system_has(system, groups, files, left):
    system(groups=groups, **files)
    assert memory_available() == left


def test_this_machine_is_described():
    here = this_machine()
    assert here.system.startswith(platform.system())
    assert here.architecture == platform.machine()
    assert here.cores >= usable_cores() >= fast_cores() >= 1
    if sys.platform == "linux":
        assert here.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert here.cpu_features
        assert 0 < (memory_available() or 0) <= here.memory_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_a_peak_is_counted_anew_once_it_is_forgotten():
    """In a process of its own, which holds nothing that it could use again."""
    code = """
import numpy as np
from runtime_py.machine import forget_peak_memory, peak_memory_mb
forget_peak_memory()
before = peak_memory_mb()
held = np.ones(100_000_000, np.uint8)
print(peak_memory_mb() - before)
del held
print(peak_memory_mb() - before)
forget_peak_memory()
print(peak_memory_mb() - before)
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    held, let_go, forgotten = map(float, child.stdout.split())
    assert 95 < held < 110
    assert 95 < let_go < 110
    assert forgotten < 20


def test_where_the_system_keeps_no_peak_the_processs_own_is_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "STATUS", tmp_path / "nothing")
    assert peak_memory_mb() > 10


def test_the_largest_file_is_as_the_system_limits_it(monkeypatch):
    for limit, largest in ((4096, 4096), (resource.RLIM_INFINITY, math.inf)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, resource.RLIM_INFINITY))
        assert largest_file() == largest
    monkeypatch.setitem(sys.modules, "resource", None)
    assert largest_file() == math.inf
