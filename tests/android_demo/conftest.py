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


JVM_BUILD = """plugins {
    alias(libs.plugins.kotlin.jvm)
}
"""
ANDROID_FILES = {
    "settings.gradle.kts": 'include(":core")\ninclude(":app")\ninclude(":library")\n',
    "library/build.gradle.kts": """plugins {
    alias(libs.plugins.android.library)
}

android {
    namespace = "sample.library"
}

dependencies {
    api(project(":core"))
}
""",
    "library/src/main/AndroidManifest.xml": """<manifest xmlns:android="http://schemas.android.com/apk/res/android">
    <application>
        <provider
            android:name=".Nothing"
            android:authorities="${applicationId}.nothing"
            android:exported="false" />
    </application>
</manifest>
""",
    "library/src/main/res/values/strings.xml": '<resources><string name="nothing">Nothing</string></resources>\n',
    "library/src/main/kotlin/Nothing.kt": """package sample.library

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.net.Uri
import sample.Named

public class Nothing : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor? = null

    override fun getType(uri: Uri): String? = null

    override fun insert(uri: Uri, values: ContentValues?): Uri? = null

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?): Int = 0

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<String>?): Int = 0
}

public class Nobody(private val context: Context) : Named {
    override val name: String get() = context.getString(R.string.nothing)
}
""",
    "app/build.gradle.kts": """plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "sample.app"
    defaultConfig {
        applicationId = "org.example.sample"
        versionCode = 3
        versionName = "1.2"
    }
}

dependencies {
    implementation(project(":library"))
}
""",
    "app/src/main/AndroidManifest.xml": """<manifest xmlns:android="http://schemas.android.com/apk/res/android">
    <application android:label="@string/title">
        <activity android:name=".MainActivity" android:exported="true">
            <intent-filter>
                <action android:name="android.intent.action.MAIN" />
                <category android:name="android.intent.category.LAUNCHER" />
            </intent-filter>
        </activity>
    </application>
</manifest>
""",
    "app/src/main/res/values/strings.xml": '<resources><string name="title">Rain</string></resources>\n',
    "app/src/main/res/values-de/strings.xml": '<resources><string name="title">Regen</string></resources>\n',
    "app/src/main/res/layout/main.xml": """<sample.app.Drop
    xmlns:android="http://schemas.android.com/apk/res/android"
    android:id="@+id/drop"
    android:layout_width="match_parent"
    android:layout_height="match_parent"
    android:text="@string/title" />
""",
    "app/src/main/kotlin/MainActivity.kt": """package sample.app

import android.app.Activity
import android.content.Context
import android.os.Bundle
import android.util.AttributeSet
import android.widget.TextView
import sample.library.Nobody

class Drop(context: Context, attributes: AttributeSet) : TextView(context, attributes)

class MainActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        title = Nobody(this).greeting()
    }
}
""",
    "app/src/test/kotlin/MainActivityTest.kt": """package sample.app

import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config

@RunWith(RobolectricTestRunner::class)
class MainActivityTest {
    private val activity = Robolectric.setupActivity(MainActivity::class.java)

    @Test
    fun `it shows its layout, and what the library says`() {
        assertEquals("Rain", activity.findViewById<Drop>(R.id.drop).text)
        assertEquals("hello, Nothing", activity.title)
    }

    @Test
    @Config(qualifiers = "de")
    fun `it speaks German`() {
        assertEquals("Regen", activity.findViewById<Drop>(R.id.drop).text)
    }
}
""",
}


class Project:
    """A project with one module; `main` and `test` are its sources. With `android`, a library and an app on it."""

    def __init__(self, folder: Path, *, android: bool = False) -> None:
        self.folder = folder
        files = {"settings.gradle.kts": 'include(":core")\n', "core/build.gradle.kts": JVM_BUILD}
        for name, text in (files | (ANDROID_FILES if android else {})).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.main = folder / "core" / "src" / "main" / "kotlin" / "Sample.kt"
        self.test = folder / "core" / "src" / "test" / "kotlin" / "SampleTest.kt"
        for path, text in ((self.main, MAIN), (self.test, TEST)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (folder / "gradle").mkdir()
        shutil.copyfile(PROJECT / "gradle" / "libs.versions.toml", folder / "gradle" / "libs.versions.toml")
        shutil.copyfile(PROJECT / ".editorconfig", folder / ".editorconfig")


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def android_project(tmp_path) -> Project:
    return Project(tmp_path / "project", android=True)


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
