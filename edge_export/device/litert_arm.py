"""LiteRT for Arm: the reference runtime itself, played by a Python for Arm that the emulator runs.

    <cache>/edge-export/device/litert/ai-edge-litert-<version>-aarch64/
        bin/python3.11, lib/ (loader, C and C++ libraries, standard library), site/ (numpy, LiteRT), arm.json (hashes)

Python comes from Debian, checked against Debian's signature by apt-get in a state of its own, so that this machine's
packages stay as they are; numpy and LiteRT are wheels for Arm, fetched by pip. It does not know what the runtime does.
"""

import hashlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_export.device import process, sdk
from edge_export.device.place import Parcel, PlaceKind
from edge_export.device.runner import HERE, Runner
from edge_export.device.store import fetched, one_writer, store
from edge_export.errors import DeviceError, FetchError, MissingDependency
from edge_export.progress import Progress, silent
from runtime_py import strict_json
from runtime_py.bundle import sha256_of

PACKAGE = "ai-edge-litert"
RECORD_FILE = "arm.json"
LOADER = "ld-linux-aarch64.so.1"
TRIPLET = "aarch64-linux-gnu"

SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PYTHON = "3.11"  # Debian's in this suite
DEBS = (
    f"python{PYTHON}-minimal",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
)
UNUSED = ("__pycache__", "asyncio", "config-*", "idlelib", "lib2to3", "pydoc_data", "sitecustomize.py", "test", "xml")
FETCH_SECONDS = 600.0

