"""Where figures come from: CPU, memory, and the versions of what runs programs. It measures no program."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from edge_export import __version__
from runtime_py.machine import MEGA, fast_cores, this_machine, usable_cores

PACKAGES = ("numpy", "torch", "executorch", "ai-edge-litert")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where figures come from. `memory_mb` of None: the system does not say."""

    cpu: str
    cpu_features: tuple[str, ...]
    cores: int
    usable_cores: int
    fast_cores: int
    memory_mb: float | None
    platform: str
    python: str
    versions: dict[str, str]


def environment() -> Environment:
    """This machine, and the versions of what runs programs on it."""
    machine = this_machine()
    return Environment(
        cpu=machine.cpu or platform.processor() or machine.architecture,
        cpu_features=machine.cpu_features,
        cores=machine.cores,
        usable_cores=usable_cores(),
        fast_cores=fast_cores(),
        memory_mb=machine.memory_bytes / MEGA or None,
        platform=platform.platform(),
        python=platform.python_version(),
        versions=dict(_versions()),
    )


def _versions() -> Iterator[tuple[str, str]]:
    yield "edge-export", __version__
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
