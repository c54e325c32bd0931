"""Gradle's list of versions, `gradle/libs.versions.toml`, as this build reads it. It knows nothing of downloads."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_export.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """`versions` by name; `libraries`: alias -> "group:name:version", for those that have a version of their own."""

    path: Path
    versions: dict[str, str]
    libraries: dict[str, str]

    def version(self, name: str) -> str:
        return self._of(self.versions, "version", name)

    def library(self, alias: str) -> str:
        return self._of(self.libraries, "library", alias)

    def _of(self, table: dict[str, str], kind: str, name: str) -> str:
        if name not in table:
            raise UsageError(f"{self.path} has no {kind} {name!r}, which the offline build needs; add it")
        return table[name]


def read_catalog(path: Path) -> Catalog:
    """The catalog at `path`.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        versions = {name: _text(value) for name, value in document["versions"].items()}
        entries = {alias: _coordinates(value, versions) for alias, value in document["libraries"].items()}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; name the folder of a Gradle project") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no catalog that this build reads ({error}); compare it with Gradle's docs"
        ) from error
    return Catalog(path=path, versions=versions, libraries={alias: entry for alias, entry in entries.items() if entry})


def _coordinates(entry: dict[str, Any], versions: dict[str, str]) -> str:
    """ "group:name:version", or nothing for a library whose version another one decides."""
    if "version" not in entry:
        return ""
    return f"{_text(entry['module'])}:{versions[_text(entry['version']['ref'])]}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
