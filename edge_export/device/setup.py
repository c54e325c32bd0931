"""Brings what places need and this machine lacks: Debian packages, and the Arm SDK of the executorch in use."""

from collections.abc import Callable
from dataclasses import dataclass

from edge_export.device import sdk, tools
from edge_export.device.tools import NEEDED
from edge_export.errors import MissingDependency, UsageError
from edge_export.progress import Progress, silent

DEFAULT_PLACES = ("host", "qemu")


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """What a setup found and brought. sdks: place -> folder of its SDK."""

    places: tuple[str, ...]
    installed: tuple[str, ...]
    version: str
    sdks: dict[str, str]


def lacking(place: str) -> tuple[str, ...]:
    """What a kind of place needs and this machine does not have, in words; empty when all is here."""
    lacks = [f"{tool.seen} is not installed" for tool in tools.missing([place])]
    try:
        _ = sdk.host_sdk() if place == "host" else sdk.arm_sdk()
    except MissingDependency as error:
        lacks.append(str(error).partition(";")[0])
    return tuple(lacks)


def set_up(place: str | None, agree: Callable[[str], bool], progress: Progress = silent) -> SetUp:
    """Make ready for one kind of place, or for all that need no device. `agree` is asked before anything is installed.

    Raises:
        UsageError: no such place, or `agree` said no.
        MissingDependency: a tool is missing and cannot be installed from here; the message has the command.
        FetchError: the Arm SDK cannot be fetched.
    """
    if place is not None and place not in NEEDED:
        raise UsageError(f"no place called {place!r}; choose from {', '.join(NEEDED)}")
    places = DEFAULT_PLACES if place is None else (place,)
    version = sdk.installed_version()
    lacking = tools.missing(places)
    tools.install(lacking, agree, progress)
    sdks = {}
    for name in places:
        found = sdk.host_sdk() if name == "host" else sdk.fetch_arm_sdk(progress)
        sdks[name] = str(found.folder)
    return SetUp(places=places, installed=tuple(tool.package for tool in lacking), version=version, sdks=sdks)
