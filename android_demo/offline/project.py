"""The Gradle project, as this build reads it: its modules, and what their build files say of them in plain words.

It runs no Gradle: what a build file computes, it does not know.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_export.errors import UsageError

Kind = Literal["jvm", "library", "application"]
KINDS: dict[str, Kind] = {"kotlin.jvm": "jvm", "android.library": "library", "android.application": "application"}
INCLUDE = re.compile(r'^include\(":([\w-]+)"\)$', re.MULTILINE)
PLUGIN = re.compile(r"^ *alias\(libs\.plugins\.([\w.]+)\)", re.MULTILINE)
NEEDS = re.compile(r'^ *(?:api|implementation)\(project\(":([\w-]+)"\)\)', re.MULTILINE)
RULES = re.compile(r"^ *(?:consumerProguardFiles|proguardFiles)\((.*)\)", re.MULTILINE)
RULES_FILE = re.compile(r'"([\w.-]+\.pro)"')


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module of the project. `folder`: where its build file is; `work`: what gets what is made of it.

    needs: the modules that it stands on, each after those that it stands on itself. namespace, application_id, version:
    of an Android module's build file, empty where its kind has none. rules: its files for R8.
    """

    name: str
    kind: Kind
    folder: Path
    work: Path
    needs: tuple["Module", ...] = ()
    namespace: str = ""
    application_id: str = ""
    version_code: str = ""
    version_name: str = ""
    rules: tuple[Path, ...] = ()

    @property
    def main(self) -> Path:
        return self.folder / "src" / "main"

    @property
    def test(self) -> Path:
        return self.folder / "src" / "test"

    @property
    def android(self) -> bool:
        return self.kind != "jvm"

    @property
    def jar(self) -> Path:
        return self.work / f"{self.name}.jar"

    @property
    def tests_jar(self) -> Path:
        return self.work / f"{self.name}-tests.jar"

    @property
    def all(self) -> tuple["Module", ...]:
        """What it stands on, and itself."""
        return (*self.needs, self)


def read_modules(project: Path, wanted: str | None = None) -> tuple[Module, ...]:
    """The modules of the project, each after those that it stands on; of `wanted`, only it and those.

    Raises:
        UsageError: the project's files are not there, or do not say what this build needs to know.
    """
    settings = project / "settings.gradle.kts"
    names = INCLUDE.findall(_read(settings))
    if not names:
        raise UsageError(f'{settings} includes no module; write one a line: include(":core")')
    if wanted is not None and wanted not in names:
        raise UsageError(f"no module called {wanted!r} in {project}; choose from {', '.join(names)}")
    found: dict[str, Module] = {}
    for name in names if wanted is None else [wanted]:
        _add(project, name, names, found, ())
    return tuple(found.values())


def _add(project: Path, name: str, names: list[str], found: dict[str, Module], above: tuple[str, ...]) -> None:
    """Put the module and what it stands on into `found`."""
    if name in above:
        raise UsageError(f"modules of {project} stand on one another: {' on '.join((*above, name))}; undo one of them")
    if name in found:
        return
    build_file = project / name / "build.gradle.kts"
    text = _read(build_file)
    needs: dict[str, Module] = {}
    for need in NEEDS.findall(text):
        if need not in names:
            raise UsageError(f"{build_file} asks for the module {need!r}, which settings.gradle.kts does not include")
        _add(project, need, names, found, (*above, name))
        needs |= {module.name: module for module in found[need].all}
    found[name] = _module(project, build_file, text, tuple(needs.values()))


def _module(project: Path, build_file: Path, text: str, needs: tuple[Module, ...]) -> Module:
    folder = build_file.parent
    kinds = [KINDS[plugin] for plugin in PLUGIN.findall(text) if plugin in KINDS]
    if len(kinds) != 1:
        wanted = ", ".join(f"libs.plugins.{name}" for name in KINDS)
        raise UsageError(f"{build_file} applies {len(kinds)} of the plugins {wanted}; apply one of them")
    kind = kinds[0]
    application = kind == "application"
    return Module(
        name=folder.name,
        kind=kind,
        folder=folder,
        work=project / "build" / "offline" / folder.name,
        needs=needs,
        namespace=_value(build_file, text, "namespace") if kind != "jvm" else "",
        application_id=_value(build_file, text, "applicationId") if application else "",
        version_code=_value(build_file, text, "versionCode") if application else "",
        version_name=_value(build_file, text, "versionName") if application else "",
        rules=tuple(_rules(folder, text)),
    )


def _value(build_file: Path, text: str, name: str) -> str:
    """What `name` is set to: a text or a number that stands there as it is."""
    found = re.search(rf'^ *{name} = (?:"([^"$\\]+)"|(\d+))$', text, re.MULTILINE)
    if found is None:
        raise UsageError(f"{build_file} sets no {name} that can be read as it stands; write it out on one line")
    return found[1] or found[2]


def _rules(folder: Path, text: str) -> Iterator[Path]:
    """The files for R8 that the module names, but for those of Android's own plugin."""
    for call in RULES.findall(text):
        for name in RULES_FILE.findall(call):
            if not (folder / name).is_file():
                raise UsageError(f"{folder / 'build.gradle.kts'} names {name}, which is not there")
            yield folder / name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; name the folder of a Gradle project") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8 ({error}); write it anew") from error
