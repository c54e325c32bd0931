"""Brings what places need and this machine lacks: Debian packages, the Arm SDK of the executorch in use, and LiteRT.

Whoever plays no LiteRT bundles needs none: where it cannot be brought, that is a note and no error.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge_export.device import arm_python, sdk, tools
from edge_export.errors import EdgeExportError, UsageError
from edge_export.progress import Progress, silent

DEFAULT_PLACES = ("host", "qemu")


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """What a setup found and brought. sdks: place -> folder of its SDK. litert: the folder of LiteRT for Arm, or none.

    notes: what could not be brought, and is not needed by all.
    """

    places: tuple[str, ...]
    installed: tuple[str, ...]
    version: str
    sdks: dict[str, str]
    litert: str | None
    notes: tuple[str, ...]


def set_up(place: str | None, agree: Callable[[str], bool], progress: Progress = silent) -> SetUp:
    """Make ready for one kind of place, or for all that need no device. `agree` is asked before anything is installed.

    Raises:
        UsageError: no such place, or `agree` said no.
        MissingDependency: a tool is missing and cannot be installed from here; the message has the command.
        FetchError: the Arm SDK cannot be fetched.
    """
    if place is not None and place not in tools.NEEDED:
        raise UsageError(f"no place called {place!r}; choose from {', '.join(tools.NEEDED)}")
    places = DEFAULT_PLACES if place is None else (place,)
    version = sdk.installed_version()
    missing = tools.missing(places)
    tools.install(missing, agree, progress)
    sdks = {}
    for name in places:
        found = sdk.host_sdk() if name == "host" else sdk.fetch_arm_sdk(progress)
        sdks[name] = str(found.folder)
    litert, notes = _litert(progress) if "qemu" in places else (None, ())
    installed = tuple(tool.package for tool in missing)
    return SetUp(places=places, installed=installed, version=version, sdks=sdks, litert=litert, notes=notes)


def _litert(progress: Progress) -> tuple[str | None, tuple[str, ...]]:
    """The folder of LiteRT for Arm, or a note of what is in the way."""
    try:
        return str(arm_python.fetch_arm_python(progress).folder), ()
    except EdgeExportError as error:
        return None, (f"LiteRT bundles cannot be played on qemu: {error}",)
