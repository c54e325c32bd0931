"""The Java of this machine: found, old enough or refused, and made to run a tool. It knows no tool."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from android_demo.offline.tool import run_tool
from edge_export.device import process
from edge_export.errors import MissingDependency

ADVICE = "apt-get install openjdk-{oldest}-jdk-headless, or set JAVA_HOME to one"
# Compiling is over before the JVM's second compiler has paid for itself: 21 s of CPU instead of 46 for the Kotlin here.
SHORT_LIVED = ("-Xmx2g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
SETTING = re.compile(r"^\s+(java\.home|java\.specification\.version) = (.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Jdk:
    """`home` holds bin/java, and lib/ct.sym: what each older Java had."""

    home: Path
    version: int

    @property
    def signatures(self) -> Path:
        return self.home / "lib" / "ct.sym"

    def run(self, what: str, main: tuple[str, ...], arguments: tuple[str, ...], classpath: tuple[Path, ...]) -> str:
        """Run a class, or a source file, and return what it printed; ToolFailed when it ends with another code."""
        argv = [str(self.home / "bin" / "java"), "-Dfile.encoding=UTF-8", *SHORT_LIVED]
        if classpath:
            argv += ["-classpath", os.pathsep.join(map(str, classpath))]
        return run_tool(what, [*argv, *main, *arguments])


def find_jdk(oldest: int) -> Jdk:
    """The JDK in JAVA_HOME, else on the PATH.

    Raises:
        MissingDependency: there is none, it is older than `oldest`, or it is a runtime without a compiler.
    """
    advice = ADVICE.format(oldest=oldest)
    chosen = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(chosen, "bin", "java")) if chosen else "java")
    if java is None:
        where = f"in JAVA_HOME, {chosen}" if chosen else "on the PATH"
        raise MissingDependency(f"there is no Java {where}, and Java {oldest} or later is needed: {advice}")
    try:
        done = process.capture([java, "-XshowSettings:properties", "-version"], timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependency(f"{java} does not run ({error}); {advice}") from error
    settings = dict(SETTING.findall(done.err))
    version = settings.get("java.specification.version", "").removeprefix("1.")
    if done.code != 0 or "java.home" not in settings or not version.isdigit():
        raise MissingDependency(f"{java} does not say which Java it is ({done.last_line}): {advice}")
    if int(version) < oldest:
        raise MissingDependency(f"{java} is Java {version}, and Java {oldest} or later is needed: {advice}")
    found = Jdk(home=Path(settings["java.home"]), version=int(version))
    if not found.signatures.is_file():
        raise MissingDependency(f"{found.home} holds a Java without its compiler: {advice}")
    return found
