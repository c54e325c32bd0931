"""This machine as a place to play a bundle: the native runner, run where it was built."""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

from edge_export.device.local import LocalDesk, local_desk
from edge_export.device.place import Facts, Parcel, Seen
from edge_export.device.setup import lacking
from edge_export.errors import UsageError
from edge_export.progress import Progress

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class HostPlace:
    label: str = "host"

    def facts(self) -> Facts:
        return Facts(
            machine=platform.machine(),
            cpu_features=features_in(CPUINFO.read_text("utf-8", "replace") if CPUINFO.exists() else ""),
            cores=os.cpu_count() or 1,
            free=disk_usage(tempfile.gettempdir()).free,
        )

    def push(self, parcel: Parcel, progress: Progress) -> None:
        progress(f"{parcel.name} is here", 1, 1)

    def desk(self, *, keep: bool) -> AbstractContextManager[LocalDesk]:
        return local_desk(self.label, keep=keep)


def open_host(detail: str | None) -> HostPlace:
    if detail is not None:
        raise UsageError(f"this machine has no parts to choose from: say host, not host:{detail}")
    return HostPlace()


def seen() -> Iterator[Seen]:
    yield Seen(where="host", what=platform.machine(), lacks=lacking("host"))


def features_in(cpuinfo: str) -> tuple[str, ...]:
    """The CPU features that every core of a /proc/cpuinfo has: of its Features (Arm) or flags (x86) lines."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    each = [value.split() for key, _, value in lines if key.strip() in ("Features", "flags")]
    return tuple(feature for feature in each[0] if all(feature in one for one in each)) if each else ()
