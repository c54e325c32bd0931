"""What the native runtime says of a machine: one meaning in both runtimes, from files like those of the kernel."""

from pathlib import Path

import pytest

from runtime_py import machine
from tests.runtime_native.conftest import Runner

GB = 1 << 30
NO_LIMIT = 9223372036854771712
ARM_INFO = """processor\t: 0
BogoMIPS\t: 38.40
Features\t: fp asimd aes sha2 asimddp i8mm
CPU part\t: 0xd4d

processor\t: 1
Features\t: fp asimd sha2 aes asimddp

processor\t: 2
Features\t: fp asimd asimddp i8mm sha2
Hardware\t: Some board
"""
X86_INFO = "processor : 0\nmodel name : A\nflags : fpu sse avx2\n\nprocessor : 1\nflags : sse fpu\n"
INFOS = {
    ARM_INFO: ["fp", "asimd", "sha2", "asimddp"],
    X86_INFO: ["fpu", "sse"],
    f"{X86_INFO}\nprocessor : 2\nflags :\n": [],
    "Features : fp asimd\nprocessor : 0\nprocessor : 1\n": ["fp", "asimd"],
    "processor : 0\n": [],
    "": [],
}


@pytest.mark.parametrize(("info", "features"), INFOS.items())
def test_features_are_those_of_all_cores_in_the_order_of_the_first(edge_replay: Runner, tmp_path, info, features):
    (tmp_path / "cpuinfo").write_text(info)
    assert edge_replay("features", tmp_path / "cpuinfo").stdout.splitlines() == features
    assert list(machine.features_of_all(info)) == features


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


MEMINFO = {"proc/meminfo": f"MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:   {8 << 20} kB"}
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"
SYSTEMS = {
    "no group": (MEMINFO, 8 * GB),
    "nothing said": ({"proc/meminfo": "MemTotal: 16777216 kB"}, "unsaid"),
    "no limit": (
        MEMINFO | {"proc/self/cgroup": "0::/a", f"{V2}/a/memory.max": "max", f"{V2}/a/memory.current": 7 * GB},
        8 * GB,
    ),
    "a limit": (
        MEMINFO | {"proc/self/cgroup": "0::/a/b", f"{V2}/a/b/memory.max": 4 * GB, f"{V2}/a/b/memory.current": 3 * GB},
        GB,
    ),
    "pages that can go": (
        MEMINFO
        | {
            "proc/self/cgroup": "0::/a",
            f"{V2}/a/memory.max": 4 * GB,
            f"{V2}/a/memory.current": 3 * GB,
            f"{V2}/a/memory.stat": f"anon {GB}\nfile {2 * GB}\ninactive_file {GB}\nactive_file {GB}",
        },
        2 * GB,
    ),
    "a limit of the group above": (
        MEMINFO
        | {
            "proc/self/cgroup": "0::/a/b",
            f"{V2}/a/memory.max": 2 * GB,
            f"{V2}/a/memory.current": GB // 2,
            f"{V2}/a/b/memory.max": "max",
            f"{V2}/a/b/memory.current": 1,
        },
        3 * GB // 2,
    ),
    "its own group at the root": (
        MEMINFO | {"proc/self/cgroup": "0::/outside/a", f"{V2}/memory.max": GB, f"{V2}/memory.current": 1},
        GB - 1,
    ),
    "more in use than allowed": (
        MEMINFO | {"proc/self/cgroup": "0::/", f"{V2}/memory.max": GB, f"{V2}/memory.current": 2 * GB},
        0,
    ),
    "version 1": (
        MEMINFO
        | {
            "proc/self/cgroup": "5:cpu:/x\n4:hugetlb,memory:/a",
            f"{V1}/memory.limit_in_bytes": NO_LIMIT,
            f"{V1}/memory.usage_in_bytes": 9 * GB,
            f"{V1}/a/memory.limit_in_bytes": 3 * GB,
            f"{V1}/a/memory.usage_in_bytes": 2 * GB,
            f"{V1}/a/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB}",
        },
        2 * GB,
    ),
    "a limit above what the system has": (
        MEMINFO | {"proc/self/cgroup": "0::/a", f"{V2}/a/memory.max": 64 * GB, f"{V2}/a/memory.current": GB},
        8 * GB,
    ),
    "lines that mean nothing": (MEMINFO | {"proc/self/cgroup": "0\n\nx:y\n0::", f"{V2}/memory.max": "-1"}, 8 * GB),
}


@pytest.mark.parametrize(("files", "available"), SYSTEMS.values(), ids=SYSTEMS)
def test_what_is_available_is_the_least_of_system_and_groups(edge_replay: Runner, tmp_path, files, available):
    write(tmp_path, files)
    done = edge_replay("memory", tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{available}\n")
