"""The native runner, compiled from its sources for this machine or for Arm, and the libraries it travels with.

    <cache>/edge-export/device/runner/<preset>-<key>/edge-run, its libraries, runner.json (their hashes)

It knows compilers and libraries; nothing of devices, nor of what the runner does.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_export.device import process
from edge_export.device.sdk import Sdk, arm_sdk, host_sdk
from edge_export.device.store import fetched, intact_files, store, write_hashes
from edge_export.device.tools import TOOLS, missing
from edge_export.errors import DeviceError, MissingDependency, OutputError
from edge_export.progress import Progress, silent
from runtime_native import SOURCES as INSTALLED_SOURCES
from runtime_py.bundle import sha256_of

RUNNER = "edge-run"
RECORD_FILE = "runner.json"
KEPT = 3  # built runners of each preset
SOURCES = ("CMakeLists.txt", "CMakePresets.json", "src")
TAIL = 4000  # characters of a log that a message may search


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """How a preset compiles. libraries: where the compiler's own are that must travel; none where the system has them.

    loader: starts programs on a device whose own loader is another kind, as Android's is.
    """

    preset: str
    place: str
    compiler: str
    readelf: str
    sdk: Callable[[], Sdk]
    libraries: Path | None = None
    loader: str | None = None


TOOLCHAINS: dict[str, Toolchain] = {
    chain.preset: chain
    for chain in (
        Toolchain(preset="host", place="host", compiler="g++", readelf="readelf", sdk=host_sdk),
        Toolchain(
            preset="linux-arm64",
            place="qemu",
            compiler="aarch64-linux-gnu-g++",
            readelf="aarch64-linux-gnu-readelf",
            sdk=arm_sdk,
            libraries=Path("/usr/aarch64-linux-gnu/lib"),
            loader="ld-linux-aarch64.so.1",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A folder that can travel. files: name -> sha256."""

    folder: Path
    files: dict[str, str]


def build_runner(preset: str, progress: Progress = silent, sources: Path | None = None) -> Built:
    """The runner for `preset`: found if these very sources were built before, else compiled.

    Raises:
        MissingDependency: a compiler, a header or an SDK is not installed.
        DeviceError: it does not compile; the message names the log.
    """
    chain = TOOLCHAINS[preset]
    sources = sources or INSTALLED_SOURCES
    lacking = [tool for tool in missing([chain.place]) if tool is not TOOLS["qemu"]]
    if lacking:
        names = ", ".join(tool.provides for tool in lacking)
        raise MissingDependency(f"cannot build the runner without {names}: edge-export device setup --on {chain.place}")
    sdk = chain.sdk()
    key = runner_key(chain, sdk, sources)
    folder = store("runner", f"{preset}-{key[:16]}")

    def make(partial: Path) -> None:
        _build(chain, sdk, sources, partial, progress)
        write_hashes(partial, RECORD_FILE, {"key": key})
        _trim(preset, folder)

    found = fetched(folder, f"runner-{preset}", lambda folder: _read(folder, key), make)
    if found is None:
        raise DeviceError(f"the runner in {folder} changed while it was built; run the same command again")
    return found


def runner_key(chain: Toolchain, sdk: Sdk, sources: Path) -> str:
    """64 hex digits: sha256 over the sources, the SDK, the compiler and its own libraries."""
    files = {path.relative_to(sources).as_posix(): sha256_of(path) for path in _source_files(sources)}
    compiler = process.capture([chain.compiler, "--version"], timeout=60).out
    own = [] if chain.libraries is None else [(chain.libraries / "libc.so.6").stat().st_size]
    document = [chain.preset, files, sdk.version, sdk.digest, compiler, own]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _source_files(sources: Path) -> Iterator[Path]:
    for name in SOURCES:
        path = sources / name
        yield from sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _build(chain: Toolchain, sdk: Sdk, sources: Path, out: Path, progress: Progress) -> None:
    log = store(f"build-{chain.preset}.log")
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="edge-export-build-") as scratch:
        configure = ["cmake", "-S", str(sources), "-B", scratch, "--preset", chain.preset, "-G", "Ninja"]
        configure += [f"-DEXECUTORCH_SDK={sdk.folder}", "-DEDGE_TESTS=OFF"]
        progress(f"building the runner for {chain.preset}", 0, 2)
        _step(configure, log, sources)
        _step(["cmake", "--build", scratch, "--target", RUNNER], log, sources)
        progress(f"building the runner for {chain.preset}", 1, 2)
        _step(["cmake", "--install", scratch, "--prefix", str(out), "--strip"], log, sources)
    if not (out / RUNNER).is_file():
        raise DeviceError(f"the build for {chain.preset} made no {RUNNER}; its log is {log}")
    _gather(chain, sdk, out)


def _step(argv: list[str], log: Path, folder: Path) -> None:
    if process.log_to(argv, log, folder=folder) == 0:
        return
    lines = log.read_text("utf-8", "replace")[-TAIL:].splitlines()
    if any("No space left" in line for line in lines):
        raise OutputError(
            f"the disk is full: the runner cannot be built in {store()}; free some space, or set XDG_CACHE_HOME"
        )
    errors = [line.strip() for line in lines if re.search(r"error|not found|is not installed", line, re.IGNORECASE)]
    ending = (errors or [line for line in lines if line.strip()] or ["it said nothing"])[0][:300]
    raise DeviceError(f"the runner does not build: {ending}; the whole log is {log}")


def _gather(chain: Toolchain, sdk: Sdk, out: Path) -> None:
    """Copy beside the runner every library that it, or one of them, needs and that the device will not have."""
    folders = [sdk.libraries, *([chain.libraries] if chain.libraries else [])]
    waiting = [RUNNER]
    while waiting:
        for name in _needed(chain, out / waiting.pop()):
            if (out / name).exists():
                continue
            found = [folder / name for folder in folders if (folder / name).is_file()]
            if found:
                shutil.copyfile(found[0], out / name)
                (out / name).chmod(0o755)
                waiting.append(name)
            elif chain.libraries is not None:
                raise DeviceError(f"{name}, which the runner needs, is in none of {', '.join(map(str, folders))}")
    if chain.loader and chain.libraries and not (out / chain.loader).exists():
        shutil.copyfile(chain.libraries / chain.loader, out / chain.loader)
        (out / chain.loader).chmod(0o755)


def _needed(chain: Toolchain, path: Path) -> list[str]:
    done = process.capture([chain.readelf, "--dynamic", "--wide", str(path)], timeout=60)
    if done.code != 0:
        raise DeviceError(f"{chain.readelf} cannot read {path.name}: {done.last_line}; install binutils again")
    return re.findall(r"\(NEEDED\).*\[(.+)\]", done.out)


def _read(folder: Path, key: str) -> Built | None:
    """The runner in `folder` if it is whole, and marked as used."""
    files = intact_files(folder, RECORD_FILE, "key", key)
    if files is None:
        return None
    with suppress(OSError):
        (folder / RECORD_FILE).touch()
    return Built(folder=folder, files=files)


def _trim(preset: str, used: Path) -> None:
    """Keep the runners of this preset that were used last."""
    others = [path for path in used.parent.glob(f"{preset}-*") if path != used and (path / RECORD_FILE).is_file()]
    with suppress(OSError):
        others.sort(key=lambda path: (path / RECORD_FILE).stat().st_mtime, reverse=True)
        for old in others[KEPT - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
