"""edge-replay, built once for all workers. It needs cmake, a compiler and two libraries of headers; no ExecuTorch."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import runtime_native

BUILD = Path(__file__).parents[2] / "build" / "native" / "tests"
HEADERS = {"nlohmann/json.hpp": "nlohmann-json3-dev", "CLI/CLI.hpp": "libcli11-dev"}
COMPILERS = ("c++", "g++", "clang++")
MAKERS = ("make", "ninja")
NO_SKIP = bool(os.environ.get("EDGE_EXPORT_NO_SKIP"))

Replay = Callable[..., subprocess.CompletedProcess]


def lacking() -> list[str]:
    """Debian's names of the packages that a build needs and that are not here."""
    folders = [
        Path(folder) for folder in (os.environ.get("EDGE_HEADERS"), "/usr/include", "/usr/local/include") if folder
    ]
    packages = [
        package for header, package in HEADERS.items() if not any((folder / header).exists() for folder in folders)
    ]
    if shutil.which("cmake") is None:
        packages.append("cmake")
    if not any_of(COMPILERS) and not os.environ.get("CXX"):
        packages.append("g++")
    if not any_of(MAKERS):
        packages.append("make")
    return packages


def any_of(commands: Iterable[str]) -> bool:
    return any(shutil.which(command) for command in commands)


def build(folder: Path) -> Path:
    """edge-replay by the preset `host`. Workers of one run wait for one another, and find it made."""
    folder.mkdir(parents=True, exist_ok=True)
    configure = ["cmake", "--preset", "host", "-B", str(folder), "-DEXECUTORCH_SDK="]
    if shutil.which("make") is None:
        configure += ["-G", "Ninja"]
    make = ["cmake", "--build", str(folder), "--target", "edge-replay", "--parallel", "2"]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (configure, make):
            done = subprocess.run(command, cwd=runtime_native.SOURCES, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder / "edge-replay"


@pytest.fixture(scope="session")
def edge_replay() -> Replay:
    """Runs edge-replay with these arguments; `stdin` is its standard input."""
    if packages := lacking():
        message = f"the native runtime cannot be built here: apt-get install {' '.join(packages)}"
        (pytest.fail if NO_SKIP else pytest.skip)(message)
    program = build(BUILD)

    def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess:
        command = [str(program), *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", timeout=60)

    return run
