"""What is downloaded, from catalog to cache: only what the lock names, and only if it is that very file."""

import errno
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from android_demo.offline import downloads, maven
from android_demo.offline.build import LOCK
from android_demo.offline.catalog import read_catalog
from android_demo.offline.lock import LIBRARIES, Artifact, read_lock
from edge_export.errors import FetchError, MissingDependency, OutputError, UsageError
from edge_export.progress import silent
from tests.shared import replaced

RIGHT = b"class files"


def artifact(name: str = "tool-1.0.jar", data: bytes = RIGHT) -> Artifact:
    return Artifact(
        wanted="org.example:tool:1.0",
        name=name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        uses=("test",),
    )


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edge-export" / "android"


@pytest.fixture
def served(monkeypatch):
    """Stands in for Maven: whatever is asked for has the bytes that this function was last given; counts the calls."""
    calls: list[tuple[str, ...]] = []

    def serve(data: bytes) -> list[tuple[str, ...]]:
        def fetch(wanted: tuple[str, ...], scratch: Path) -> dict[str, Path]:
            calls.append(wanted)
            (scratch / "fetched").write_bytes(data)
            return dict.fromkeys(wanted, scratch / "fetched")

        monkeypatch.setattr(maven, "fetch", fetch)
        return calls

    return serve


def install(monkeypatch, folder: Path, name: str, script: str) -> None:
    """Put a script that Python runs first on the PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable} -IS\n{script}", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_is_here_is_not_fetched_again(cache, served):
    calls = served(RIGHT)
    first = downloads.bring((artifact(),), silent)
    assert first == downloads.bring((artifact(),), silent)
    assert first[artifact()].read_bytes() == RIGHT and first[artifact()].is_relative_to(cache)
    assert len(calls) == 1


@pytest.mark.parametrize("damage", [b"", RIGHT[:-1], b"x" + RIGHT[1:]])
def test_what_was_damaged_since_is_fetched_again(cache, served, damage):
    calls = served(RIGHT)
    (path,) = downloads.bring((artifact(),), silent).values()
    path.write_bytes(damage)
    assert not downloads.kept((artifact(),))
    downloads.bring((artifact(),), silent)
    assert path.read_bytes() == RIGHT and len(calls) == 2


def test_another_file_than_the_locked_one_is_refused_and_not_kept(cache, served):
    served(b"class filez")
    with pytest.raises(FetchError, match=r"another tool-1\.0\.jar than the lock names \(sha256 [0-9a-f]{64}, expected"):
        downloads.bring((artifact(),), silent)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_full_disk_is_one_line_and_leaves_nothing(cache, served, monkeypatch):
    def full(_source: Path, sink: Path) -> None:
        sink.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(sink))

    served(RIGHT)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="the disk is full"):
        downloads.bring((artifact(),), silent)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_found_out_before_anything_is_downloaded(cache, served):
    calls = served(RIGHT)
    cache.parent.mkdir(parents=True)
    cache.write_text("no folder")
    with pytest.raises(OutputError, match=str(cache)):
        downloads.bring((artifact(),), silent)
    assert calls == []


def test_without_a_network_maven_is_asked_three_times_and_its_reason_told(tmp_path, cache, monkeypatch):
    said = "\x1b[0m[ERROR] Failed: Could not transfer artifact org.example:tool from central: Unknown host x"
    script = f"open({str(tmp_path / 'log')!r}, 'a').write('x')\nprint({said!r})\nraise SystemExit(1)\n"
    install(monkeypatch, tmp_path / "bin", "mvn", script)
    with pytest.raises(FetchError, match=r"\(Could not transfer artifact .*: Unknown host x\); check the network"):
        downloads.bring((artifact(),), silent)
    assert (tmp_path / "log").read_text() == "xxx"


def test_a_disk_that_maven_finds_full_is_one_line(tmp_path, cache, monkeypatch):
    said = (
        "[ERROR] Could not transfer artifact a:b: GET request of: a/b.pom from central failed: No space left on device"
    )
    install(monkeypatch, tmp_path / "bin", "mvn", f"print({said!r})\nraise SystemExit(1)\n")
    with pytest.raises(OutputError, match="the disk is full; free some space"):
        downloads.bring((artifact(),), silent)


def test_without_maven_it_says_how_to_get_it(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="apt-get install maven"):
        downloads.bring((artifact(),), silent)


def test_the_lock_is_of_the_catalog(catalog):
    lock = read_lock(LOCK, catalog)
    assert {artifact.wanted for artifact in lock.of("library")} >= {
        library.coordinates(catalog) for library in LIBRARIES if library.use == "library"
    }
    assert f"-api-{catalog.version('min-sdk')}:" in catalog.library("gummy-bears")


def test_a_newer_catalog_asks_for_a_newer_lock(project):
    path = project.folder / "gradle" / "libs.versions.toml"
    path.write_text(path.read_text().replace('coroutines = "1.10.2"', 'coroutines = "1.99.0"'))
    with pytest.raises(UsageError, match=r"does not know .*coroutines-core:1\.99\.0.*android_demo\.offline lock"):
        read_lock(LOCK, read_catalog(path))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("artifacts.0.sha256", "no hash", r"artifacts\[0\]\.sha256: expected 64 hex digits"),
        ("artifacts.0.name", "../evil.jar", "no file's name"),
        ("artifacts.0.wanted", "org.example:tool:1</version>", "which names nothing"),
        ("artifacts.0.extra", 1, "is not a key of this schema"),
        ("artifacts.0.bytes", ..., "is missing"),
        ("format", 1, "is 1, expected 2"),
    ],
)
def test_a_lock_that_is_none_is_refused(tmp_path, catalog, path, value, words):
    broken = tmp_path / "lock.json"
    broken.write_text(json.dumps(replaced(json.loads(LOCK.read_text()), path, value)))
    with pytest.raises(UsageError, match=words):
        read_lock(broken, catalog)


@pytest.mark.parametrize("text", ["", "[versions]", "[versions]\na = 1\n[libraries]", "[versions\n"])
def test_a_catalog_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "libs.versions.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="is no catalog that this build reads"):
        read_catalog(path)
