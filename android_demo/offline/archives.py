"""Jars taken apart and put together: classes for the dex, what lies beside them, and Java 8's own interfaces.

It knows no tool.
"""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from android_demo.offline.errors import ToolFailed

OLD_JAVA = "8"
OLD_FORMAT = b"\0\0\0\x34"  # minor and major version of Java 8's class files; a newer JDK writes its own


def write_classes(out: Path, jars: Iterable[Path]) -> None:
    """One jar of all classes in `jars`, without those for newer Java; ToolFailed where two hold one class."""
    seen: dict[str, Path] = {}
    with zipfile.ZipFile(out, "w") as merged:
        for jar, name, data in _entries(jars):
            if not _is_class(name):
                continue
            if name in seen:
                raise ToolFailed(f"both {seen[name].name} and {jar.name} hold {name}; one of them must go")
            seen[name] = jar
            merged.writestr(name, data)


def write_resources(out: Path, jars: Iterable[Path]) -> None:
    """One jar of what lies beside the classes of `jars`, such as lists of services; the first of one name counts."""
    seen: set[str] = set()
    with zipfile.ZipFile(out, "w") as merged:
        for _, name, data in _entries(jars):
            if not name.endswith((".class", "/")) and name != "META-INF/MANIFEST.MF" and name not in seen:
                seen.add(name)
                merged.writestr(name, data)


def write_old_java(out: Path, signatures: Path) -> None:
    """A jar of the classes that Java 8 had, without bodies, from a JDK's ct.sym.

    There an entry is RELEASES/MODULE/PACKAGE/CLASS.sig, and each release is one character.
    """
    with zipfile.ZipFile(signatures) as source, zipfile.ZipFile(out, "w") as merged:
        for name in source.namelist():
            releases, _, rest = name.partition("/")
            if OLD_JAVA in releases and name.endswith(".sig"):
                data = source.read(name)
                merged.writestr(rest.partition("/")[2].removesuffix("sig") + "class", data[:4] + OLD_FORMAT + data[8:])


def count_classes(jar: Path) -> int:
    with zipfile.ZipFile(jar) as archive:
        return sum(map(_is_class, archive.namelist()))


def _entries(jars: Iterable[Path]) -> Iterator[tuple[Path, str, bytes]]:
    for jar in jars:
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                yield jar, name, archive.read(name)


def _is_class(name: str) -> bool:
    return name.endswith(".class") and not name.startswith("META-INF/") and not name.endswith("module-info.class")
