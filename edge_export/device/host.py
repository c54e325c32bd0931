"""This machine as a place to play a bundle: the native runner, run where it was built."""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

from edge_export.device.local import LocalWorkspace, local_workspace
from edge_export.device.place import Payload, PlaceInfo, PlaceStatus
from edge_export.device.readiness import lacking
from edge_export.errors import UsageError
from edge_export.progress import Progress
from runtime_py.machine import features_of_all

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class HostPlace:
    label: str = "host"

    def info(self) -> PlaceInfo:
        return PlaceInfo(
            machine=platform.machine(),
            cpu_features=features_of_all(CPUINFO.read_text("utf-8", "replace") if CPUINFO.exists() else ""),
            cores=os.cpu_count() or 1,
            free=disk_usage(tempfile.gettempdir()).free,
        )

    def push(self, payload: Payload, progress: Progress) -> None:
        progress(f"{payload.name} is here", 1, 1)

    def workspace(self, *, keep: bool) -> AbstractContextManager[LocalWorkspace]:
        return local_workspace(self.label, keep=keep)


def open_host(detail: str | None) -> HostPlace:
    if detail is not None:
        raise UsageError(f"this machine has no parts to choose from: say host, not host:{detail}")
    return HostPlace()


def list_host() -> Iterator[PlaceStatus]:
    yield PlaceStatus(where="host", what=platform.machine(), lacks=lacking("host"))
