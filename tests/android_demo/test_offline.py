"""The offline build: what it finds wrong, and that the Kotlin of this repository is right."""

import fcntl
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from android_demo.offline import archives, jdk
from android_demo.offline.build import make, work_folder
from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import find_jdk
from android_demo.offline.lint import MOST_LINES, long_functions
from edge_export.errors import MissingDependency
from edge_export.progress import silent
from tests.android_demo.conftest import PROJECT
from tests.shared import Result

ROOT = PROJECT.parent


def android(*words: object) -> Result:
    argv = [sys.executable, "-m", "android_demo.offline", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    return Result(program="android", code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.slow
def test_the_kotlin_of_this_repository_passes_its_tests(kotlin_tested):
    assert json.loads((kotlin_tested / "tests.json").read_text()) > 500


@pytest.mark.slow
def test_all_of_it_for_a_small_project(downloaded, project):
    outcome = make("check", project.folder, silent)
    assert outcome.linted == 2 and outcome.classes > 2
    assert outcome.on_jvm == outcome.from_dex and outcome.on_jvm.passed == 2
    assert outcome.dex_bytes > 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("goal", "where", "old", "new", "words"),
    [
        ("build", "main", "public suspend", "suspend", "compiling core (main) failed"),  # whether it is public
        ("build", "main", "delay(1)", "delay(1!!)", "compiling core (main) failed"),  # a warning
        ("build", "main", "delay(1)", "javax.script.ScriptEngineManager()", "has what core calls failed"),
        ("test", "test", "listOf(0, 1)", "listOf(0, 2)", "1 of 2 tests of core fail on the JVM"),
        ("test", "test", "@Test", "", "the tests of core on the JVM failed"),  # there is none
        ("lint", "main", "delay(1)", "delay( 1 )", "ktlint failed"),
    ],
)
def test_what_is_wrong_is_found(downloaded, project, goal, where, old, new, words):
    path = getattr(project, where)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ToolFailed) as caught:
        make(goal, project.folder, silent)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.printed


@pytest.mark.slow
def test_a_reference_to_nothing_is_found_in_the_dex(downloaded, project, monkeypatch):
    write = archives.write_classes

    def without_one(out: Path, jars: tuple[Path, ...]) -> None:
        write(out, jars)
        with zipfile.ZipFile(out) as whole:
            kept = {name: whole.read(name) for name in whole.namelist() if name != "kotlinx/coroutines/Job.class"}
        with zipfile.ZipFile(out, "w") as less:
            for name, data in kept.items():
                less.writestr(name, data)

    monkeypatch.setattr(archives, "write_classes", without_one)
    with pytest.raises(ToolFailed, match="R8 failed") as caught:
        make("dex", project.folder, silent)
    assert any("Missing class kotlinx.coroutines.Job" in line for line in caught.value.printed)


