"""A module of the Gradle project: compiled, tested, made into dex, and tested again from there.

The steps know their tools' options; where the tools come from, and who shows how far they are, is not known here.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from android_demo.offline import archives
from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import Jdk
from edge_export.errors import UsageError

HERE = Path(__file__).parent
KOTLINC = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
JUNIT = "org.junit.platform.console.ConsoleLauncher"
R8 = "com.android.tools.r8.R8"
DEX2JAR = "com.googlecode.dex2jar.tools.Dex2jarCmd"
COUNT = re.compile(r"^\[ *(\d+) tests (found|successful|failed|skipped|aborted) *\]$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What the steps need. `files`: by use, as the lock names them; `versions`: of the catalog."""

    jdk: Jdk
    files: dict[str, tuple[Path, ...]]
    jvm_target: str
    min_sdk: str


@dataclass(frozen=True, kw_only=True)
class Module:
    """`sources` is `src` of Gradle's layout; `work` gets what is made of it; its tests read `fixtures`."""

    name: str
    sources: Path
    work: Path
    fixtures: Path

    @property
    def jar(self) -> Path:
        return self.work / f"{self.name}.jar"

    @property
    def tests_jar(self) -> Path:
        return self.work / f"{self.name}-tests.jar"


@dataclass(frozen=True, kw_only=True)
class Tested:
    """How many tests ran, none of which failed, and how many said that they cannot run here."""

    passed: int
    skipped: int


def compile_main(module: Module, tools: Tools) -> None:
    """The module's jar: warnings are errors, and what is public says so. ToolFailed where it does not compile."""
    strict = ("-Xexplicit-api=strict", "-Werror", "-progressive", f"-Xjdk-release={tools.jvm_target}")
    _kotlin(module, tools, "main", module.jar, tools.files["library"], (*strict, "-module-name", module.name))


def compile_tests(module: Module, tools: Tools) -> None:
    """The jar of the module's tests, which see what is internal. ToolFailed where they do not compile."""
    classpath = (module.jar, *tools.files["library"], *tools.files["test"])
    friends = ("-Werror", f"-Xfriend-paths={module.jar}", "-module-name", f"{module.name}_test")
    _kotlin(module, tools, "test", module.tests_jar, classpath, friends)


def check_api(module: Module, tools: Tools) -> None:
    """ToolFailed where the module calls what the oldest Android that it is for does not have."""
    arguments = (*tools.files["signature"], module.jar, *tools.files["library"])
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
    settings = (f"-Dedge.fixtures={module.fixtures}", "-ea", JUNIT)
    classpath = (module.tests_jar, *program, *tools.files["test"])
    try:
        printed = tools.jdk.run(f"the tests of {module.name} on {what}", settings, options, classpath)
    except ToolFailed as error:
        count = _count("\n".join(error.printed))
        if count.get("failed"):
            message = f"{count['failed']} of {count['found']} tests of {module.name} fail on {what}; which stands above"
            raise ToolFailed(message, error.printed) from error
        raise
    count = _count(printed)
    return Tested(passed=count["successful"], skipped=count["skipped"] + count["aborted"])


def make_dex(module: Module, tools: Tools) -> tuple[Path, ...]:
    """The dex of the module and its libraries, whole; ToolFailed where R8 finds a reference to nothing, or warns."""
    program, java, dex = module.work / "program.jar", module.work / "java8.jar", module.work / "dex"
    archives.write_classes(program, (module.jar, *tools.files["library"]))
    archives.write_old_java(java, tools.jdk.signatures)
    dex.mkdir()
    arguments = ["--release", "--min-api", tools.min_sdk, "--lib", str(java), "--output", str(dex)]
    arguments += ["--map-diagnostics", "warning", "error", "--pg-conf", str(HERE / "r8.pro"), str(program)]
    tools.jdk.run("R8", (R8,), tuple(arguments), tools.files["r8"])
    return tuple(sorted(dex.glob("*.dex")))


def from_dex(module: Module, tools: Tools, dexes: tuple[Path, ...]) -> tuple[Path, ...]:
    """Jars made back from dex: the classes, and what lay beside them. ToolFailed where a class cannot be."""
    raw, jar, resources = (module.work / f"{name}.jar" for name in ("dex2jar", "from-dex", "resources"))
    options = ("--not-handle-exception", "--dont-sanitize-names", "--output", str(raw))
    tools.jdk.run("dex2jar", (DEX2JAR,), (*options, *map(str, dexes)), tools.files["dex2jar"])
    tools.jdk.run("mending the jar", (str(HERE / "MendJar.java"),), (str(raw), str(jar)), tools.files["dex2jar"])
    archives.write_resources(resources, (module.jar, *tools.files["library"]))
    return jar, resources


def _kotlin(
    module: Module, tools: Tools, part: str, out: Path, classpath: tuple[Path, ...], more: tuple[str, ...]
) -> None:
    folder = module.sources / part / "kotlin"
    if not any(folder.rglob("*.kt")):
        raise UsageError(f"{folder} holds no Kotlin; name a module of Gradle's layout")
    options = ("-no-stdlib", "-no-reflect", "-jvm-target", tools.jvm_target, *more)
    options += ("-classpath", os.pathsep.join(map(str, classpath)), "-d", str(out), str(folder))
    tools.jdk.run(f"compiling {module.name} ({part})", (KOTLINC,), options, tools.files["compiler"])


def _count(printed: str) -> dict[str, int]:
    return {what: int(number) for number, what in COUNT.findall(printed)}
