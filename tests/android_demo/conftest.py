"""A Gradle project of a few lines, and what the offline build has downloaded for this user."""

import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from android_demo.offline.build import LOCK, make
from android_demo.offline.catalog import Catalog, read_catalog
from android_demo.offline.downloads import kept
from android_demo.offline.lock import read_lock
from edge_export.progress import silent

PROJECT = Path(__file__).parent.parent.parent / "android_demo"
USER_CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
MAIN = """package sample

import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

public interface Named {
    public val name: String

    public fun greeting(): String = "hello, $name"
}

public suspend fun later(name: String): Named {
    delay(1)
    return object : Named {
        override val name = name
    }
}

public fun steps(count: Int): Flow<Int> = flow {
    repeat(count) { emit(it) }
}
"""
TEST = """package sample

import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class SampleTest {
    @Test
    fun `what suspends goes on`() = runBlocking {
        assertEquals("hello, rain", later("rain").greeting())
    }

    @Test
    fun `a flow ends early`() = runBlocking {
        assertEquals(listOf(0, 1), steps(5).take(2).toList())
    }
}
"""


class Project:
    """A project with one module; `main` and `test` are its sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.main = folder / "core" / "src" / "main" / "kotlin" / "Sample.kt"
        self.test = folder / "core" / "src" / "test" / "kotlin" / "SampleTest.kt"
        for path, text in ((self.main, MAIN), (self.test, TEST)):
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
        (folder / "gradle").mkdir()
        shutil.copyfile(PROJECT / "gradle" / "libs.versions.toml", folder / "gradle" / "libs.versions.toml")
        shutil.copyfile(PROJECT / ".editorconfig", folder / ".editorconfig")


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def catalog() -> Catalog:
    return read_catalog(PROJECT / "gradle" / "libs.versions.toml")


@pytest.fixture
def downloaded(monkeypatch, catalog) -> None:
    """All that the lock names, in the cache of this user."""
    monkeypatch.setenv("XDG_CACHE_HOME", USER_CACHE)
    artifacts = read_lock(LOCK, catalog).artifacts
    missing = len(artifacts) - len(kept(artifacts))
    if missing:
        reason = f"{missing} of {len(artifacts)} downloads are not here: python -m android_demo.offline fetch"
        (pytest.fail if os.environ.get("EDGE_EXPORT_NO_SKIP") else pytest.skip)(reason)


@pytest.fixture
def kotlin_tested(downloaded, run_folder) -> Path:
    """A copy of the Kotlin here, compiled and tested on the JVM once in the whole run; tests.json: how many passed."""
    project = run_folder / "android"
    with FileLock(f"{project}.lock"):
        if not (project / "tests.json").exists():
            shutil.rmtree(project, ignore_errors=True)
            shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("build"))
            tested = make("test", project, silent).on_jvm
            assert tested is not None
            (project / "tests.json").write_text(json.dumps(tested.passed), encoding="utf-8")
    return project
