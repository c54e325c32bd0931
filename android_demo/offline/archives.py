"""Jars taken apart and put together: classes for the dex, what lies beside them, and what Java 8 and Android have.

It knows no tool.
"""

import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from android_demo.offline.errors import ToolFailed

OLD_JAVA = "8"
RULES = ("META-INF/proguard/", "META-INF/com.android.tools/")  # for R8, of a library's own
ANDROID = ("android/", "dalvik/", "org/json/", "org/xmlpull/")  # what apps may call; Java's own is the JDK's
OLD_FORMAT = b"\0\0\0\x34"  # minor and major version of Java 8's class files; a newer JDK writes its own
READ_FORMAT = b"\0\0\0\x3d"  # of Java 17, the oldest JDK that builds this


def write_classes(out: Path, jars: Iterable[Path]) -> None:
    """One jar of all classes in `jars`, and their rules for R8, without those for newer Java.

    ToolFailed where two hold one class.
    """
    seen: dict[str, Path] = {}
    with zipfile.ZipFile(out, "w") as merged:
        for jar, name, data in _entries(jars):
            if not _is_class(name) and not (name.startswith(RULES) and not name.endswith("/")):
                continue
            if name in seen:
                raise ToolFailed(f"both {seen[name].name} and {jar.name} hold {name}; one of them must go")
            seen[name] = jar
            merged.writestr(name, data)


def write_only(out: Path, jar: Path, wanted: set[str]) -> None:
    """A jar of those classes of `jar` that are called so, such as a.b.C."""
    names = {f"{name.replace('.', '/')}.class" for name in wanted}
    with zipfile.ZipFile(out, "w") as less:
        for _, name, data in _entries([jar]):
            if name in names:
                less.writestr(name, data)


def write_resources(out: Path, jars: Iterable[Path]) -> None:
    """One jar of what lies beside the classes of `jars`, such as lists of services; the first of one name counts."""
    seen: set[str] = set()
    with zipfile.ZipFile(out, "w") as merged:
        for _, name, data in _entries(jars):
            if not name.endswith((".class", "/")) and name != "META-INF/MANIFEST.MF" and name not in seen:
                seen.add(name)
                merged.writestr(name, data)


def write_android(out: Path, everything: Path) -> None:
    """A jar of the classes that apps may call, out of all that run on a device, as Java 17 reads them.

    They are compiled against, and tests are found by them; none of their code runs.
    """
    with zipfile.ZipFile(everything) as source, zipfile.ZipFile(out, "w") as merged:
        for name in source.namelist():
            if name.startswith(ANDROID) and name.endswith(".class"):
                data = source.read(name)
                merged.writestr(name, data[:4] + min(data[4:8], READ_FORMAT) + data[8:])


def pack(out: Path, folder: Path) -> None:
    """An archive of all files in a folder."""
    with zipfile.ZipFile(out, "w") as merged:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            merged.write(path, path.relative_to(folder).as_posix())


def take(archive: Path, member: str, out: Path) -> None:
    """One file out of an archive; ToolFailed where it is not in there."""
    with zipfile.ZipFile(archive) as source:
        if member not in source.namelist():
            raise ToolFailed(f"{archive.name} holds no {member}; another version of it may")
        with source.open(member) as data, out.open("wb") as sink:
            shutil.copyfileobj(data, sink)


def class_names(jars: Iterable[Path]) -> set[str]:
    """The classes in `jars`, such as a.b.C."""
    found: set[str] = set()
    for jar in jars:
        with zipfile.ZipFile(jar) as archive:
            found |= {name.removesuffix(".class").replace("/", ".") for name in archive.namelist() if _is_class(name)}
    return found


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
