"""A module of the Gradle project: compiled, held against what Android has, and tested.

The steps know their tools' options; where the tools come from, and who shows how far they are, is not known here.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import Jdk
from android_demo.offline.platform import Platform
from android_demo.offline.project import Module
from android_demo.offline.resources import linked_of
from edge_export.errors import UsageError

HERE = Path(__file__).parent
KOTLINC = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
JUNIT = "org.junit.platform.console.ConsoleLauncher"
COUNT = re.compile(r"^\[ *(\d+) tests (found|successful|failed|skipped|aborted) *\]$", re.MULTILINE)
SANDBOX_SDK = "34"  # of the catalog's android-sandbox
CONFIG = "com/android/tools/test_config.properties"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What the steps need. files: by use, as the lock names them. fixtures: what the tests read.

    platform_if_android: None where no module is Android's.
    """

    jdk: Jdk
    files: dict[str, tuple[Path, ...]]
    platform_if_android: Platform | None
    fixtures: Path
    jvm_target: str
    min_sdk: str
    target_sdk: str

    @property
    def platform(self) -> Platform:
        if self.platform_if_android is None:
            raise AssertionError("no Android module, and yet its platform is asked for")
        return self.platform_if_android


@dataclass(frozen=True, kw_only=True)
class Tested:
    """How many tests ran, none of which failed, and how many said that they cannot run here."""

    passed: int = 0
    skipped: int = 0

    def __add__(self, other: "Tested") -> "Tested":
        return Tested(passed=self.passed + other.passed, skipped=self.skipped + other.skipped)


def libraries_of(module: Module, tools: Tools) -> tuple[Path, ...]:
    """What goes into an app with the module, but for what is Android's and the modules themselves."""
    libraries = tools.files["library"]
    return (*libraries, tools.platform.executorch) if module.android else libraries


def compile_main(module: Module, tools: Tools) -> None:
    """The module's jar: warnings are errors, and what is public says so. ToolFailed where it does not compile."""
    strict: tuple[str, ...] = ("-Werror", "-progressive", f"-Xjdk-release={tools.jvm_target}")
    if module.kind != "application":
        strict += ("-Xexplicit-api=strict",)
    _kotlin(module, tools, "main", module.jar, _classpath(module, tools), (*strict, "-module-name", module.name))


def compile_tests(module: Module, tools: Tools) -> None:
    """The jar of the module's tests, which see what is internal. ToolFailed where they do not compile."""
    of_tests = (*tools.files["test"], *(tools.platform.robolectric if module.android else ()))
    classpath = (module.jar, *_classpath(module, tools), *of_tests)
    friends = ("-Werror", f"-Xfriend-paths={module.jar}", "-module-name", f"{module.name}_test")
    _kotlin(module, tools, "test", module.tests_jar, classpath, friends)


def check_api(module: Module, tools: Tools) -> None:
    """ToolFailed where the module calls what the oldest Android that it is for does not have."""
    arguments = (*tools.files["signature"], module.jar, *_classpath(module, tools, android=False))
    source = (str(HERE / "CheckApi.java"),)
    what = f"the check that Android's API {tools.min_sdk} has what {module.name} calls"
    tools.jdk.run(what, source, tuple(map(str, arguments)), tools.files["api"])


def run_tests(module: Module, tools: Tools, program: tuple[Path, ...], what: str) -> Tested:
    """Run the module's tests against `program`; ToolFailed where one fails, or there is none."""
    reports = module.work / f"reports-{what.replace(' ', '-')}"
    options = (
        *("execute", f"--scan-classpath={module.tests_jar}", "--fail-if-no-tests", f"--reports-dir={reports}"),
        *("--details=summary", "--disable-banner", "--disable-ansi-colors"),
    )
    settings: tuple[str, ...] = (f"-Dedge.fixtures={tools.fixtures}", "-ea")
    classpath = (module.tests_jar, module.test / "resources", *program, *tools.files["test"])
    if module.android:
        settings += ("-Drobolectric.offline=true", f"-Drobolectric.dependency.dir={tools.platform.sandbox}")
        # Android's classes come last: those that tests run on are the sandbox's own.
        classpath += (_robolectric_config(module), *tools.platform.robolectric, tools.platform.api)
    try:
        printed = tools.jdk.run(f"the tests of {module.name} on {what}", (*settings, JUNIT), options, classpath)
    except ToolFailed as error:
        count = _count("\n".join(error.printed))
        if count.get("failed"):
            message = f"{count['failed']} of {count['found']} tests of {module.name} fail on {what}; which stands above"
            raise ToolFailed(message, error.printed) from error
        raise
    count = _count(printed)
    return Tested(passed=count["successful"], skipped=count["skipped"] + count["aborted"])


def program_of(module: Module, tools: Tools) -> tuple[Path, ...]:
    """What the module's tests run against, as it was compiled."""
    return (module.jar, *_classpath(module, tools, android=False))


def _classpath(module: Module, tools: Tools, *, android: bool = True) -> tuple[Path, ...]:
    """What the module is compiled against, with Android's own classes or without."""
    found = (*(need.jar for need in module.needs), *libraries_of(module, tools))
    if module.android:
        classes = linked_of(module).classes
        found = (*found, *((classes,) if classes.exists() else ()))
    return (*found, tools.platform.api) if module.android and android else found


def _robolectric_config(module: Module) -> Path:
    """The folder in which Robolectric finds the module's resources, and which Android to be unless a test says so."""
    folder, linked = module.work / "robolectric", linked_of(module)
    config = folder / CONFIG
    if not config.exists():
        config.parent.mkdir(parents=True)
        config.write_text(
            f"android_resource_apk={linked.archive}\nandroid_merged_manifest={linked.manifest}\n"
            f"android_custom_package={module.namespace}\n",
            encoding="utf-8",
        )
        (folder / "robolectric.properties").write_text(f"sdk={SANDBOX_SDK}\n", encoding="utf-8")
    return folder


def _kotlin(
    module: Module, tools: Tools, part: str, out: Path, classpath: tuple[Path, ...], more: tuple[str, ...]
) -> None:
    folder = module.folder / "src" / part / "kotlin"
    if not any(folder.rglob("*.kt")):
        raise UsageError(f"{folder} holds no Kotlin; name a module of Gradle's layout")
    options = ("-no-stdlib", "-no-reflect", "-jvm-target", tools.jvm_target, *more)
    options += ("-classpath", os.pathsep.join(map(str, classpath)), "-d", str(out), str(folder))
    tools.jdk.run(f"compiling {module.name} ({part})", (KOTLINC,), options, tools.files["compiler"])


def _count(printed: str) -> dict[str, int]:
    return {what: int(number) for number, what in COUNT.findall(printed)}
