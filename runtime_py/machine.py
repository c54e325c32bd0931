"""The machine this runs on: its CPU, what all of its cores can, how many there are, and memory.

It judges nothing, and knows nothing of models. Where a system does not say, a number is 0 or None, a text empty.
"""

import math
import os
import platform
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEGA = 1e6
CPUINFO, MEMINFO, STATUS = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/proc/self/status")
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
NO_LIMIT = 1 << 60  # version 1 of cgroups writes a number near 2^63 where there is none

# What the kernel says of a core, the better first, and the share of the best core's figure from which on one is fast.
# Work is split evenly, so that a core of a third of the speed is waited for, and one of half still helps. By capacity
# (work in a time, the best 1024) phones' small cores have 0.13 to 0.44, the middle ones 0.48 and more. By their clocks
# they lie nearer: small ones 0.6 to 0.77, middle ones 0.8 and more, as do a desktop's cores of one kind.
FAST_SHARES = (("cpu_capacity", 0.45), ("cpufreq/cpuinfo_max_freq", 0.8))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """cpu_features: those that all cores have, as the kernel names them. memory_bytes: physical memory."""

    system: str
    architecture: str
    cpu: str
    cpu_features: tuple[str, ...]
    cores: int
    memory_bytes: int


def this_machine() -> Machine:
    """What this process can say of where it runs."""
    cpuinfo = _read(CPUINFO)
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        cpu=cpu_name(cpuinfo),
        cpu_features=features_of_all(cpuinfo),
        cores=os.cpu_count() or 1,
        memory_bytes=_meminfo("MemTotal") or 0,
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(_allowed_cores())


def fast_cores(root: Path = Path("/"), allowed: Collection[int] | None = None) -> int:
    """As many threads as pay: the cores that this process may run on, of which a phone's small ones do not count.

    A figure counts where every such core has it; without any, all of them are fast. Tests give another `root` than
    the system's, and the numbers of the cores that are `allowed`.
    """
    cores = _allowed_cores() if allowed is None else allowed
    for name, share in FAST_SHARES:
        figures = [_number(root / "sys/devices/system/cpu" / f"cpu{core}" / name) or 0 for core in cores]
        if all(figures):
            return sum(figure >= share * max(figures) for figure in figures)
    return len(cores)


def _allowed_cores() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def cpu_name(cpuinfo: str) -> str:
    """What the text of /proc/cpuinfo calls the first core."""
    cores = _cores(cpuinfo)
    keys = ("model name", "Hardware", "CPU part")
    return next((core[key] for key in keys for core in cores[:1] if core.get(key)), "")


def features_of_all(cpuinfo: str) -> tuple[str, ...]:
    """The features that every core has by the text of /proc/cpuinfo, in the order of the first one."""
    texts = [core.get("Features", core.get("flags")) for core in _cores(cpuinfo)]
    lists = [text.split() for text in texts if text is not None]  # old kernels list them once, below the last core
    common = set(lists[0]).intersection(*lists[1:]) if lists else set()
    return tuple(feature for feature in (lists[0] if lists else ()) if feature in common)


def _cores(cpuinfo: str) -> list[dict[str, str]]:
    """Each core's keys and values: blocks that begin with "processor", and what stands outside of them."""
    cores: list[dict[str, str]] = [{}]
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "processor" and "processor" in cores[-1]:
            cores.append({})
        cores[-1].setdefault(key.strip(), value.strip())
    return cores


def memory_available() -> int | None:
    """Bytes that this process may still take: of the system or of its container, the less; None where unsaid."""
    known = [found for found in (_meminfo("MemAvailable"), *_container_rooms()) if found is not None]
    return min(known, default=None)


def peak_memory_mb() -> float:
    """The most memory of this process, in MB of 1e6 bytes, since `forget_peak_memory` or else since it started."""
    for line in _read(STATUS).splitlines():
        if line.startswith("VmHWM:"):  # getrusage's figure begins with what the parent held, and cannot be forgotten
            return int(line.split()[1]) * 1024 / MEGA
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / MEGA


def forget_peak_memory() -> None:
    """Let `peak_memory_mb` begin anew with what is held now, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def largest_file() -> float:
    """The most bytes that a file of this process's may have; infinity without such a limit."""
    try:
        import resource
    except ImportError:
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _meminfo(name: str) -> int | None:
    for line in _read(MEMINFO).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _container_rooms() -> list[int | None]:
    """What is left of the memory limits of this process's groups: version 2 of cgroups, then version 1."""
    rooms: list[int | None] = []
    for line in _read(OWN_CGROUPS).splitlines():  # number:controllers:group
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers == "" and group:
            rooms += _rooms(CGROUPS, group, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            rooms += _rooms(CGROUPS / "memory", group, *names)
    return rooms


def _rooms(root: Path, group: str, limit: str, use: str, reclaimable: str) -> list[int | None]:
    """Of the group and of all those above it; a container may see its own group at the root.

    `reclaimable` names in memory.stat what counts as used and is taken back first: pages of files long unread.
    """
    folder = root / group.lstrip("/")
    folders = [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]
    return [_room(_number(one / limit), _number(one / use), _stat(one, reclaimable)) for one in folders]


def _room(limit: int | None, use: int | None, reclaimable: int) -> int | None:
    if limit is None or use is None or limit >= NO_LIMIT:
        return None
    return max(0, limit - max(0, use - reclaimable))


def _stat(folder: Path, name: str) -> int:
    for line in _read(folder / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