def test_a_tool_that_does_not_end_is_ended(tmp_path, monkeypatch):
    java(monkeypatch, tmp_path, "17")
    found = find_jdk(17)
    (tmp_path / "bin" / "java").write_text(f"#!{sys.executable} -IS\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr(jdk, "SECONDS", 0.2)
    with pytest.raises(ToolFailed, match=r"ktlint was ended after 0 s"):
        found.run("ktlint", ("-jar",), (), ())


def java(monkeypatch, home: Path, version: str, *, compiler: bool = True) -> None:
    """A stand-in for Java in `home`, which JAVA_HOME names."""
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    if compiler:
        (home / "lib" / "ct.sym").touch()
    said = f"    java.home = {home}\n    java.specification.version = {version}\n"
    (home / "bin" / "java").write_text(f"#!{sys.executable} -IS\nimport sys\nsys.stderr.write({said!r})\n")
    (home / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(home))


def test_the_java_of_java_home_is_taken(tmp_path, monkeypatch):
    java(monkeypatch, tmp_path, "21")
    assert (find_jdk(17).home, find_jdk(17).version) == (tmp_path, 21)


@pytest.mark.parametrize("version", ["11", "1.8"])
def test_too_old_a_java_is_told_with_what_is_needed(tmp_path, monkeypatch, version):
    java(monkeypatch, tmp_path, version)
    told = rf"is Java {version.removeprefix('1.')}, and Java 17 or later is needed: apt-get install openjdk-17-jdk"
    with pytest.raises(MissingDependency, match=told):
        find_jdk(17)


@pytest.mark.parametrize("script", ["raise SystemExit(1)", "print('something else')"])
def test_a_java_that_does_not_say_what_it_is_is_told(tmp_path, monkeypatch, script):
    java(monkeypatch, tmp_path, "17")
    (tmp_path / "bin" / "java").write_text(f"#!{sys.executable} -IS\n{script}\n")
    with pytest.raises(MissingDependency, match="does not say which Java it is"):
        find_jdk(17)


def test_a_java_without_its_compiler_is_told(tmp_path, monkeypatch):
    java(monkeypatch, tmp_path, "17", compiler=False)
    with pytest.raises(MissingDependency, match="holds a Java without its compiler"):
        find_jdk(17)


@pytest.mark.parametrize("home", [None, "nowhere"])
def test_no_java_is_one_line(project, monkeypatch, tmp_path, home):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if home:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / home))
    result = android("build", "--project", project.folder)
    assert result.code == 8
    assert "there is no Java" in result.error and "Java 17 or later is needed" in result.error


def test_a_build_says_that_it_waits_for_another(tmp_path):
    said: list[str] = []
    lock = tmp_path / "build" / "offline" / "core.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)

        def hear(what: str, _done: int, _total: int) -> None:
            said.append(what)
            fcntl.flock(handle, fcntl.LOCK_UN)

        with work_folder(tmp_path, "core", hear) as work:
            assert list(work.iterdir()) == []
    assert said == [f"waiting for another build of core in {tmp_path}"]


def test_a_folder_that_is_no_project_is_one_line(tmp_path):
    result = android("lint", "--project", tmp_path)
    assert result.code == 2
    assert result.error.endswith("libs.versions.toml: No such file or directory; name the folder of a Gradle project")


def test_with_nothing_downloaded_and_no_network_nothing_is_left(project, monkeypatch, tmp_path):
    java(monkeypatch, tmp_path / "jdk", "17")
    (tmp_path / "bin").mkdir()
    mvn = tmp_path / "bin" / "mvn"
    mvn.write_text(
        f"#!{sys.executable} -IS\nprint('[ERROR] Could not transfer artifact a:b: Unknown host')\nraise SystemExit(1)\n"
    )
    mvn.chmod(0o755)
    monkeypatch.setenv("PATH", f"{mvn.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = android("build", "--project", project.folder)
    assert result.code == 9
    assert "Unknown host); check the network" in result.error
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert not (project.folder / "build").exists()


def test_a_class_held_twice_is_refused(tmp_path):
    jars = [tmp_path / "one.jar", tmp_path / "two.jar"]
    for jar in jars:
        with zipfile.ZipFile(jar, "w") as archive:
            archive.writestr("a/B.class", b"")
            archive.writestr("module-info.class", b"")
            archive.writestr("META-INF/versions/9/a/B.class", b"")
    with pytest.raises(ToolFailed, match=r"both one\.jar and two\.jar hold a/B\.class"):
        archives.write_classes(tmp_path / "out.jar", jars)


@pytest.mark.parametrize("head", ["fun f() {", "fun f(\n    a: Int,\n) {", "fun f() = run {", "    override fun f() {"])
def test_a_long_function_is_found_and_one_of_the_right_length_is_not(tmp_path, head):
    path, indent = tmp_path / "A.kt", " " * (len(head) - len(head.lstrip()))
    for lines in (MOST_LINES, MOST_LINES + 1):
        body = f"{indent}    x()\n" * (lines - head.count("\n") - 2)
        path.write_text(f"val x = 1\n\n{head}\n{body}{indent}}}\n\nfun g() {{\n}}\n")
        assert len(long_functions(path)) == (lines > MOST_LINES), path.read_text()
