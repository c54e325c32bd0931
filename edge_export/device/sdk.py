"""ExecuTorch SDKs: headers and libraries out of the executorch wheel, of this machine and of Arm.

This machine's is the package installed here. The Arm one is fetched from the package index, of the same version,
and unpacked into the cache. It knows neither compilers nor devices.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_export.device.store import fetched, hashes, intact_files, store, write_hashes
from edge_export.device.wheels import pip_download, unpack
from edge_export.errors import DeviceError, FetchError, MissingDependency
from edge_export.progress import Progress, silent
from runtime_py.bundle import sha256_of

PACKAGE = "executorch"
PLATFORM = "manylinux_2_28_aarch64"
PYTHONS = ("311", "312", "313", "310")  # headers and libraries are the same for each
WANTED = ("executorch/include/*", "executorch/lib/*", "executorch/share/cmake/*")
RECORD_FILE = "sdk.json"


@dataclass(frozen=True, kw_only=True)
class Sdk:
    """`folder` holds executorch/; `digest` tells one SDK's libraries from another's."""

    folder: Path
    version: str
    digest: str

    @property
    def libraries(self) -> Path:
        return self.folder / PACKAGE / "lib"


def installed_version() -> str:
    """The version of ExecuTorch in use, without the part that names a local build."""
    try:
        return importlib.metadata.version(PACKAGE).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependency("executorch is not installed: pip install 'edge-export[executorch]'") from None


def host_sdk() -> Sdk:
    """The SDK in the installed package; MissingDependency when there is none."""
    version = installed_version()
    spec = importlib.util.find_spec(PACKAGE)
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    for place in places:
        if (place / "lib" / "libexecutorch.so").is_file() and (place / "include").is_dir():
            return Sdk(folder=place.parent, version=version, digest=_digest(hashes(place.parent, place / "lib")))
    raise MissingDependency(
        f"the installed executorch {version} carries no C++ headers and libraries; install its wheel: "
        "pip install --force-reinstall 'edge-export[executorch]'"
    )


def arm_sdk() -> Sdk:
    """The Arm SDK that `device setup` brought; MissingDependency when it is missing or damaged."""
    version = installed_version()
    found = _read(_arm_folder(version), version)
    if found is None:
        raise MissingDependency(
            f"the Arm libraries of executorch {version} are not here yet; bring them: edge-export device setup"
        )
    return found


def fetch_arm_sdk(progress: Progress = silent) -> Sdk:
    """The Arm SDK, fetched if it is not here yet or was damaged.

    Raises:
        FetchError: the package index cannot be reached, or has no such wheel.
        DeviceError: the wheel is unsafe, or not what it should be.
    """
    version = installed_version()

    def make(partial: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="edge-export-") as scratch:
            wheel = download(version, Path(scratch), progress)
            unpack(wheel, partial, progress, wanted=WANTED)
            origin = {"version": version, "wheel": wheel.name, "wheel_sha256": sha256_of(wheel)}
        write_hashes(partial, RECORD_FILE, origin)

    found = fetched(_arm_folder(version), f"sdk-{version}", lambda folder: _read(folder, version), make)
    if found is None:
        raise DeviceError(f"the Arm wheel of executorch {version} holds no libexecutorch.so; use another version")
    return found


def download(version: str, folder: Path, progress: Progress = silent) -> Path:
    """Fetch the Arm wheel of this very version into `folder`, with pip."""
    progress(f"downloading executorch {version} for Arm", 0, 1)
    own = f"{sys.version_info.major}{sys.version_info.minor}"
    reason = "pip is not installed"
    for python in dict.fromkeys((own, *PYTHONS)):
        finished = pip_download((f"{PACKAGE}=={version}",), folder, platforms=(PLATFORM,), python=python)
        wheels = sorted(folder.glob("*.whl"))
        if finished.code == 0 and wheels:
            return wheels[0]
        reason = finished.last_line
    raise FetchError(
        f"cannot fetch the Arm wheel of executorch {version} ({reason}); check the network and pip's settings, then "
        "run the same command again"
    )


def _arm_folder(version: str) -> Path:
    return store("sdk", f"{PACKAGE}-{version}-aarch64")


def _read(folder: Path, version: str) -> Sdk | None:
    files = intact_files(folder, RECORD_FILE, "version", version, needed=(f"{PACKAGE}/lib/libexecutorch.so",))
    return None if files is None else Sdk(folder=folder, version=version, digest=_digest(files))


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
