"""A Python for Arm with numpy and LiteRT, kept among this user's files for the emulator to run.

    <cache>/edge-export/device/litert/ai-edge-litert-<version>-aarch64/
        bin/python3.11, lib/ (loader, C and C++ libraries, standard library), site/ (numpy, LiteRT), arm.json (hashes)

Python comes from Debian, numpy and LiteRT are wheels for Arm. What runs under it is not known here.
"""

import importlib.metadata
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_export.device.debian import LOADER, PYTHON, download_debs, unpack_debs
from edge_export.device.store import fetched, intact_files, store, write_hashes
from edge_export.device.wheels import pip_download, unpack
from edge_export.errors import DeviceError, FetchError, MissingDependency
from edge_export.progress import Progress, silent
from runtime_py.bundle import sha256_of

PACKAGE = "ai-edge-litert"
RECORD_FILE = "arm.json"
NUMPY = ("numpy>=2,<3", "ml_dtypes>=0.5,<1")
PLATFORMS = tuple(
    f"manylinux{glibc}_aarch64" for glibc in ("2014", "_2_17", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34")
)
# The accelerator for WebGPU is of no use under emulation, and ends the process on CPUs without the atomics of Armv8.1.
LEFT_OUT = ("*WebGpu*", "*/tests/*", "*.pyi", "*.h", "*.a")
PYTHON_FILE, LOADER_FILE = f"bin/python{PYTHON}", f"lib/{LOADER}"


@dataclass(frozen=True, kw_only=True)
class ArmPython:
    """version: LiteRT's. files: path below `folder` -> sha256."""

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
                unpack(wheel, partial / "site", progress, wanted=("*",), left_out=LEFT_OUT)
            origin = {"version": version, "fetched": {path.name: sha256_of(path) for path in (*debs, *wheels)}}
        write_hashes(partial, RECORD_FILE, origin)

    found = fetched(_folder(version), f"litert-{version}", lambda folder: _read(folder, version), make)
    if found is None:
        raise DeviceError(f"the packages for Arm hold no Python {PYTHON} with LiteRT {version}; use another version")
    return found


def download_wheels(version: str, scratch: Path, progress: Progress = silent) -> list[Path]:
    """Fetch LiteRT of this very version, and the numpy that it needs, below `scratch`."""
    progress(f"downloading LiteRT {version} for Arm", 0, 1)
    folder = scratch / "wheels"
    wanted = (f"{PACKAGE}=={version}", *NUMPY)
    done = pip_download(wanted, folder, platforms=PLATFORMS, python=PYTHON.replace(".", ""))
    wheels = sorted(folder.glob("*.whl"))
    if done.code != 0 or len(wheels) != len(wanted):
        raise FetchError(
            f"cannot fetch LiteRT {version} for Arm ({done.last_line}); check the network and pip's settings, then "
            "run the same command again"
        )
    return wheels


def _folder(version: str) -> Path:
    return store("litert", f"{PACKAGE}-{version}-aarch64")


def _read(folder: Path, version: str) -> ArmPython | None:
    files = intact_files(folder, RECORD_FILE, "version", version, needed=(PYTHON_FILE, LOADER_FILE))
    return None if files is None else ArmPython(folder=folder, version=version, files=files)
