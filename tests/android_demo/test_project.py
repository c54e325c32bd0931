"""What the offline build reads of Gradle's files: what it needs to know stands there in plain words, or it says so."""

import pytest

from android_demo.offline.project import read_modules
from edge_export.errors import UsageError
from tests.android_demo.conftest import PROJECT


def test_modules_come_after_those_that_they_stand_on(android_project):
    core, library, app = read_modules(android_project.folder)
    assert (core.name, library.name, app.name) == ("core", "library", "app")
    assert app.needs == (core, library) and library.needs == (core,) and core.needs == ()
    assert (core.kind, library.kind, app.kind) == ("jvm", "library", "application")
    assert (app.namespace, app.application_id, app.version_code, app.version_name) == (
        *("sample.app", "org.example.sample"),
        *("3", "1.2"),
    )


def test_of_one_module_only_what_it_stands_on_is_read(android_project):
    (android_project.folder / "app" / "build.gradle.kts").unlink()
    assert [module.name for module in read_modules(android_project.folder, "library")] == ["core", "library"]


def test_the_rules_of_this_repository_are_found():
    assert [path.name for path in read_modules(PROJECT, "sdk")[-1].rules] == ["consumer-rules.pro"]


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("settings.gradle.kts", "include", "exclude", "includes no module"),
        ("app/build.gradle.kts", '":library"', '":nowhere"', "asks for the module 'nowhere', which settings"),
        ("library/build.gradle.kts", '":core"', '":app"', "stand on one another: app on library on app"),
        ("core/build.gradle.kts", "kotlin.jvm", "kotlin.js", "applies 0 of the plugins"),
        ("app/build.gradle.kts", '"sample.app"', "name()", "sets no namespace that can be read"),
        ("app/build.gradle.kts", "versionCode = 3", "", "sets no versionCode that can be read"),
        ("library/build.gradle.kts", "namespace =", 'consumerProguardFiles("a.pro")\n    namespace =', "names a.pro"),
    ],
)
def test_a_project_that_does_not_say_enough_is_refused(android_project, name, old, new, words):
    path = android_project.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=words) as caught:
        read_modules(android_project.folder)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_refused_with_those_that_are(android_project):
    with pytest.raises(UsageError, match=r"no module called 'wear' .*; choose from core, app, library"):
        read_modules(android_project.folder, "wear")
