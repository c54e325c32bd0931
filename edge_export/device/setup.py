"""Brings what places need and this machine lacks: Debian packages, the Arm SDK of the executorch in use, and LiteRT;
and builds the runner, so that the first run is as quick as the second.

Whoever plays no LiteRT bundles needs none: where it cannot be brought, that is a note and no error.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge_export.device import app, arm_python, sdk, tools
from edge_export.device.build import build_runner
from edge_export.device.places import PLACES
from edge_export.errors import EdgeExportError, UsageError
from edge_export.progress import Progress, silent

DEFAULT_PLACES = ("host", "qemu")


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """What a setup found and brought. sdks: place -> folder of its SDK. runners: place -> folder of the runner for it.
    litert: the folder of LiteRT for Arm, or none.

    version: of ExecuTorch; None where no place needs it. notes: what could not be brought, and is not needed by all.
    """

    places: tuple[str, ...]
    installed: tuple[str, ...]
    version: str | None
    sdks: dict[str, str]
    runners: dict[str, str]
    litert: str | None
    notes: tuple[str, ...]


def set_up(place: str | None, agree: Callable[[str], bool], progress: Progress = silent) -> SetUp:
    """Make ready for one kind of place, or for all that need no device. `agree` is asked before anything is installed.

    Raises:
        UsageError: no such place, or `agree` said no.
        MissingDependency: a tool is missing and cannot be installed from here; the message has the command.
        FetchError: the Arm SDK cannot be fetched.
        DeviceError: the runner does not compile.
    """
    if place is not None and place not in tools.NEEDED:
        raise UsageError(f"no place called {place!r}; choose from {', '.join(tools.NEEDED)}")
    places = DEFAULT_PLACES if place is None else (place,)
    built = [name for name in places if PLACES[name].preset]
    version = sdk.installed_version() if built else None
    missing = tools.missing(places)
    tools.install(missing, agree, progress)
    sdks = {}
    for name in built:
        found = sdk.host_sdk() if name == "host" else sdk.fetch_arm_sdk(progress)
        sdks[name] = str(found.folder)
    litert, notes = _litert(progress) if "qemu" in places else (None, ())
    if "app" in places:
        notes = (*notes, f"what comes onto the device is the app: {app.INSTALL}")
    return SetUp(
        places=places,
        installed=tuple(tool.package for tool in missing),
        version=version,
        sdks=sdks,
        runners={name: str(build_runner(PLACES[name].preset, progress).folder) for name in built},
        litert=litert,
        notes=notes,
    )


def _litert(progress: Progress) -> tuple[str | None, tuple[str, ...]]:
    """The folder of LiteRT for Arm, or a note of what is in the way."""
    try:
        return str(arm_python.fetch_arm_python(progress).folder), ()
    except EdgeExportError as error:
        return None, (f"LiteRT bundles cannot be played on qemu: {error}",)
