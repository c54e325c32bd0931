"""The lock written anew: each library of the build and all that it asks for, fetched and hashed. Kept is nothing."""

import tempfile
from pathlib import Path

from android_demo.offline import maven
from android_demo.offline.catalog import Catalog
from android_demo.offline.lock import LIBRARIES, Artifact, Library, write_lock
from edge_export.progress import Progress
from runtime_py.bundle import sha256_of


def relock(path: Path, catalog: Catalog, progress: Progress) -> tuple[Artifact, ...]:
    """Ask the repositories for what the catalog names, and write the lock at `path`.

    Raises:
        FetchError: the network, or something is not to be had.
        MissingDependency: Maven is missing.
    """
    uses = tuple(dict.fromkeys(library.use for library in LIBRARIES))
    found: dict[str, Artifact] = {}
    with tempfile.TemporaryDirectory(prefix="edge-export-") as folder:
        for index, use in enumerate(uses):
            progress(f"asking Maven what the {use} needs", index, len(uses))
            scratch = Path(folder, use)
            scratch.mkdir()
            for wanted, file in _files(use, catalog, scratch).items():
                before = found[wanted].uses if wanted in found else ()
                found[wanted] = _artifact(wanted, file, (*before, use))
    artifacts = tuple(found.values())
    write_lock(path, artifacts)
    return artifacts


def _files(use: str, catalog: Catalog, scratch: Path) -> dict[str, Path]:
    def named(whole: bool) -> tuple[str, ...]:
        return tuple(_coordinates(each, catalog) for each in LIBRARIES if each.use == use and each.whole == whole)

    found = maven.closure(named(True), scratch) if named(True) else {}
    return found | (maven.fetch(named(False), scratch) if named(False) else {})


def _coordinates(library: Library, catalog: Catalog) -> str:
    return library.coordinates(catalog)


def _artifact(wanted: str, file: Path, uses: tuple[str, ...]) -> Artifact:
    return Artifact(wanted=wanted, name=file.name, bytes=file.stat().st_size, sha256=sha256_of(file), uses=uses)
