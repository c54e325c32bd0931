"""The places where a bundle can be played, by name.

host            this machine
qemu[:cpu]      an Arm CPU, emulated here
adb[:serial]    an Android device on a cable or in the network
app[:serial]    the demo app on such a device
"""

from edge_export.device import adb, app, host, qemu
from edge_export.device.place import PlaceKind
from edge_export.errors import UsageError

PLACES: dict[str, PlaceKind] = {
    kind.name: kind
    for kind in (
        PlaceKind(
            name="host",
            summary="this machine",
            preset="host",
            open=host.open_host,
            list=host.list_host,
        ),
        PlaceKind(
            name="qemu",
            summary="an emulated Arm CPU",
            preset="linux-arm64",
            open=qemu.open_qemu,
            list=qemu.list_cpus,
        ),
        PlaceKind(
            name="adb",
            summary="an Android device",
            preset="linux-arm64",
            open=adb.open_adb,
            list=adb.list_devices,
        ),
        PlaceKind(
            name="app",
            summary="the demo app on an Android device",
            preset="",
            open=app.open_app,
            list=app.list_apps,
            refuses=app.REFUSES,
        ),
    )
}


def split_where(where: str) -> tuple[PlaceKind, str | None]:
    """The kind of place, and what follows the colon; UsageError lists the choices when there is none."""
    name, colon, detail = where.partition(":")
    if name not in PLACES:
        raise UsageError(f"no place called {where!r}; choose from host, qemu[:cpu], adb[:serial], app[:serial]")
    if colon and not detail:
        raise UsageError(f"nothing follows the colon in {where!r}; say {name}, or see `edge-export device list`")
    return PLACES[name], detail or None
