"""ExecuTorch SDKs: headers and libraries out of the executorch wheel, of this machine and of Arm.

This machine's is the package installed here. The Arm one is fetched from the package index, of the same version,
and unpacked into the cache. It knows neither compilers nor devices.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from edge_export.device import process
from edge_export.device.store import fetched, store
from edge_export.errors import DeviceError, FetchError, MissingDependency
from edge_export.progress import Progress, silent
from runtime_py import strict_json
from runtime_py.bundle import sha256_of

PACKAGE = "executorch"
PLATFORM = "manylinux_2_28_aarch64"
PYTHONS = ("311", "312", "313", "310")  # headers and libraries are the same for each
WANTED = ("executorch/include/*", "executorch/lib/*", "executorch/share/cmake/*")
RECORD_FILE = "sdk.json"
MAX_BYTES = 400 << 20
MAX_FILES = 50_000
READ_BYTES = 1 << 20
DOWNLOAD_SECONDS = 1800.0


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
            return Sdk(folder=place.parent, version=version, digest=_digest(_hashes(place.parent, place / "lib")))
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
            unpack(wheel, partial, progress)
            record = {
                "version": version,
                "wheel": wheel.name,
                "wheel_sha256": sha256_of(wheel),
                "files": _hashes(partial, partial / PACKAGE),
            }
        (partial / RECORD_FILE).write_text(json.dumps(record, indent=2), encoding="utf-8")

    found = fetched(_arm_folder(version), f"sdk-{version}", lambda folder: _read(folder, version), make)
    if found is None:
        raise DeviceError(f"the Arm wheel of executorch {version} holds no libexecutorch.so; use another version")
    return found


def download(version: str, folder: Path, progress: Progress = silent) -> Path:
    """Fetch the Arm wheel of this very version into `folder`, with pip."""
    progress(f"downloading executorch {version} for Arm", 0, 1)
    own = f"{sys.version_info.major}{sys.version_info.minor}"
    said = "pip is not installed"
    for python in dict.fromkeys((own, *PYTHONS)):
        finished = pip_download((f"{PACKAGE}=={version}",), folder, platforms=(PLATFORM,), python=python)
        wheels = sorted(folder.glob("*.whl"))
        if finished.code == 0 and wheels:
            return wheels[0]
        said = finished.last_line
    raise FetchError(
        f"cannot fetch the Arm wheel of executorch {version} ({said}); check the network and pip's settings, then run "
        "the same command again"
    )


def pip_download(wanted: tuple[str, ...], folder: Path, *, platforms: tuple[str, ...], python: str) -> process.Output:
    """Fetch wheels for other platforms and another Python, such as "311", into `folder`, with pip.

    Raises:
        MissingDependency: there is no pip.
    """
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    argv += ["--disable-pip-version-check", "--python-version", python]
    argv += [word for platform in platforms for word in ("--platform", platform)]
    finished = process.capture([*argv, "--dest", str(folder), *wanted], timeout=DOWNLOAD_SECONDS)
    if finished.code != 0 and "No module named pip" in finished.last_line:
        raise MissingDependency(f"pip is not installed beside {sys.executable}; run: python -m ensurepip")
    return finished


def unpack(
    wheel: Path,
    folder: Path,
    progress: Progress = silent,
    *,
    wanted: tuple[str, ...] = WANTED,
    left_out: tuple[str, ...] = (),
) -> None:
    """Take what matches `wanted` and not `left_out` out of a wheel: by default headers, libraries and CMake files.

    Raises:
        DeviceError: it is no wheel, is damaged, names files outside its folder, or is too large to be true.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = archive.infolist()
            _check_members(wheel, members)
            taken = [member for member in members if _matches(member, wanted) and not _matches(member, left_out)]
            total, done = sum(member.file_size for member in taken), 0
            for member in taken:
                progress("unpacking", done, total)
                done += _extract(archive, member, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DeviceError(f"{wheel.name} is no wheel, or damaged ({error}); run the same command again") from error


def _check_members(wheel: Path, members: list[zipfile.ZipInfo]) -> None:
    """Every name is held to the rules, wanted or not: a wheel with one bad name is nobody's honest wheel."""
    if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_BYTES:
        raise DeviceError(f"{wheel.name} is too large to be true; check where pip fetches packages from")
    for member in members:
        path, name = PurePosixPath(member.filename), member.filename
        link = stat.S_ISLNK(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name or link:
            raise DeviceError(
                f"{wheel.name} names {name!r}, which leads outside it; it was not unpacked: check where pip fetches "
                "packages from"
            )


def _matches(member: zipfile.ZipInfo, patterns: tuple[str, ...]) -> bool:
    return not member.is_dir() and any(fnmatchcase(member.filename, pattern) for pattern in patterns)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> int:
    path = folder / member.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("xb") as sink:
        shutil.copyfileobj(source, sink, READ_BYTES)
    return member.file_size


def _arm_folder(version: str) -> Path:
    return store("sdk", f"{PACKAGE}-{version}-aarch64")


def _read(folder: Path, version: str) -> Sdk | None:
    """The SDK in `folder` if it is whole: a cache may have been trimmed, or cut short by a full disk."""
    try:
        record = strict_json.parse((folder / RECORD_FILE).read_text(encoding="utf-8"))
        files = record["files"]
        whole = record["version"] == version and "executorch/lib/libexecutorch.so" in files
        if whole and all(sha256_of(folder / name) == sha256 for name, sha256 in files.items()):
            return Sdk(folder=folder, version=version, digest=_digest(files))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _hashes(root: Path, folder: Path) -> dict[str, str]:
    """sha256 by path below `root` of the files in `folder`, in order of their names."""
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digest(hashes: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
