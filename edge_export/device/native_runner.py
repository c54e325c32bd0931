"""edge-run as the runner of a place: built here if need be."""

from edge_export.device.build import RUNNER, TOOLCHAINS, build_runner
from edge_export.device.place import Payload, PlaceKind
from edge_export.device.runner import HERE, Runner
from edge_export.progress import Progress


def native_runner(kind: PlaceKind, progress: Progress) -> Runner:
    """edge-run; where the device has another loader, started by its own, and keeping no packed weights there."""
    built = build_runner(kind.preset, progress)
    payload = Payload(name="runner-executorch", folder=built.folder, files=built.files)
    loader = TOOLCHAINS[kind.preset].loader
    if loader is None:
        return Runner(payload=payload, words=(f"{HERE}/{RUNNER}",))
    start = (f"{HERE}/{loader}", "--library-path", HERE)
    return Runner(payload=payload, words=(*start, f"{HERE}/{RUNNER}", "--no-cache"))
