"""What travels besides the bundle, and the command line that plays it: one Runner for each backend and kind of place.

All runners take the options of `edge-run`. It knows nothing of what they do with them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_export.device.place import Parcel, PlaceKind
from edge_export.errors import UsageError
from edge_export.progress import Progress

HERE = "{runner}"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """words: the command, in which {runner} stands for the parcel's folder on the device; options follow.

    name: what begins its lines of error, such as "edge-run: error: ".
    """

    parcel: Parcel
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    name: str = "edge-run"

    def argv(self, at: str, options: list[str]) -> list[str]:
        """The whole command line, `at` being where the parcel is."""
        return [*(word.replace(HERE, at) for word in self.words), *options]


MakeRunner = Callable[[PlaceKind, Progress], Runner]


def native_runner(kind: PlaceKind, progress: Progress) -> Runner:
    """edge-run, built here if need be; where the device has another loader, started by its own."""
    from edge_export.device.build import RUNNER, TOOLCHAINS, build_runner

    built = build_runner(kind.preset, progress)
    loader = TOOLCHAINS[kind.preset].loader
    start = (f"{HERE}/{loader}", "--library-path", HERE) if loader else ()
    parcel = Parcel(name="runner-executorch", folder=built.folder, files=built.files)
    return Runner(parcel=parcel, words=(*start, f"{HERE}/{RUNNER}"))


def python_runner(kind: PlaceKind, progress: Progress) -> Runner:
    """The reference runtime, under this Python, or under the one for Arm that `device setup` brought."""
    from edge_export.device import litert_arm

    make = litert_arm.host_runner if kind.name == "host" else litert_arm.arm_runner
    return make(kind, progress)


RUNNERS: dict[str, dict[str, MakeRunner]] = {
    "executorch": {"host": native_runner, "qemu": native_runner, "adb": native_runner},
    "litert": {"host": python_runner, "qemu": python_runner},
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
