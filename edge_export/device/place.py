"""What every place to play a bundle is: an emulator here, a phone over adb, an app on it, or this machine behind one
Protocol.

It knows files and tasks, not how they are done; nor does it know any place.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_export.errors import DeviceError
from edge_export.progress import Progress
from runtime_py.request import Request

ARM = "aarch64"
OnLine = Callable[[str], None]
"""Called with each line that says how far a run over there is."""


@dataclass(frozen=True, kw_only=True)
class PlaceInfo:
    """What is known of a place before anything runs there. `free` counts bytes; `cpu_features`: those of all cores."""

    machine: str
    cpu_features: tuple[str, ...]
    cores: int
    free: int


@dataclass(frozen=True, kw_only=True)
class Payload:
    """Files that travel together. name: of their folder over there. files: those of `folder` -> sha256."""

    name: str
    folder: Path
    files: dict[str, str]

    @property
    def bytes(self) -> int:
        return sum((self.folder / file).stat().st_size for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run of a bundle, in both forms: what is to be played, for an app, and the command that does it, for all else.

    bundle: where it is, as `Workspace.at` says. request: nothing is left open in it; None for the golden
    one. threads: None for as many as pay. words, environment: the command; no words where the place plays by itself.
    """

    bundle: str
    label: str
    request: Request | None = None
    threads: int | None = None
    words: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a run ended: its exit code, negative for a signal, and the last lines that it wrote to standard error."""

    code: int
    lines: tuple[str, ...]


class Workspace(Protocol):
    """A folder of one run over there. Paths given to a task are relative to it."""

    @property
    def folder(self) -> str:
        """Its path over there, for a message."""
        ...

    def at(self, payload: Payload) -> str:
        """Where a pushed payload is, as a task in this folder names it."""
        ...

    def play(self, task: Task, on_line: OnLine) -> Finished:
        """Do a task in this folder to its end.

        Raises:
            DeviceError: the place cannot do it, or vanished.
        """
        ...

    def pull(self, name: str) -> bytes:
        """A file that the run wrote into this folder, whole."""
        ...


class Place(Protocol):
    """`label` is the place's full name, such as qemu:cortex-a76: it goes into the record."""

    @property
    def label(self) -> str: ...

    def info(self) -> PlaceInfo:
        """Look at the place; DeviceError when it cannot be used, MissingDependency when a tool lacks here."""
        ...

    def push(self, payload: Payload, progress: Progress) -> None:
        """Bring there what is not there yet, checked by hash; `progress` counts bytes."""
        ...

    def workspace(self, *, keep: bool) -> AbstractContextManager[Workspace]:
        """A fresh folder for one run; on leaving, what still runs there is ended, and the folder goes unless `keep`."""
        ...


@dataclass(frozen=True, kw_only=True)
class PlaceStatus:
    """A place as `device list` shows it. `lacks`: what stands between it and a run, empty when it is ready."""

    where: str
    what: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PlaceKind:
    """`open` makes the place from what follows the colon, or None; `preset` is how the runner is built for it.

    preset: empty where nothing is built, for the place brings its own runner. refuses: the options of `device run` that
    it cannot take.
    """

    name: str
    summary: str
    preset: str
    open: Callable[[str | None], Place]
    list: Callable[[], Iterator[PlaceStatus]]
    refuses: tuple[str, ...] = ()


def check_features(label: str, info: PlaceInfo, needed: tuple[str, ...], target: str) -> None:
    """Refuse an Arm CPU that lacks what the target needs, by name; a CPU of another kind is not held to Arm's names.

    Raises:
        DeviceError: a feature is missing.
    """
    missing = [feature for feature in needed if feature not in info.cpu_features]
    if info.machine == ARM and missing:
        raise DeviceError(
            f"the CPU of {label} lacks {', '.join(missing)}, which the target {target} needs; take another device, "
            "or build the bundle for another target"
        )
