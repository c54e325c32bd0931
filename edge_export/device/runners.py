"""The runners: one for each backend and kind of place where its bundles can be played."""

from edge_export.device.app import app_runner
from edge_export.device.native_runner import native_runner
from edge_export.device.place import PlaceKind
from edge_export.device.python_runner import arm_runner, host_runner
from edge_export.device.runner import MakeRunner
from edge_export.errors import UsageError

RUNNERS: dict[str, dict[str, MakeRunner]] = {
    "executorch": {"host": native_runner, "qemu": native_runner, "adb": native_runner, "app": app_runner},
    "litert": {"host": host_runner, "qemu": arm_runner},
}
"""backend -> kind of place -> what makes its runner."""


def runner_for(backend: str, kind: PlaceKind) -> MakeRunner:
    """What makes the runner; UsageError when bundles of this backend cannot be played there."""
    makers = RUNNERS.get(backend, {})
    if kind.name not in makers:
        others = " or ".join(makers)
        instead = f"take --on {others}, or " if others else ""
        raise UsageError(
            f"{backend} bundles cannot be played on {kind.name} yet; {instead}build it with --backend executorch"
        )
    return makers[kind.name]
