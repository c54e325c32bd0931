"""The device families a bundle can be made for. To add one, add an entry; everything else reads this table.

XNNPACK picks its kernels on the device, so programs do not differ between targets of one backend: what a
target decides is the backend it gets by default, how an app packs the bundle, and the least its CPU must have.
"""

from dataclasses import dataclass

from edge_export.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Target:
    """`cpu_features` are named as in the `Features` line of /proc/cpuinfo on Arm."""

    name: str
    summary: str
    backend: str
    packaging: str
    cpu_features: tuple[str, ...] = ()


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="android-arm64",
            summary="Android phones and tablets, arm64-v8a",
            backend="executorch",
            packaging="copy into src/main/assets; list .pte and .tflite in noCompress so they can be mapped",
            cpu_features=("asimd",),
        ),
        Target(
            name="ios-arm64",
            summary="iPhone and iPad",
            backend="executorch",
            packaging="add as a folder reference to the app's resources",
            cpu_features=("asimd", "fphp", "asimdhp"),
        ),
        Target(
            name="linux-arm64",
            summary="Arm boards and servers under Linux",
            backend="litert",
            packaging="a plain folder anywhere on the device",
            cpu_features=("asimd",),
        ),
        Target(
            name="macos-arm64",
            summary="Macs with Apple silicon",
            backend="executorch",
            packaging="a plain folder, or the app's resources",
            cpu_features=("asimd", "fphp", "asimdhp", "asimddp"),
        ),
        Target(
            name="host",
            summary="this machine, to try a bundle before it goes to a device",
            backend="executorch",
            packaging="a plain folder",
        ),
    )
}


def target_for(name: str) -> Target:
    """The target called `name`; UsageError lists the choices when there is none."""
    if name not in TARGETS:
        raise UsageError(f"no target called {name!r}; choose from {', '.join(TARGETS)}")
    return TARGETS[name]
