"""The whole build: which steps in which order for what is asked, and of which files.

It shows nothing, and knows no tool's options.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from android_demo.offline import apk, archives, bundles, dex, resources
from android_demo.offline import module as steps
from android_demo.offline.apk_check import Apk, check_apk
from android_demo.offline.catalog import Catalog, read_catalog
from android_demo.offline.downloads import bring
from android_demo.offline.jdk import Jdk, find_jdk
from android_demo.offline.lint import lint
from android_demo.offline.lock import LIBRARIES, read_lock
from android_demo.offline.manifest import Identity
from android_demo.offline.module import Tested, Tools
from android_demo.offline.platform import lay_out
from android_demo.offline.project import Module, read_modules
from edge_export.errors import UsageError
from edge_export.progress import Progress
from edge_export.staging import output_error

Goal = Literal["fetch", "lint", "build", "test", "dex", "apk", "check"]
Files = dict[str, tuple[Path, ...]]
Step = tuple[str, Callable[[], None]]
FIXTURES = Path(__file__).parent.parent.parent / "tests" / "fixtures"
LOCK = Path(__file__).parent / "lock.json"

BUILD = ("compiler", "library", "test", "api", "signature")
ALL = tuple(dict.fromkeys(library.use for library in LIBRARIES))
ANDROID = ("android", "aapt2", "robolectric", "sandbox")
USES: dict[Goal, tuple[str, ...]] = {
    "fetch": ALL,
    "lint": ("lint",),
    "build": BUILD,
    "test": BUILD,
    "dex": (*BUILD, "r8", "dex2jar"),
    "apk": (*BUILD, "r8", "sign"),
    "check": ALL,
}
"""What of the lock is needed, beside what Android modules need."""


@dataclass(kw_only=True)
class Outcome:
    """What was done, all of it without a fault. None: was not asked for. seconds: all of it, downloads included."""

    linted: int | None = None
    classes: int | None = None
    on_jvm: Tested | None = None
    dex_bytes: int | None = None
    from_dex: Tested | None = None
    apk: Apk | None = None
    seconds: float = 0.0


def make(
    goal: Goal, project: Path, progress: Progress, *, only: str | None = None, bundle: Path | None = None
) -> Outcome:
    """Do what `goal` asks for in the Gradle project at `project`; what is made lies in its build/offline.

    `only`: the module that it is done for, and as far as needed for those that it stands on; None: all of them.
    `bundle`: what the APK carries; None: the built-in model's bundle.

    Raises:
        UsageError: it is no such project, or the lock is not of its versions.
        MissingDependency: Java or Maven is missing or too old.
        FetchError: something cannot be downloaded, or is not what the lock says.
        BundleError: `bundle` is none.
        ToolFailed: it does not compile, a test fails, a check finds something.
        OutputError: the disk.
    """
    began = time.monotonic()
    outcome = Outcome()
    try:
        catalog = read_catalog(project / "gradle" / "libs.versions.toml")
        modules = () if goal in ("fetch", "lint") else read_modules(project, only)
        given = None if bundle is None else bundles.checked(bundle)
        jdk = find_jdk(int(catalog.version("jdk")))
        files = _files(goal, catalog, modules, progress)
        with locked(project, progress) if modules else nullcontext():
            tools = _tools(project, catalog, jdk, files, modules, progress)
            plan = list(_Build(goal, project, modules, only, given, tools, outcome).steps())
            for number, (what, do) in enumerate(plan):
                progress(what, number, len(plan))
                do()
    except OSError as error:
        raise output_error(error, Path(error.filename or project)) from error
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


@dataclass
class _Build:
    """The steps, and what passes from one to the next."""

    goal: Goal
    project: Path
    modules: tuple[Module, ...]
    only: str | None
    bundle: Path | None
    tools: Tools
    outcome: Outcome
    dexes: dict[str, tuple[Path, ...]] = field(default_factory=dict)

    def steps(self) -> Iterator[Step]:
        """What is to be done, each with what it is called while it is done."""
        if self.goal in ("lint", "check"):
            yield "reading how the Kotlin is written", self.lint
        for module in self.modules:
            yield from self.steps_of(module)
        for module in self.tops() if self.goal in ("dex", "apk", "check") else ():
            yield f"making dex of {module.name} and its libraries", partial(self.make_dex, module)
            if self.goal != "apk":
                yield from self.steps_from_dex(module)
            if module.kind == "application" and self.goal != "dex":
                if self.bundle is None:
                    yield "building the built-in model's bundle", self.build_bundle
                yield f"packing and signing {module.name}", partial(self.pack, module)

    def steps_of(self, module: Module) -> Iterator[Step]:
        if module.android:
            yield f"linking the resources of {module.name}", partial(self.link, module)
        yield f"compiling {module.name}", partial(self.compile, module)
        sdk = self.tools.min_sdk
        yield f"checking that Android's API {sdk} has what {module.name} calls", partial(self.check, module)
        if self.goal != "apk" and self.is_tested(module):
            yield f"compiling the tests of {module.name}", partial(steps.compile_tests, module, self.tools)
            if self.goal in ("test", "check"):
                yield f"testing {module.name} on the JVM", partial(self.test, module)

    def steps_from_dex(self, module: Module) -> Iterator[Step]:
        tested = [each for each in module.all if not each.android and self.is_tested(each)]
        if tested:
            yield "turning dex back into a jar", partial(self.from_dex, module)
        for each in tested:
            yield f"testing {each.name} on the jar made from dex", partial(self.test_from_dex, module, each)

    def is_tested(self, module: Module) -> bool:
        return (module.test / "kotlin").is_dir() and self.only in (None, module.name)

    def tops(self) -> list[Module]:
        """The applications; where there is none, the modules that no other stands on."""
        applications = [module for module in self.modules if module.kind == "application"]
        below = {need.name for module in self.modules for need in module.needs}
        if self.goal == "apk" and not applications:
            raise UsageError(f"{self.only or self.project} has no application to make an APK of; name one that has")
        return applications or [module for module in self.modules if module.name not in below]

    def lint(self) -> None:
        self.outcome.linted = lint(self.project, self.tools.jdk, self.tools.files["lint"][0])

    def link(self, module: Module) -> None:
        emptied(module.work)
        identity = Identity(
            application_id=module.application_id or f"{module.namespace}.test",
            version_code=module.version_code or "1",
            version_name=module.version_name or "1",
            min_sdk=self.tools.min_sdk,
            target_sdk=self.tools.target_sdk,
        )
        resources.link(module, identity, self.tools.platform, self.tools.jdk, self.tools.jvm_target)
        resources.check_languages(module)

    def compile(self, module: Module) -> None:
        if not module.android:
            emptied(module.work)
        steps.compile_main(module, self.tools)
        if module.android:
            libraries = steps.libraries_of(module, self.tools)
            resources.check_classes(module, (*libraries, self.tools.platform.api))
        self.outcome.classes = (self.outcome.classes or 0) + archives.count_classes(module.jar)

    def check(self, module: Module) -> None:
        steps.check_api(module, self.tools)

    def test(self, module: Module) -> None:
        tested = steps.run_tests(module, self.tools, steps.program_of(module, self.tools), "the JVM")
        self.outcome.on_jvm = tested + (self.outcome.on_jvm or Tested())

    def make_dex(self, module: Module) -> None:
        self.dexes[module.name] = dex.make_dex(module, self.tools)
        size = sum(path.stat().st_size for path in self.dexes[module.name])
        self.outcome.dex_bytes = (self.outcome.dex_bytes or 0) + size

    def from_dex(self, module: Module) -> None:
        dex.from_dex(module, self.tools, self.dexes[module.name])

    def test_from_dex(self, module: Module, tested: Module) -> None:
        program = dex.program_from_dex(module, tested, self.tools)
        result = steps.run_tests(tested, self.tools, program, "the jar made from dex")
        self.outcome.from_dex = result + (self.outcome.from_dex or Tested())

    def build_bundle(self) -> None:
        self.bundle = bundles.built_in(_folder(self.project))

    def pack(self, module: Module) -> None:
        parts = apk.Parts(
            dexes=self.dexes[module.name],
            services=(*(each.jar for each in module.all), *steps.libraries_of(module, self.tools)),
            bundle=self.bundle,
        )
        folder, signed = _folder(self.project), module.work / "signed.apk"
        out = folder / f"{module.name}.apk"
        out.unlink(missing_ok=True)
        signature = apk.sign(
            apk.pack(module, parts),
            signed,
            folder / "debug.keystore",
            self.tools.jdk,
            self.tools.files["sign"],
            self.tools.min_sdk,
        )
        found = check_apk(
            signed,
            self.tools.platform.aapt2,
            bundle=apk.BUNDLE,
            min_sdk=self.tools.min_sdk,
            target_sdk=self.tools.target_sdk,
            signature=signature,
        )
        signed.rename(out)
        self.outcome.apk = replace(found, path=str(out))


def _files(goal: Goal, catalog: Catalog, modules: tuple[Module, ...], progress: Progress) -> Files:
    """What the goal needs of the lock, by use; downloaded if it is not here."""
    android = any(module.android for module in modules)
    uses = tuple(dict.fromkeys((*USES[goal], *(ANDROID if android else ()))))
    artifacts = read_lock(LOCK, catalog).of(*uses)
    places = bring(artifacts, progress)
    return {use: tuple(places[each] for each in artifacts if use in each.uses) for use in uses}


def _tools(
    project: Path, catalog: Catalog, jdk: Jdk, files: Files, modules: tuple[Module, ...], progress: Progress
) -> Tools:
    jvm_target, platform = catalog.version("jvm-target"), None
    if any(module.android for module in modules):
        progress("laying out what Android modules are compiled against", 0, 1)
        platform = lay_out(_folder(project) / "platform", files, jdk, jvm_target)
    return Tools(
        jdk=jdk,
        files=files,
        platform_if_android=platform,
        fixtures=FIXTURES,
        jvm_target=jvm_target,
        min_sdk=catalog.version("min-sdk"),
        target_sdk=catalog.version("target-sdk"),
    )


def _folder(project: Path) -> Path:
    return project / "build" / "offline"


@contextmanager
def locked(project: Path, progress: Progress) -> Iterator[None]:
    """The project's build folder for this build alone; another one is waited for."""
    folder = _folder(project)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another build of {project}", 0, 1)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def emptied(work: Path) -> None:
    """A folder for what is made of a module, with nothing in it."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
