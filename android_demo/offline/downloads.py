"""The files of the lock, kept in the user's cache: fetched once, never used or kept unless their sha256 is right.

It does not know what they are for.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from android_demo.offline import maven
from android_demo.offline.lock import Artifact
from edge_export.errors import FetchError, OutputError, UsageError
from edge_export.progress import Progress
from edge_export.staging import output_error, staged_folder
from runtime_py.bundle import sha256_of
from runtime_py.caches import cache_folder


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
        MissingDependency: Maven is missing.
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


def _require_writable(place: Path) -> None:
    """Found out before anything is downloaded: OSError where nothing can be kept in `place`."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=place):
        pass


def _fetch(missing: tuple[Artifact, ...], scratch: Path, progress: Progress) -> dict[Artifact, Path]:
    size = sum(artifact.bytes for artifact in missing)
    progress(f"downloading {len(missing)} files by Maven, {size / 1e6:.0f} MB", 0, 1)
    fetched = maven.fetch(tuple(artifact.wanted for artifact in missing), scratch)
    return {artifact: _keep(artifact, fetched[artifact.wanted]) for artifact in missing}


def _keep(artifact: Artifact, fetched: Path) -> Path:
    """Put what was fetched in its place, if it is what the lock says."""
    if not _is(artifact, fetched):
        raise FetchError(
            f"Maven fetched another {artifact.name} than the lock names (sha256 {sha256_of(fetched)}, expected "
            f"{artifact.sha256}); it was not kept: check where Maven fetches from"
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
