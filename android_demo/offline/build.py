"""The whole build: which steps in which order for what is asked, and of which files.

It shows nothing, and knows no tool's options.
"""

import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from android_demo.offline import module as steps
from android_demo.offline.archives import count_classes
from android_demo.offline.catalog import read_catalog
from android_demo.offline.downloads import bring
from android_demo.offline.jdk import find_jdk
from android_demo.offline.lint import lint
from android_demo.offline.lock import LIBRARIES, WHEELS, read_lock
from android_demo.offline.module import Module, Tested, Tools
from edge_export.progress import Progress
from edge_export.staging import output_error

Goal = Literal["fetch", "lint", "build", "test", "dex", "check"]
FIXTURES = Path(__file__).parent.parent.parent / "tests" / "fixtures"
LOCK = Path(__file__).parent / "lock.json"
MODULES = ("core",)

BUILD = ("compiler", "library", "test", "api", "signature")
USES: dict[Goal, tuple[str, ...]] = {
    "fetch": tuple(dict.fromkeys(each.use for each in (*LIBRARIES, *WHEELS))),
    "lint": ("lint",),
    "build": BUILD,
    "test": BUILD,
    "dex": (*BUILD, "r8", "dex2jar"),
    "check": (*BUILD, "r8", "dex2jar", "lint"),
}
"""What of the lock is needed."""

STEPS: dict[Goal, int] = {"fetch": 0, "lint": 1, "build": 3, "test": 4, "dex": 6, "check": 8}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done, all of it without a fault. None: was not asked for. seconds: all of it, downloads included."""

    linted: int | None = None
    classes: int | None = None
    on_jvm: Tested | None = None
    dex_bytes: int | None = None
    from_dex: Tested | None = None
    seconds: float = 0.0


def make(goal: Goal, project: Path, progress: Progress) -> Outcome:
    """Do what `goal` asks for in the Gradle project at `project`; what is made lies in its build/offline.

    Raises:
        UsageError: it is no such project, or the lock is not of its versions.
        MissingDependency: Java, Maven or pip is missing or too old.
        FetchError: something cannot be downloaded, or is not what the lock says.
        ToolFailed: it does not compile, a test fails, a check finds something.
        OutputError: the disk.
    """
    began = time.monotonic()
    try:
        tools = _tools(goal, project, progress)
        say = _counted(progress, STEPS[goal])
        outcome = Outcome()
        if goal in ("lint", "check"):
            say("reading how the Kotlin is written")
            outcome = replace(outcome, linted=lint(project, tools.jdk, tools.files["lint"][0]))
        for name in MODULES if goal in ("build", "test", "dex", "check") else ():
            with work_folder(project, name, progress) as work:
                module = Module(name=name, sources=project / name / "src", work=work, fixtures=FIXTURES)
                outcome = _build(goal, module, tools, outcome, say)
    except OSError as error:
        raise output_error(error, Path(error.filename or project)) from error
    return replace(outcome, seconds=round(time.monotonic() - began, 1))


def _build(goal: Goal, module: Module, tools: Tools, outcome: Outcome, say: Callable[[str], None]) -> Outcome:
    say(f"compiling {module.name}")
    steps.compile_main(module, tools)
    say(f"checking that Android's API {tools.min_sdk} has what {module.name} calls")
    steps.check_api(module, tools)
    say(f"compiling the tests of {module.name}")
    steps.compile_tests(module, tools)
    outcome = replace(outcome, classes=count_classes(module.jar))
    if goal in ("test", "check"):
        say(f"testing {module.name} on the JVM")
        on_jvm = steps.run_tests(module, tools, (module.jar, *tools.files["library"]), "the JVM")
        outcome = replace(outcome, on_jvm=on_jvm)
    if goal in ("dex", "check"):
        say(f"making dex of {module.name} and its libraries")
        dexes = steps.make_dex(module, tools)
        say("turning dex back into a jar")
        program = steps.from_dex(module, tools, dexes)
        say(f"testing {module.name} on the jar made from dex")
        from_dex = steps.run_tests(module, tools, program, "the jar made from dex")
        outcome = replace(outcome, from_dex=from_dex, dex_bytes=sum(dex.stat().st_size for dex in dexes))
    return outcome


def _tools(goal: Goal, project: Path, progress: Progress) -> Tools:
    catalog = read_catalog(project / "gradle" / "libs.versions.toml")
    jdk = find_jdk(int(catalog.version("jdk")))
    artifacts = read_lock(LOCK, catalog).of(*USES[goal])
    places = bring(artifacts, progress)
    files = {use: tuple(places[each] for each in artifacts if use in each.uses) for use in USES[goal]}
    return Tools(jdk=jdk, files=files, jvm_target=catalog.version("jvm-target"), min_sdk=catalog.version("min-sdk"))


def _counted(progress: Progress, total: int) -> Callable[[str], None]:
    """Say what is done next, of `total` things."""
    numbers = itertools.count()
    return lambda what: progress(what, next(numbers), total)


@contextmanager
def work_folder(project: Path, name: str, progress: Progress) -> Iterator[Path]:
    """An empty folder for what is made of a module; another build of the same project is waited for."""
    work = project / "build" / "offline" / name
    work.mkdir(parents=True, exist_ok=True)
    handle = os.open(work.parent / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another build of {name} in {project}", 0, 1)
            fcntl.flock(handle, fcntl.LOCK_EX)
        shutil.rmtree(work)
        work.mkdir()
        yield work
    finally:
        os.close(handle)
