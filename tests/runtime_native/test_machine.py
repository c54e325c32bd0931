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


def core_figures(name: str, *figures: object) -> dict[str, object]:
    return {f"sys/devices/system/cpu/cpu{core}/{name}": figure for core, figure in enumerate(figures)}


CAPACITY, CLOCK = "cpu_capacity", "cpufreq/cpuinfo_max_freq"
ONE_THREE_FOUR = core_figures(CAPACITY, *[245] * 4, *[871] * 3, 1024)
EIGHT = tuple(range(8))
PHONES = {
    "4 and 4": (core_figures(CAPACITY, *[383] * 4, *[1024] * 4), EIGHT, 4),
    "4, 3 and 1": (ONE_THREE_FOUR, EIGHT, 4),
    "4, 2 and 2, the middle at half": (core_figures(CAPACITY, *[160] * 4, *[498] * 2, *[1024] * 2), EIGHT, 4),
    "all alike": (core_figures(CAPACITY, *[1024] * 8), EIGHT, 8),
    "the small ones alone": (ONE_THREE_FOUR, (0, 1, 2, 3), 4),
    "some of each allowed": (ONE_THREE_FOUR, (2, 3, 4, 5), 2),
    "none readable": ({}, EIGHT, 8),
    "clocks alone": (core_figures(CLOCK, *[1_804_800] * 4, *[2_419_200] * 3, 2_841_600), EIGHT, 4),
    "clocks of one kind, two of them favoured": (core_figures(CLOCK, *[5_000_000] * 6, *[5_200_000] * 2), EIGHT, 8),
    "capacity missing on some": (
        core_figures(CAPACITY, 383, 383, 383, 383) | core_figures(CLOCK, *[1_766_400] * 4, *[2_803_200] * 4),
        EIGHT,
        4,
    ),
    "capacity missing on some, and no clocks": (core_figures(CAPACITY, 383, 383, 383, 383), EIGHT, 8),
    "missing on those not allowed": (core_figures(CAPACITY, 383, 1024), (0, 1), 1),
    "figures that mean nothing": (
        core_figures(CAPACITY, 383, 1024, "", "-1") | core_figures(CLOCK, 0, "fast", 5, 5),
        (0, 1, 2, 3),
        4,
    ),
    "one core": (core_figures(CAPACITY, 383), (0,), 1),
}


@pytest.mark.parametrize(("files", "allowed", "fast"), PHONES.values(), ids=PHONES)
def test_the_fast_cores_are_those_not_far_behind_the_best(edge_replay: Runner, tmp_path, files, allowed, fast):
    write(tmp_path, files)
    done = edge_replay("cores", tmp_path, *allowed)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{fast}\n")
    assert machine.fast_cores(tmp_path, allowed) == fast


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
