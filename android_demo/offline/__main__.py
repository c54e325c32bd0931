"""`python -m android_demo.offline`: parses, calls, shows. The only place of the package that prints and exits."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.command_line import guarded
from edge_export.console import show_json, show_line, show_progress

if TYPE_CHECKING:
    from android_demo.offline.apk_check import Apk
    from android_demo.offline.build import Goal, Outcome

PROJECT = Path(__file__).parent.parent
PROGRAM = "android"
LEFT = "run the same command again"

app = typer.Typer(
    name=PROGRAM,
    help="Build and test the Kotlin of android_demo without Gradle, of the versions in libs.versions.toml.",
    epilog="Example: python -m android_demo.offline check",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ProjectOption = Annotated[Path, typer.Option("--project", metavar="DIR", help="A Gradle project laid out as this one.")]
OnlyArgument = Annotated[str | None, typer.Argument(metavar="[MODULE]", help="Only this one, on what it stands on.")]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", metavar="DIR", help="What the APK carries; else the built-in model's bundle.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="What was done as JSON.")]


@app.command()
def fetch(project: ProjectOption = PROJECT, as_json: JsonOption = False) -> None:
    """Download what the other commands need and is not here yet, each file checked by its sha256."""
    _make("fetch", project, as_json)


@app.command()
def lint(project: ProjectOption = PROJECT, as_json: JsonOption = False) -> None:
    """Read how the Kotlin is written: ktlint's standard rules, and no function above 40 lines."""
    _make("lint", project, as_json)


@app.command()
def build(only: OnlyArgument = None, project: ProjectOption = PROJECT, as_json: JsonOption = False) -> None:
    """Compile the modules and their tests, and check that the oldest Android has what they call."""
    _make("build", project, as_json, only=only)


@app.command("test")
def run_tests(only: OnlyArgument = None, project: ProjectOption = PROJECT, as_json: JsonOption = False) -> None:
    """Build, and run the tests on the JVM; those of Android modules under Robolectric."""
    _make("test", project, as_json, only=only)


@app.command()
def dex(only: OnlyArgument = None, project: ProjectOption = PROJECT, as_json: JsonOption = False) -> None:
    """Build, make dex of it by R8, and run the tests on a jar that was made back from that dex."""
    _make("dex", project, as_json, only=only)


@app.command()
def apk(project: ProjectOption = PROJECT, bundle: BundleOption = None, as_json: JsonOption = False) -> None:
    """Make the app's APK with a bundle in it, sign it with a debug key, and check it; no test is run."""
    _make("apk", project, as_json, bundle=bundle)


@app.command()
def check(project: ProjectOption = PROJECT, bundle: BundleOption = None, as_json: JsonOption = False) -> None:
    """All of it: lint, build, test, dex, APK."""
    _make("check", project, as_json, bundle=bundle)


@app.command()
def lock(as_json: JsonOption = False) -> None:
    """Write offline/lock.json anew, after a version in libs.versions.toml was changed; look at the difference."""
    from android_demo.offline.build import LOCK
    from android_demo.offline.catalog import read_catalog
    from android_demo.offline.relock import relock

    catalog = read_catalog(PROJECT / "gradle" / "libs.versions.toml")
    with show_progress() as progress:
        artifacts = relock(LOCK, catalog, progress)
    size = sum(artifact.bytes for artifact in artifacts)
    if as_json:
        show_json({"lock": str(LOCK), "artifacts": len(artifacts), "bytes": size})
    else:
        show_line(f"{LOCK}: {len(artifacts)} files, {size / 1e6:.0f} MB")


def _make(goal: "Goal", project: Path, as_json: bool, *, only: str | None = None, bundle: Path | None = None) -> None:
    from android_demo.offline.build import make
    from android_demo.offline.errors import ToolFailed

    try:
        with show_progress() as progress:
            outcome = make(goal, project.absolute(), progress, only=only, bundle=bundle)
    except ToolFailed as error:
        for line in error.printed:
            print(line, file=sys.stderr)
        raise
    if as_json:
        show_json(asdict(outcome))
    else:
        for line in _lines(outcome):
            show_line(line)


def _lines(outcome: "Outcome") -> list[str]:
    lines = []
    if outcome.linted is not None:
        lines.append(f"{outcome.linted} Kotlin files are written by the rules")
    if outcome.classes is not None:
        lines.append(f"{outcome.classes} classes, all of whose calls the oldest Android has")
    for what, tested in (("on the JVM", outcome.on_jvm), ("on the jar made from dex", outcome.from_dex)):
        if tested is not None:
            skipped = f", {tested.skipped} skipped" if tested.skipped else ""
            lines.append(f"{tested.passed} tests passed {what}{skipped}")
    if outcome.dex_bytes is not None:
        lines.append(f"{outcome.dex_bytes / 1e6:.1f} MB of dex, in which every reference resolves")
    if outcome.apk is not None:
        lines += _lines_of_apk(outcome.apk)
    return [*lines, f"done in {outcome.seconds:.0f} s"]


def _lines_of_apk(found: "Apk") -> list[str]:
    sizes = f"{found.bytes / 1e6:.1f} MB, {found.bytes_without_bundle / 1e6:.1f} MB of it beside the bundle"
    lines = [f"{found.path}: {sizes}; signed by a debug key ({found.signature})"]
    lines.append(f"it asks for {', '.join(found.permissions) or 'no permission'}")
    if not found.abis:
        lines.append("it plays nothing on a phone: ExecuTorch's library is not in it, and only Gradle's build has it")
    return lines


if __name__ == "__main__":
    guarded(app, PROGRAM, extra="dev", left=LEFT)
