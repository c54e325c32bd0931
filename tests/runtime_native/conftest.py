"""The native runtime, built once for all workers: edge-replay, which needs no ExecuTorch, for this machine and for
emulated Arm; edge-run for this machine."""

import fcntl
import importlib.util
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
EMULATOR, ARM_LIBRARIES = "qemu-aarch64-static", "/usr/aarch64-linux-gnu"
ARM = {"aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", EMULATOR: "qemu-user-static"}
NO_SKIP = bool(os.environ.get("EDGE_EXPORT_NO_SKIP"))

Runner = Callable[..., subprocess.CompletedProcess[str]]


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


def build(folder: Path, preset: str, target: str, sdk: str, *options: str) -> Path:
    """A program by a preset, with more of CMake's `options`. Workers of one run wait for one another."""
    folder.mkdir(parents=True, exist_ok=True)
    configure = ["cmake", "--preset", preset, "-B", str(folder), f"-DEXECUTORCH_SDK={sdk}", *options]
    if shutil.which("make") is None:
        configure += ["-G", "Ninja"]
    make = ["cmake", "--build", str(folder), "--target", target, "--parallel", "2"]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (configure, make):
            done = subprocess.run(
                command, cwd=runtime_native.SOURCES, capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder / target


def executorch_sdk() -> str:
    """The folder that holds the executorch package; empty where it is not installed."""
    spec = importlib.util.find_spec("executorch")
    return (
        str(Path(next(iter(spec.submodule_search_locations))).parent)
        if spec and spec.submodule_search_locations
        else ""
    )


@pytest.fixture(scope="session")
def edge_replay() -> Runner:
    """Runs edge-replay with these arguments; `stdin` is its standard input."""
    refuse(lacking())
    return runner(str(build(BUILD, "host", "edge-replay", executorch_sdk())))


@pytest.fixture(scope="session")
def edge_replay_on_arm() -> Runner:
    """The same on an emulated Arm CPU, with Arm's own mathematical library.

    Compiled quickly: with all that a release has, Arm is played on by edge-run (tests/edge_export/device).
    """
    refuse([*lacking(), *(package for command, package in ARM.items() if shutil.which(command) is None)])
    folder, quickly = BUILD.with_name("tests-arm64"), "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG"
    return runner(EMULATOR, "-L", ARM_LIBRARIES, str(build(folder, "linux-arm64", "edge-replay", "", quickly)))


@pytest.fixture(scope="session")
def edge_run() -> Runner:
    """Runs edge-run with these arguments."""
    refuse(lacking())
    sdk = executorch_sdk()
    if not sdk:
        (pytest.fail if NO_SKIP else pytest.skip)("edge-run cannot be built here: pip install executorch")
    return runner(str(build(BUILD, "host", "edge-run", sdk)))


def refuse(packages: list[str]) -> None:
    if packages:
        message = f"the native runtime cannot be built here: apt-get install {' '.join(packages)}"
        (pytest.fail if NO_SKIP else pytest.skip)(message)


def runner(*words: str) -> Runner:
    def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [*words, *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", timeout=60, check=False)

    return run
