"""Where figures come from: CPU, memory, and the versions of what runs programs. It measures no program."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_export import __version__
from edge_export.bench.job import MEGA

PACKAGES = ("numpy", "torch", "executorch", "ai-edge-litert")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where figures come from. `memory_mb` of None: the system does not say."""

    cpu: str
    cores: int
    usable_cores: int
    memory_mb: float | None
    platform: str
    python: str
    versions: dict[str, str]


def environment() -> Environment:
    """This machine, and the versions of what runs programs on it."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total = _meminfo("MemTotal")
    return Environment(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        usable_cores=affinity,
        memory_mb=None if total is None else total / MEGA,
        platform=platform.platform(),
        python=platform.python_version(),
        versions=dict(_versions()),
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    yield "edge-export", __version__
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def memory_available() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    return _meminfo("MemAvailable")


def _meminfo(name: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
