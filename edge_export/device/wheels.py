"""Wheels for other machines than this one: fetched by pip, and unpacked without trust in the names they hold."""

import shutil
import stat
import sys
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from edge_export.device import process
from edge_export.errors import DeviceError, MissingDependency
from edge_export.progress import Progress, silent

MAX_BYTES = 400 << 20
MAX_FILES = 50_000
READ_BYTES = 1 << 20
DOWNLOAD_SECONDS = 1800.0


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
    wheel: Path, folder: Path, progress: Progress = silent, *, wanted: tuple[str, ...], left_out: tuple[str, ...] = ()
) -> None:
    """Take what matches `wanted` and not `left_out` out of a wheel.

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
