"""The lock file: every file that this build downloads, and its sha256. It knows no network."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from android_demo.offline.catalog import Catalog
from edge_export.errors import UsageError
from runtime_py import strict_json
from runtime_py.schema import SchemaError, read_as, require

LOCK_FORMAT = 2
REFRESH = "run: python -m android_demo.offline lock"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
COORDINATES = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+(:[\w.-]+){0,2}")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file. `wanted`: Maven's group:name:version[:packaging[:classifier]]."""

    wanted: str
    name: str
    bytes: int
    sha256: str
    uses: tuple[str, ...]

    def validate(self, path: str) -> None:
        named = COORDINATES.fullmatch(self.wanted) is not None
        require(named, f"{path}.wanted", f"is {self.wanted!r}, which names nothing")
        require(NAME.fullmatch(self.name) is not None, f"{path}.name", f"is {self.name!r}, which is no file's name")
        require(re.fullmatch(r"[0-9a-f]{64}", self.sha256) is not None, f"{path}.sha256", "expected 64 hex digits")


@dataclass(frozen=True, kw_only=True)
class Lock:
    format: int
    artifacts: tuple[Artifact, ...]

    def of(self, *uses: str) -> tuple[Artifact, ...]:
        """What is needed for any of these uses."""
        return tuple(artifact for artifact in self.artifacts if set(uses) & set(artifact.uses))


@dataclass(frozen=True, kw_only=True)
class Library:
    """What is locked for one use: a library of the catalog, and with `whole` all that it asks for."""

    use: str
    alias: str
    whole: bool = False
    packaging: str = "jar"
    classifier: str = ""

    def coordinates(self, catalog: Catalog) -> str:
        """group:name:version, with packaging and classifier where they are not the usual ones."""
        found = catalog.library(self.alias)
        if self.classifier:
            return f"{found}:{self.packaging}:{self.classifier}"
        return found if self.packaging == "jar" else f"{found}:{self.packaging}"


LIBRARIES = (
    Library(use="compiler", alias="kotlin-compiler", whole=True),
    Library(use="library", alias="kotlin-stdlib", whole=True),
    Library(use="library", alias="kotlinx-coroutines-core", whole=True),
    Library(use="library", alias="kotlinx-serialization-json", whole=True),
    Library(use="test", alias="junit-console"),
    Library(use="test", alias="jna"),
    Library(use="api", alias="animal-sniffer", whole=True),
    Library(use="signature", alias="gummy-bears", packaging="signature"),
    Library(use="dex2jar", alias="dex2jar", whole=True),
    Library(use="lint", alias="ktlint-cli", classifier="all"),
    Library(use="r8", alias="r8"),
    Library(use="android", alias="android-all"),
    Library(use="aapt2", alias="apktool"),
    Library(use="robolectric", alias="robolectric", whole=True),
    Library(use="robolectric", alias="junit4", whole=True),
    Library(use="sandbox", alias="android-sandbox"),
    Library(use="sign", alias="apksig"),
)


def read_lock(path: Path, catalog: Catalog) -> Lock:
    """The lock at `path`, which is of the versions that the catalog has.

    Raises:
        UsageError: it cannot be read, is no lock, or is of other versions.
    """
    try:
        lock = read_as(Lock, strict_json.parse(path.read_text(encoding="utf-8")))
        require(lock.format == LOCK_FORMAT, "format", f"is {lock.format}, expected {LOCK_FORMAT}")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; {REFRESH}") from error
    except (SchemaError, ValueError) as error:
        raise UsageError(f"{path} is no lock file of this version ({error}); {REFRESH}") from error
    locked = {(use, artifact.wanted) for artifact in lock.artifacts for use in artifact.uses}
    wanted = {(library.use, library.coordinates(catalog)) for library in LIBRARIES}
    missing = sorted(name for _, name in wanted - locked)
    if missing:
        raise UsageError(f"{path} does not know {', '.join(missing)}, which {catalog.path.name} asks for; {REFRESH}")
    return lock


def write_lock(path: Path, artifacts: tuple[Artifact, ...]) -> None:
    """Write the lock, in an order that keeps differences short."""
    ordered = sorted(artifacts, key=lambda artifact: artifact.wanted)
    text = json.dumps(asdict(Lock(format=LOCK_FORMAT, artifacts=tuple(ordered))), indent=2)
    path.write_text(text + "\n", encoding="utf-8")
