"""The tools of this machine that devices need: what each is for, how to see it, and which Debian package brings it.

It installs them with apt-get where it may; elsewhere it says what to run.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_export.device import process
from edge_export.device.store import store
from edge_export.errors import MissingDependency, UsageError
from edge_export.progress import Progress, silent

HEADER_FOLDERS = (Path("/usr/include"), Path("/usr/local/include"), Path("/opt/homebrew/include"))
INSTALL_SECONDS = 3600.0
BUILDING = ("cmake", "ninja", "json", "cli11")
EMULATOR = "qemu-aarch64-static"
ARM_COMPILER = "aarch64-linux-gnu-g++"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """`provides` is a command on the PATH, or a header such as nlohmann/json.hpp."""

    name: str
    purpose: str
    provides: str
    package: str

    @property
    def is_header(self) -> bool:
        return "/" in self.provides

    def here(self) -> bool:
        if not self.is_header:
            return shutil.which(self.provides) is not None
        own = os.environ.get("EDGE_HEADERS")
        return any((folder / self.provides).is_file() for folder in (*([Path(own)] if own else []), *HEADER_FOLDERS))


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(name="g++", purpose="compiles the runner for this machine", provides="g++", package="g++"),
        Tool(
            name="g++-aarch64",
            purpose="compiles the runner for Arm",
            provides=ARM_COMPILER,
            package="g++-aarch64-linux-gnu",
        ),
        Tool(name="qemu", purpose="emulates Arm CPUs", provides=EMULATOR, package="qemu-user-static"),
        Tool(name="adb", purpose="talks to Android devices", provides="adb", package="adb"),
        Tool(name="cmake", purpose="builds the runner", provides="cmake", package="cmake"),
        Tool(name="ninja", purpose="builds the runner", provides="ninja", package="ninja-build"),
        Tool(
            name="json", purpose="reads JSON in the runner", provides="nlohmann/json.hpp", package="nlohmann-json3-dev"
        ),
        Tool(name="cli11", purpose="reads the runner's options", provides="CLI/CLI.hpp", package="libcli11-dev"),
    )
}

NEEDED: dict[str, tuple[str, ...]] = {
    "host": ("g++", *BUILDING),
    "qemu": ("g++-aarch64", "qemu", *BUILDING),
    "adb": ("g++-aarch64", "adb", *BUILDING),
    "app": ("adb",),
}
"""The tools of each kind of place."""


def missing(places: Iterable[str]) -> list[Tool]:
    """The tools that these places need and this machine lacks, each once."""
    names = dict.fromkeys(name for place in places for name in NEEDED[place])
    return [TOOLS[name] for name in names if not TOOLS[name].here()]


def require(name: str, where: str) -> str:
    """The path of a tool's command; MissingDependency says how to bring it."""
    tool = TOOLS[name]
    path = shutil.which(tool.provides)
    if path is None:
        raise MissingDependency(
            f"{tool.provides} is not installed, and {where} needs it: edge-export device setup --on {where}, or "
            f"apt-get install {tool.package}"
        )
    return path


def install(tools: list[Tool], agree: Callable[[str], bool], progress: Progress = silent) -> None:
    """Install the Debian packages of `tools` if `agree` says yes to the command.

    Raises:
        MissingDependency: there is no apt-get, no right to use it, or no such package: the message has the command.
        UsageError: `agree` said no.
    """
    if not tools:
        return
    packages = [tool.package for tool in tools]
    command = f"apt-get install -y {' '.join(packages)}"
    lacking = f"missing: {', '.join(tool.provides for tool in tools)}"
    if shutil.which("apt-get") is None:
        raise MissingDependency(f"{lacking}; there is no apt-get here: install what a Debian would by {command}")
    as_root = _as_root()
    if as_root is None:
        raise MissingDependency(f"{lacking}; installing needs a password, so run it yourself: sudo {command}")
    if not agree(" ".join((*as_root, command))):
        raise UsageError(f"{lacking}; nothing was installed: say --yes, or run {command}")
    _apt_get(as_root, packages, progress)
    left = [tool.provides for tool in tools if not tool.here()]
    if left:
        raise MissingDependency(f"still missing after {command}: {', '.join(left)}; check the PATH")


def _as_root() -> tuple[str, ...] | None:
    """What stands before a command to run it as root; None when only a password would."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo") and process.capture(["sudo", "-n", "true"], timeout=30).code == 0:
        return ("sudo", "-n")
    return None


def _apt_get(as_root: tuple[str, ...], packages: list[str], progress: Progress) -> None:
    log = store("apt-get.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    apt_get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    install_them = [*apt_get, "install", "-y", "--no-install-recommends", *packages]
    progress(f"installing {', '.join(packages)}", 0, 1)
    if process.log_to(install_them, log) == 0:
        return
    progress("reading the package lists", 0, 1)  # a fresh machine has none
    process.log_to([*apt_get, "update"], log)
    progress(f"installing {', '.join(packages)}", 0, 1)
    if process.log_to(install_them, log) != 0:
        ending = [line for line in log.read_text("utf-8", "replace").splitlines() if line.startswith("E:")]
        reason = ending[-1] if ending else "it did not say why"
        raise MissingDependency(f"apt-get failed: {reason}; run it yourself: apt-get install {' '.join(packages)}")
