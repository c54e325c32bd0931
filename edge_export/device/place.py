"""Where a bundle can be played: behind one Protocol an emulator here, a phone over adb, or this machine.

    host            this machine
    qemu[:cpu]      an Arm CPU, emulated here
    adb[:serial]    an Android device on a cable or in the network

It knows files and commands, not what they are for.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_export.errors import DeviceError, UsageError
from edge_export.progress import Progress

ARM = "aarch64"
Heard = Callable[[str], None]
"""Told each line that a command over there says on standard error."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a place before anything runs there. `free` counts bytes; `cpu_features` as in /proc/cpuinfo."""

    machine: str
    cpu_features: tuple[str, ...]
    cores: int
    free: int


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Files that travel together. name: of their folder over there. files: those of `folder` -> sha256."""

    name: str
    folder: Path
    files: dict[str, str]

    @property
    def bytes(self) -> int:
        return sum((self.folder / file).stat().st_size for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a command ended: its exit code, negative for a signal, and the last lines it said on standard error."""

    code: int
    said: tuple[str, ...]


class Desk(Protocol):
    """A folder of one run over there. Paths given to commands are relative to it."""

    @property
    def folder(self) -> str:
        """Its path over there, for a message."""
        ...

    def at(self, parcel: Parcel) -> str:
        """The path of a pushed parcel, as seen from the folder of this run."""
        ...

    def run(self, argv: list[str], environment: dict[str, str], heard: Heard) -> Finished:
        """Run a command in this folder until it ends.

        Raises:
            DeviceError: the place cannot run it, or vanished.
        """
        ...

    def pull(self, name: str) -> bytes:
        """A file that the command wrote into this folder, whole."""
        ...


class Place(Protocol):
    """`label` is the place's full name, such as qemu:cortex-a76: it goes into the record."""

    @property
    def label(self) -> str: ...

    def facts(self) -> Facts:
        """Look at the place; DeviceError when it cannot be used, MissingDependency when a tool lacks here."""
        ...

    def push(self, parcel: Parcel, progress: Progress) -> None:
        """Bring there what is not there yet, checked by hash; `progress` counts bytes."""
        ...

    def desk(self, *, keep: bool) -> AbstractContextManager[Desk]:
        """A fresh folder for one run; on leaving, what still runs there is ended, and the folder goes unless `keep`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A place as `device list` shows it. `lacks`: what stands between it and a run, empty when it is ready."""

    where: str
    what: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PlaceKind:
    """`open` makes the place from what follows the colon, or None; `preset` is how the runner is built for it."""

    name: str
    summary: str
    preset: str
    open: Callable[[str | None], Place]
    list: Callable[[], Iterator[Seen]]


def _host(detail: str | None) -> Place:
    from edge_export.device.host import open_host

    return open_host(detail)


def _qemu(detail: str | None) -> Place:
    from edge_export.device.qemu import open_qemu

    return open_qemu(detail)


def _adb(detail: str | None) -> Place:
    from edge_export.device.adb import open_adb

    return open_adb(detail)


def _list_host() -> Iterator[Seen]:
    from edge_export.device.host import seen

    return seen()


def _list_qemu() -> Iterator[Seen]:
    from edge_export.device.qemu import seen

    return seen()


def _list_adb() -> Iterator[Seen]:
    from edge_export.device.adb import seen

    return seen()


PLACES: dict[str, PlaceKind] = {
    kind.name: kind
    for kind in (
        PlaceKind(name="host", summary="this machine", preset="host", open=_host, list=_list_host),
        PlaceKind(name="qemu", summary="an emulated Arm CPU", preset="linux-arm64", open=_qemu, list=_list_qemu),
        PlaceKind(name="adb", summary="an Android device", preset="linux-arm64", open=_adb, list=_list_adb),
    )
}


def split_where(where: str) -> tuple[PlaceKind, str | None]:
    """The kind of place, and what follows the colon; UsageError lists the choices when there is none."""
    name, colon, detail = where.partition(":")
    if name not in PLACES:
        raise UsageError(f"no place called {where!r}; choose from host, qemu[:cpu], adb[:serial]")
    if colon and not detail:
        raise UsageError(f"nothing follows the colon in {where!r}; say {name}, or see `edge-export device list`")
    return PLACES[name], detail or None


def check_features(label: str, facts: Facts, needed: tuple[str, ...], target: str) -> None:
    """Refuse an Arm CPU that lacks what the target needs, by name; a CPU of another kind is not held to Arm's names.

    Raises:
        DeviceError: a feature is missing.
    """
    missing = [feature for feature in needed if feature not in facts.cpu_features]
    if facts.machine == ARM and missing:
        raise DeviceError(
            f"the CPU of {label} lacks {', '.join(missing)}, which the target {target} needs; take another device, "
            "or build the bundle for another target"
        )


@contextmanager
def named(place: str, doing: str) -> Iterator[None]:
    """What the system says of a tool that cannot be started becomes a DeviceError."""
    try:
        yield
    except OSError as error:
        raise DeviceError(f"{place}: cannot {doing}: {error.strerror or error}; check that it is installed") from error
