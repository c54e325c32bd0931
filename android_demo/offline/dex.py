"""Dex of a module and all that it stands on, by R8, and the way back to a jar, for tests of what R8 made.

It knows no APK.
"""

from collections.abc import Iterable
from pathlib import Path

from android_demo.offline import archives
from android_demo.offline.module import Tools, libraries_of
from android_demo.offline.project import Module
from android_demo.offline.resources import linked_of

HERE = Path(__file__).parent
R8 = "com.android.tools.r8.R8"
DEX2JAR = "com.googlecode.dex2jar.tools.Dex2jarCmd"


def make_dex(module: Module, tools: Tools) -> tuple[Path, ...]:
    """The dex of the module and all that it stands on; ToolFailed where R8 finds a reference to nothing, or warns.

    The project's own classes are whole. Libraries are whole too, but for an application, which has only what it uses.
    """
    program, java, dex = module.work / "program.jar", module.work / "java8.jar", module.work / "dex"
    archives.write_classes(program, _program(module, tools))
    archives.write_old_java(java, tools.jdk.signatures)
    dex.mkdir()
    arguments = ["--release", "--min-api", tools.min_sdk, "--lib", str(java), "--output", str(dex)]
    arguments += ["--map-diagnostics", "warning", "error"]
    if module.android:
        arguments += ["--lib", str(tools.platform.api)]
    for rules in _rules(module):
        arguments += ["--pg-conf", str(rules)]
    tools.jdk.run("R8", (R8,), (*arguments, str(program)), tools.files["r8"])
    return tuple(sorted(dex.glob("*.dex")))


def from_dex(module: Module, tools: Tools, dexes: tuple[Path, ...]) -> None:
    """Make jars back from dex: the classes, and what lay beside them. ToolFailed where a class cannot be."""
    raw, jar, resources = (module.work / f"{name}.jar" for name in ("dex2jar", "from-dex", "resources"))
    options = ("--not-handle-exception", "--dont-sanitize-names", "--output", str(raw))
    tools.jdk.run("dex2jar", (DEX2JAR,), (*options, *map(str, dexes)), tools.files["dex2jar"])
    known = (tools.platform.api,) if module.android else ()
    mend = (str(HERE / "MendJar.java"),)
    tools.jdk.run("mending the jar", mend, (str(raw), str(jar)), (*tools.files["dex2jar"], *known))
    archives.write_resources(resources, _program(module, tools))


def program_from_dex(module: Module, tested: Module, tools: Tools) -> tuple[Path, ...]:
    """What the tests of `tested` run against, of what `from_dex` made of `module`.

    An application's libraries have only what it uses, not what tests use: there the project's own classes alone are
    those of the dex.
    """
    jar, resources = module.work / "from-dex.jar", module.work / "resources.jar"
    if module.kind != "application":
        return jar, resources
    own = module.work / "own-from-dex.jar"
    archives.write_only(own, jar, archives.class_names(each.jar for each in module.all))
    return (own, resources, *libraries_of(tested, tools))


def _program(module: Module, tools: Tools) -> tuple[Path, ...]:
    own = tuple(each.jar for each in module.all)
    classes = linked_of(module).classes
    return (*own, *libraries_of(module, tools), *((classes,) if classes.exists() else ()))


def _rules(module: Module) -> Iterable[Path]:
    """R8's rules for the module: those of this build, those that the modules name, and aapt2's."""
    if module.kind != "application":
        return [HERE / "rules" / "common.pro", HERE / "rules" / "whole.pro"]
    own = module.work / "own.pro"
    names = archives.class_names(each.jar for each in module.all)
    packages = sorted({name[: name.rfind(".") + 1] for name in names})  # each with its dot, or none
    own.write_text("".join(f"-keep class {package}* {{ *; }}\n" for package in packages), encoding="utf-8")
    named = [rules for each in module.all for rules in each.rules]
    return [HERE / "rules" / "common.pro", HERE / "rules" / "app.pro", own, linked_of(module).rules, *named]
