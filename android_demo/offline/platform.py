"""What all Android modules are compiled and tested against: Android's classes, ExecuTorch's, aapt2 and Robolectric.

It is laid out once in the project's build folder, and knows no module.
"""

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from android_demo.offline import archives
from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import Jdk

HERE = Path(__file__).parent
JAVAC = ("-m", "jdk.compiler/com.sun.tools.javac.Main")
AAPT2 = {"linux": "prebuilt/linux/aapt2", "darwin": "prebuilt/macosx/aapt2"}
FRAMEWORK = "prebuilt/android-framework.jar"
STAND_INS = HERE / "stand_ins" / "executorch"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """api, executorch: jars of Android's classes and ExecuTorch's to compile against; the second: see `stand_ins/`.

    robolectric: what its tests need on the class path, but for the sandbox, whose folder it is told.
    """

    api: Path
    executorch: Path
    aapt2: Path
    framework: Path
    robolectric: tuple[Path, ...]
    sandbox: Path


def lay_out(folder: Path, files: dict[str, tuple[Path, ...]], jdk: Jdk, jvm_target: str) -> Platform:
    """Take from `files`, by use, what Android modules need; what is in `folder` from before is used again.

    ToolFailed where a file does not hold what it should, or a stand-in does not compile.
    """
    (everything,), (apktool,), (sandbox,) = files["android"], files["aapt2"], files["sandbox"]
    if sys.platform not in AAPT2:
        raise ToolFailed(f"aapt2 does not run on {sys.platform}; build on {' or '.join(AAPT2)}")
    return Platform(
        api=_once(folder, everything, "android-17.jar", lambda out: archives.write_android(out, everything)),
        executorch=compile_java("ExecuTorch's stand-ins", STAND_INS, folder / "executorch.jar", jdk, jvm_target),
        aapt2=_once(folder, apktool, "aapt2", lambda out: _take_program(apktool, out)),
        framework=_once(folder, apktool, "framework.apk", lambda out: archives.take(apktool, FRAMEWORK, out)),
        robolectric=tuple(_classes(folder, path) for path in files["robolectric"]),
        sandbox=sandbox.parent,
    )


def compile_java(
    what: str, sources: Path, out: Path, jdk: Jdk, jvm_target: str, classpath: tuple[Path, ...] = ()
) -> Path:
    """The jar `out` of the Java in `sources`, which calls `classpath` too; ToolFailed where it does not compile."""
    classes = out.with_suffix("")
    shutil.rmtree(classes, ignore_errors=True)
    classes.mkdir(parents=True)
    options: tuple[str, ...] = (
        "--release",
        jvm_target.removeprefix("1."),
        "-Xlint:-options",
        "-encoding",
        "UTF-8",
        "-d",
        str(classes),
    )
    options += ("-classpath", os.pathsep.join(map(str, classpath)))
    jdk.run(f"compiling {what}", JAVAC, (*options, *map(str, sorted(sources.rglob("*.java")))), ())
    archives.pack(out, classes)
    return out


def _classes(folder: Path, library: Path) -> Path:
    """The jar that is a library, or that is in it."""
    if library.suffix != ".aar":
        return library
    return _once(folder, library, f"{library.stem}.jar", lambda out: archives.take(library, "classes.jar", out))


def _take_program(apktool: Path, out: Path) -> None:
    archives.take(apktool, AAPT2[sys.platform], out)
    out.chmod(out.stat().st_mode | stat.S_IXUSR)


def _once(folder: Path, source: Path, name: str, make: Callable[[Path], None]) -> Path:
    """What was made of `source` before, or is made now; the folder of a download is named by its hash."""
    out = folder / f"{source.parent.name[:16]}-{name}"
    if not out.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}.partial-{secrets.token_hex(4)}"
        try:
            make(partial)
            partial.rename(out)
        finally:
            partial.unlink(missing_ok=True)
    return out
