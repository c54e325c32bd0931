"""edge-replay, compiled from the sources once for all test processes, for this machine and for emulated Arm."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime_native import SOURCES

NO_SKIP = bool(os.environ.get("EDGE_EXPORT_NO_SKIP"))
NEEDED = {
    "host": ("cmake", "ninja", "g++"),
    "linux-arm64": ("cmake", "ninja", "aarch64-linux-gnu-g++", "qemu-aarch64-static"),
}
EMULATOR = ("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu")


@dataclass(frozen=True)
class Replay:
    """edge-replay as a command."""

    words: tuple[str, ...]

    def __call__(self, *arguments: object, told: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *map(str, arguments)],
            input=told,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )


@pytest.fixture(scope="session")
def built_replay(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Replay]:
    """preset -> edge-replay, in a folder that this run's test processes share."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared

    def build(preset: str) -> Replay:
        lacking = [command for command in NEEDED[preset] if shutil.which(command) is None]
        if lacking:
            said = f"{', '.join(lacking)} is not installed: edge-export device setup"
            (pytest.fail if NO_SKIP else pytest.skip)(said)
        folder = shared / f"replay-{preset}"
        with (shared / f"replay-{preset}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "edge-replay").exists():
                compile_replay(preset, folder)
        return Replay(words=(*(EMULATOR if preset == "linux-arm64" else ()), str(folder / "edge-replay")))

    return build


def compile_replay(preset: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        for command in (
            ["cmake", "-S", str(SOURCES), "-B", scratch, "--preset", preset, "-G", "Ninja"],
            ["cmake", "--build", scratch, "--target", "edge-replay"],
        ):
            made = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True)
            assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
        folder.mkdir()
        shutil.copy2(Path(scratch) / "edge-replay", folder / "edge-replay")


@pytest.fixture(scope="session")
def replay(built_replay) -> Replay:
    """edge-replay for this machine."""
    return built_replay("host")