NUMPY = ("numpy>=2,<3", "ml_dtypes>=0.5,<1")
PLATFORMS = tuple(
    f"manylinux{glibc}_aarch64" for glibc in ("2014", "_2_17", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34")
)
# The accelerator for WebGPU is of no use under emulation, and ends the process on CPUs without the atomics of Armv8.1.
LEFT_OUT = ("*WebGpu*", "*/tests/*", "*.pyi", "*.h", "*.a")


@dataclass(frozen=True, kw_only=True)
class ArmPython:
    """A Python for Arm with numpy and LiteRT. files: path below `folder` -> sha256."""

    folder: Path
    version: str
    files: dict[str, str]


def installed_version() -> str:
    """The version of LiteRT in use, which is also the one for Arm."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependency("ai-edge-litert is not installed: pip install 'edge-export[litert]'") from None


def arm_python() -> ArmPython:
    """What `device setup` brought; MissingDependency when it is missing or damaged."""
    version = installed_version()
    found = _read(_folder(version), version)
    if found is None:
        raise MissingDependency(
            f"Python and LiteRT {version} for Arm are not here yet; bring them: edge-export device setup --on qemu"
        )
    return found


def fetch_arm_python(progress: Progress = silent) -> ArmPython:
    """Python, numpy and LiteRT for Arm, fetched if they are not here yet or were damaged.

    Raises:
        MissingDependency: LiteRT is not installed here, or apt-get, Debian's keys or pip are missing.
        FetchError: Debian or the package index cannot be reached, or has no such package.
        DeviceError: a package is damaged or unsafe.
    """
    version = installed_version()

    def make(partial: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="edge-export-") as scratch:
            debs = download_debs(Path(scratch), progress)
            wheels = download_wheels(version, Path(scratch), progress)
            unpack_debs(debs, Path(scratch, "debian"), partial)
            for wheel in wheels:
                sdk.unpack(wheel, partial / "site", progress, wanted=("*",), left_out=LEFT_OUT)
            record = {
                "version": version,
                "fetched": {path.name: sha256_of(path) for path in (*debs, *wheels)},
                "files": {path.relative_to(partial).as_posix(): sha256_of(path) for path in _files(partial)},
            }
        (partial / RECORD_FILE).write_text(json.dumps(record, indent=2), encoding="utf-8")

    found = fetched(_folder(version), f"litert-{version}", lambda folder: _read(folder, version), make)
    if found is None:
        raise DeviceError(f"the packages for Arm hold no Python {PYTHON} with LiteRT {version}; use another version")
    return found


def download_debs(scratch: Path, progress: Progress = silent) -> list[Path]:
    """Fetch DEBS below `scratch`, by an apt-get that knows this suite alone and nothing of what is installed here."""
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise MissingDependency(f"Python for Arm comes from Debian by {command}, which is not installed here")
    if not KEYRING.is_file():
        raise MissingDependency(f"{KEYRING} is missing, Debian's keys: apt-get install debian-archive-keyring")
    state, debs = scratch / "apt", scratch / "debs"
    for folder in (debs, state / "lists" / "partial", state / "cache" / "archives" / "partial"):
        folder.mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [arch=arm64 signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    progress("reading Debian's package list for Arm", 0, 2)
    _apt_get(state, debs, "update")
    progress(f"downloading Python {PYTHON} for Arm", 1, 2)
    _apt_get(state, debs, "download", *DEBS)
    return sorted(debs.glob("*.deb"))


def _apt_get(state: Path, folder: Path, *words: str) -> None:
    settings = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    done = process.follow(["apt-get", *options, *words], lambda _: None, folder=folder)
    if done.code != 0:
        causes = [line for line in done.err.splitlines() if "Failed to fetch" in line or line.startswith("E:")]
        said = (causes or [done.last_line])[0][:300]
        raise FetchError(
            f"cannot fetch Python for Arm from {MIRROR} ({said}); check the network, then run the same command again"
        )


def download_wheels(version: str, scratch: Path, progress: Progress = silent) -> list[Path]:
    """Fetch LiteRT of this very version, and the numpy that it needs, below `scratch`."""
    progress(f"downloading LiteRT {version} for Arm", 0, 1)
    folder = scratch / "wheels"
    wanted = (f"{PACKAGE}=={version}", *NUMPY)
    done = sdk.pip_download(wanted, folder, platforms=PLATFORMS, python=PYTHON.replace(".", ""))
    wheels = sorted(folder.glob("*.whl"))
    if done.code != 0 or len(wheels) != len(wanted):
        raise FetchError(
            f"cannot fetch LiteRT {version} for Arm ({done.last_line}); check the network and pip's settings, then "
            "run the same command again"
        )
    return wheels


def unpack_debs(debs: list[Path], scratch: Path, folder: Path) -> None:
    """Take the interpreter, its standard library and the libraries it needs out of Debian's packages.

    Raises:
        DeviceError: a package is damaged, or lacks what it should hold.
    """
    for deb in debs:
        done = process.capture(["dpkg-deb", "--extract", str(deb), str(scratch)], timeout=FETCH_SECONDS)
        if done.code != 0:
            raise DeviceError(f"{deb.name} is damaged ({done.last_line}); run the same command again")
    libraries, standard = folder / "lib", scratch / "usr" / "lib" / f"python{PYTHON}"
    (folder / "bin").mkdir()
    libraries.mkdir()
    try:
        for place in (scratch / "lib" / TRIPLET, scratch / "usr" / "lib" / TRIPLET):
            for path in place.glob("*.so.[0-9]"):  # the names that programs ask for
                shutil.copyfile(path, libraries / path.name)
        shutil.copytree(standard, libraries / standard.name, ignore=shutil.ignore_patterns(*UNUSED))
        for path in (scratch / "usr" / "bin" / f"python{PYTHON}", libraries / LOADER):
            kept = folder / "bin" / path.name if path.parent.name == "bin" else path
            if kept != path:
                shutil.copyfile(path, kept)
            kept.chmod(0o755)
    except FileNotFoundError as error:
        raise DeviceError(f"Debian's packages for Arm hold no {Path(error.filename).name}; report this") from error


def arm_runner(_kind: PlaceKind, _progress: Progress) -> Runner:
    """The reference runtime, under the Python for Arm that is here."""
    python = arm_python()
    files = {RECORD_FILE: sha256_of(python.folder / RECORD_FILE), **python.files}
    parcel = Parcel(name="runner-litert", folder=python.folder, files=files)
    start = (f"{HERE}/lib/{LOADER}", "--library-path", f"{HERE}/lib", f"{HERE}/bin/python{PYTHON}")
    environment = {
        "PYTHONHOME": str(python.folder),
        "PYTHONPATH": f"{runtime_folder()}:{python.folder / 'site'}",
        "PYTHONPYCACHEPREFIX": str(store("litert", "compiled")),  # nothing is added to what is held against hashes
    }
    return Runner(parcel=parcel, words=(*start, *OPTIONS), environment=environment, name=RUNTIME)


def host_runner(_kind: PlaceKind, _progress: Progress) -> Runner:
    """The reference runtime, under the Python that runs this."""
    folder = runtime_folder()
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in (folder / RUNTIME).rglob("*.py")}
    parcel = Parcel(name="runner-litert", folder=folder, files=files)
    return Runner(
        parcel=parcel, words=(sys.executable, *OPTIONS[1:]), environment={"PYTHONPATH": str(folder)}, name=RUNTIME
    )


RUNTIME = "runtime_py"
# No site folders but those of PYTHONPATH, for they would be this machine's; and nothing from the folder of the run.
OPTIONS = ("-S", "-s", "-P", "-m", RUNTIME)


def runtime_folder() -> Path:
    """A folder with the runtime and nothing beside it: where it is installed lie this machine's own packages."""
    import runtime_py

    installed = Path(runtime_py.__file__).absolute().parent
    folder = store("litert", f"runtime-{hashlib.sha256(str(installed).encode()).hexdigest()[:16]}")
    link = folder / RUNTIME
    with one_writer("litert-runtime"):
        if not link.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(installed)
    return folder


def _folder(version: str) -> Path:
    return store("litert", f"{PACKAGE}-{version}-aarch64")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _read(folder: Path, version: str) -> ArmPython | None:
    """What is in `folder` if it is whole: a cache may have been trimmed, or cut short by a full disk."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        record = strict_json.parse((folder / RECORD_FILE).read_text(encoding="utf-8"))
        files: dict[str, str] = record["files"]
        whole = record["version"] == version and {f"bin/python{PYTHON}", f"lib/{LOADER}"} <= files.keys()
        if whole and all(sha256_of(folder / name) == sha256 for name, sha256 in files.items()):
            return ArmPython(folder=folder, version=version, files=files)
    return None
