"""Whether this machine has what a kind of place needs. It brings nothing: `setup` does."""

from collections.abc import Callable

from edge_export.device import sdk, tools
from edge_export.errors import MissingDependency

SDKS: dict[str, Callable[[], sdk.Sdk]] = {"host": sdk.host_sdk, "qemu": sdk.arm_sdk, "adb": sdk.arm_sdk}
"""What the runner is built with, of each kind of place that has one built."""


def lacking(place: str) -> tuple[str, ...]:
    """What a kind of place needs and this machine does not have, in words; empty when all is here."""
    lacks = [f"{tool.provides} is not installed" for tool in tools.missing([place])]
    if place not in SDKS:
        return tuple(lacks)
    try:
        SDKS[place]()
    except MissingDependency as error:
        lacks.append(str(error).partition(";")[0])
    return tuple(lacks)
