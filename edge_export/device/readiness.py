"""Whether this machine has what a kind of place needs. It brings nothing: `setup` does."""

from edge_export.device import sdk, tools
from edge_export.errors import MissingDependency


def lacking(place: str) -> tuple[str, ...]:
    """What a kind of place needs and this machine does not have, in words; empty when all is here."""
    lacks = [f"{tool.provides} is not installed" for tool in tools.missing([place])]
    try:
        _ = sdk.host_sdk() if place == "host" else sdk.arm_sdk()
    except MissingDependency as error:
        lacks.append(str(error).partition(";")[0])
    return tuple(lacks)
