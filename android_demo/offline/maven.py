"""Maven as a client of the repository that it is set up for: it fetches files, and says what a library asks for.

What the files are for, and whether they are the right ones, is not known here.
"""

import errno
import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

from edge_export.device import process
from edge_export.errors import FetchError, MissingDependency
from edge_export.staging import output_error

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
SECONDS = 1800.0
ATTEMPTS = 3
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PACKAGINGS = ("jar", "aar")
PARTS = ("groupId", "artifactId", "version", "type", "classifier")
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>offline</groupId><artifactId>offline</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
  <build><plugins><plugin>
    <groupId>{group}</groupId><artifactId>{plugin}</artifactId><version>{version}</version>
    <configuration><artifactItems>{items}</artifactItems></configuration>
  </plugin></plugins></build>
</project>
"""


def fetch(wanted: tuple[str, ...], scratch: Path) -> dict[str, Path]:
    """Fetch each of `wanted`, group:name:version[:packaging[:classifier]], and nothing that they ask for.

    Raises:
        MissingDependency: there is no Maven.
        FetchError: the repository cannot be reached, or lacks one of them.
        OutputError: the disk for temporary files is full.
    """
    folders = {each: scratch / "files" / str(index) for index, each in enumerate(wanted)}
    items = "".join(
        _element("artifactItem", each, f"<outputDirectory>{escape(str(folder))}</outputDirectory>")
        for each, folder in folders.items()
    )
    _maven("copy", scratch, items=items)
    return {each: next(folder.iterdir()) for each, folder in folders.items()}


def closure(wanted: tuple[str, ...], scratch: Path) -> dict[str, Path]:
    """Fetch `wanted` and all that they ask for at run time, by group:name:version[:aar].

    Raises:
        MissingDependency: there is no Maven.
        FetchError: the repository cannot be reached, or lacks one of them.
    """
    out = scratch / "closure"
    dependencies = "".join(_element("dependency", each) for each in wanted)
    goals = ("-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true", f"-DoutputDirectory={out}")
    _maven("copy-dependencies", scratch, *goals, dependencies=dependencies)
    found = sorted(path for packaging in PACKAGINGS for path in out.rglob(f"*.{packaging}"))
    return {_coordinates(path.relative_to(out)): path for path in found}


def _element(name: str, coordinates: str, more: str = "") -> str:
    parts = zip(PARTS, coordinates.split(":"), strict=False)
    return f"<{name}>{''.join(f'<{part}>{escape(text)}</{part}>' for part, text in parts)}{more}</{name}>"


def _coordinates(path: Path) -> str:
    """What lies at group/name/version/name-version.jar, or .aar, of a repository."""
    *group, name, version, _ = path.parts
    packaging = "" if path.suffix == ".jar" else f":{path.suffix[1:]}"
    return f"{'.'.join(group)}:{name}:{version}{packaging}"


def _maven(goal: str, scratch: Path, *options: str, dependencies: str = "", items: str = "") -> None:
    """Run one goal, in a repository of this run's own: nothing damaged from before, and what one try got is kept."""
    if shutil.which("mvn") is None:
        raise MissingDependency("Maven is not installed, which fetches what is missing here: apt-get install maven")
    group, plugin, version = PLUGIN.split(":")
    pom = scratch / "pom.xml"
    text = POM.format(dependencies=dependencies, items=items, group=group, plugin=plugin, version=version)
    pom.write_text(text, encoding="utf-8")
    argv = ["mvn", "--batch-mode", "--quiet", "--file", str(pom), f"-Dmaven.repo.local={scratch / 'repository'}"]
    argv += ["-Dstyle.color=never", "-Dmaven.wagon.http.retryHandler.count=3", *options, f"{PLUGIN}:{goal}"]
    for _ in range(ATTEMPTS):
        try:
            done = process.capture(argv, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise FetchError(f"Maven was ended after {SECONDS:.0f} s; check the network and try again") from error
        if done.code == 0:
            return
        if os.strerror(errno.ENOSPC) in done.out:
            raise output_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), scratch)
    raise FetchError(
        f"Maven cannot fetch what the build needs ({_reason(done)}); check the network and Maven's settings, then run "
        "the same command again"
    )


def _reason(done: process.Output) -> str:
    """The part of Maven's long line that says what could not be had, and why."""
    said = COLOUR.sub("", done.out).splitlines()
    lines = [line.removeprefix("[ERROR] ") for line in said if line.startswith("[ERROR]")]
    for line in lines:
        _, found, rest = line.partition("Could not")
        if found:
            return f"{found}{rest}"[:300]
    return lines[0][:300] if lines else done.last_line
