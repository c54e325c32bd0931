"""The offline build of Android modules: a small app from its sources to its APK, and each fault that is to be found."""

import struct
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from android_demo.offline import apk, manifest, resources
from android_demo.offline.apk_check import Apk, check_apk, read_manifest
from android_demo.offline.build import make
from android_demo.offline.errors import ToolFailed
from android_demo.offline.manifest import ANDROID, NAME, Identity
from android_demo.offline.project import read_modules
from edge_export.errors import BundleError, UsageError
from edge_export.progress import silent
from tests.android_demo.conftest import Project
from tests.fixtures.make_bundles import FOLDER

BUNDLE = FOLDER / "int8-dynamic" / "bundle"
IDENTITY = Identity(
    application_id="org.example.sample", version_code="3", version_name="1.2", min_sdk="26", target_sdk="36"
)
SEGMENTS_AT, SEGMENT_BYTES = 64, 56
ELF = b"\x7fELF\x02" + bytes(27) + struct.pack("<Q", SEGMENTS_AT) + bytes(14) + struct.pack("<2H", SEGMENT_BYTES, 1)


def library(align: int) -> bytes:
    """The head of a shared library of 64 bits, with one segment."""
    return ELF.ljust(SEGMENTS_AT, b"\0") + struct.pack("<I44xQ", 1, align)


def rewrite(
    source: Path,
    out: Path,
    *,
    without: str = "none",
    deflated: str = "none",
    shifted: str = "none",
    more: Mapping[str, bytes] | None = None,
) -> None:
    """A copy of an APK, aligned as it must be: but for files whose names end so, and with others put in."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(out, "w") as copy:
        entries = {member.filename: archive.read(member) for member in archive.infolist()} | dict(more or {})
        for name, data in entries.items():
            if name.endswith(without):
                continue
            entry = zipfile.ZipInfo(name)
            kept = archive.NameToInfo[name].compress_type if name in archive.NameToInfo else zipfile.ZIP_STORED
            entry.compress_type = zipfile.ZIP_DEFLATED if name.endswith(deflated) else kept
            step = 16384 if name.endswith(".so") else 4
            begin = copy.start_dir + 30 + len(name) + 4
            filling = (name.endswith(shifted) - begin) % step
            entry.extra = struct.pack("<2H", 0xD935, filling) + bytes(filling)
            copy.writestr(entry, data)


FILE_FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "no class": ({"without": ".dex"}, "the manifest's <activity> sample.app.MainActivity is in no dex"),
    "compressed": ({"deflated": ".pte"}, "dit.pte is compressed, and cannot be mapped"),
    "shifted": ({"shifted": ".pte"}, "which is no multiple of 4"),
    "another ABI": ({"more": {"lib/x86/libx.so": library(16384)}}, "it has libraries for x86, which it is not for"),
    "small pages": ({"more": {"lib/arm64-v8a/libx.so": library(4096)}}, "libx.so has a segment aligned to 4096"),
    "shifted library": (
        {"more": {"lib/x86_64/libx.so": library(16384)}, "shifted": ".so"},
        "which is no multiple of 16384",
    ),
    "no library": ({"more": {"lib/x86_64/libx.so": b"text"}}, "libx.so is no library of 64 bits"),
    "too large": ({"more": {"assets/large": bytes(15_000_000)}}, "bytes without the bundle, and 15000000 are the most"),
}


def permission(name: str) -> Callable[[Element], None]:
    return lambda root: root.append(Element("uses-permission", {NAME: f"android.permission.{name}"}))


def attribute(tag: str, **values: str | None) -> Callable[[Element], None]:
    """Sets attributes of the first such element, or takes them away."""

    def change(root: Element) -> None:
        element = next(root.iter(tag))
        for name, value in values.items():
            element.attrib.pop(f"{ANDROID}{name}", None)
            if value is not None:
                element.set(f"{ANDROID}{name}", value)

    return change


MANIFEST_FAULTS: dict[str, tuple[Callable[[Element], None], str]] = {
    "INTERNET": (permission("INTERNET"), "it asks for android.permission.INTERNET, which an app that plays offline"),
    "open": (attribute("provider", exported="true"), "<provider> sample.library.Nothing is open to every app"),
    "unsaid": (attribute("activity", exported=None), "has an intent filter and does not say whether it is exported"),
    "older": (attribute("uses-sdk", minSdkVersion="24"), "minSdkVersion is 24, expected 26"),
    "another target": (attribute("uses-sdk", targetSdkVersion="35"), "targetSdkVersion is 35, expected 36"),
    "nowhere": (attribute("provider", name="a.Nowhere"), "the manifest's <provider> a.Nowhere is in no dex"),
    "debuggable": (attribute("application", debuggable="true"), "it is debuggable"),
}
GUARDED = attribute("provider", exported="true", permission="android.permission.DUMP")


def built(project: Project, source: Path, change: Callable[[Element], None], out: Path) -> None:
    """A copy of an APK with another manifest."""
    folder = project.folder / "build" / "offline"
    (aapt2,), (framework,) = (folder.glob(f"platform/*-{name}") for name in ("aapt2", "framework.apk"))
    tree = ElementTree.parse(folder / "app" / "linked" / "AndroidManifest.xml")
    change(tree.getroot())
    attribute("application", label=None)(tree.getroot())  # its text is not linked here
    text, linked = out.with_suffix(".xml"), out.with_suffix(".linked")
    manifest.write(tree.getroot(), text)
    subprocess.run([aapt2, "link", "-I", framework, "--manifest", text, "-o", linked], check=True)
    with zipfile.ZipFile(linked) as archive:
        rewrite(source, out, more={"AndroidManifest.xml": archive.read("AndroidManifest.xml")})


def checked(project: Project, path: Path) -> Apk:
    (aapt2,) = (project.folder / "build" / "offline").glob("platform/*-aapt2")
    return check_apk(path, aapt2, bundle=apk.BUNDLE, min_sdk="26", target_sdk="36", signature="v2")


@pytest.mark.slow
def test_an_app_from_its_sources_to_its_apk_and_each_fault_of_an_apk(downloaded, android_project, tmp_path):
    outcome = make("check", android_project.folder, silent, bundle=BUNDLE)
    assert outcome.linted == 9
    assert outcome.on_jvm.passed == 4 and outcome.from_dex.passed == 2
    assert outcome.apk.permissions == outcome.apk.abis == () and "v2" in outcome.apk.signature
    assert outcome.apk.bytes_without_bundle < 3_000_000
    path = Path(outcome.apk.path)
    with zipfile.ZipFile(path) as archive:
        packed = {member.filename: member for member in archive.infolist()}
    for file in (file for file in BUNDLE.rglob("*") if file.is_file()):
        member = packed[f"assets/bundle/{file.relative_to(BUNDLE).as_posix()}"]
        assert member.file_size == file.stat().st_size
        assert (member.compress_type == zipfile.ZIP_STORED) == (file.suffix == ".pte")
    rewrite(path, tmp_path / "same.apk")
    assert checked(android_project, tmp_path / "same.apk").permissions == ()
    for name, (change, words) in FILE_FAULTS.items():
        rewrite(path, tmp_path / "other.apk", **change)
        with pytest.raises(ToolFailed, match=r"other.apk has \d faults") as caught:
            checked(android_project, tmp_path / "other.apk")
        assert any(words in line for line in caught.value.printed), (name, caught.value.printed)
    for name, (edit, words) in MANIFEST_FAULTS.items():
        built(android_project, path, edit, tmp_path / "other.apk")
        with pytest.raises(ToolFailed, match=r"other.apk has 1 faults") as caught:
            checked(android_project, tmp_path / "other.apk")
        assert words in caught.value.printed[0], name
    built(android_project, path, GUARDED, tmp_path / "guarded.apk")
    checked(android_project, tmp_path / "guarded.apk")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("goal", "where", "old", "new", "words"),
    [
        ("build", "app/src/main/res/layout/main.xml", "@string/title", "@string/none", "aapt2, linking app, failed"),
        ("build", "app/src/main/res/layout/main.xml", "/>", "", "compiling the resources of app, failed"),
        ("build", "app/src/main/res/layout/main.xml", "sample.app.Drop", "sample.app.Pond", "names 1 classes that are"),
        ("build", "app/src/main/AndroidManifest.xml", ".MainActivity", ".Main", "app names 1 classes that are"),
        ("build", "app/src/main/res/values-de/strings.xml", '"title"', '"tittle"', "2 texts of app are not in every"),
        (
            *("build", "app/src/main/kotlin/MainActivity.kt", "title = ", "println(display)\n        title = "),
            "has what app calls failed",  # of Android 11
        ),
        ("test", "app/src/test/kotlin/MainActivityTest.kt", '"Regen"', '"Nass"', "1 of 2 tests of app fail on the JVM"),
    ],
)
def test_what_is_wrong_with_an_app_is_found(downloaded, android_project, goal, where, old, new, words):
    path = android_project.folder / where
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ToolFailed) as caught:
        make(goal, android_project.folder, silent)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.printed


def test_a_library_lays_what_it_needs_into_the_apps_manifest(android_project):
    whole = manifest.merge(read_modules(android_project.folder)[-1], IDENTITY)
    assert whole.get("package") == "org.example.sample" and whole.get(f"{ANDROID}versionCode") == "3"
    assert next(whole.iter("uses-sdk")).attrib == {f"{ANDROID}minSdkVersion": "26", f"{ANDROID}targetSdkVersion": "36"}
    assert next(whole.iter("provider")).get(f"{ANDROID}authorities") == "org.example.sample.nothing"
    assert manifest.classes_named(whole) == {"sample.app.MainActivity", "sample.library.Nothing"}


@pytest.mark.parametrize(
    ("where", "old", "new", "words"),
    [
        ("library", "${applicationId}", "${name}", "nothing fills \\${name}"),
        ("library", "<application>", '<application android:label="x">', "<application> has attributes"),
        ("library", "<application>", "<instrumentation /><application>", "<instrumentation> is not merged here"),
        ("library", "</application>", "", "is not XML"),
        ("library", "<manifest", '<manifest package="a"', "is no <manifest> without a package"),
        (
            *("app", "</application>", '<provider android:name="sample.library.Nothing" /></application>'),
            "<provider> sample.library.Nothing is in another manifest too",
        ),
        (
            *("app", "<activity", '<activity xmlns:tools="http://schemas.android.com/tools" tools:node="merge"'),
            "says how Gradle is to merge it",
        ),
    ],
)
def test_a_manifest_that_cannot_be_merged_is_refused(android_project, where, old, new, words):
    path = android_project.folder / where / "src" / "main" / "AndroidManifest.xml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ToolFailed, match=words):
        manifest.merge(read_modules(android_project.folder)[-1], IDENTITY)


def test_a_module_without_a_manifest_is_told(android_project):
    (android_project.folder / "library" / "src" / "main" / "AndroidManifest.xml").unlink()
    with pytest.raises(ToolFailed, match="an Android module has one"):
        manifest.merge(read_modules(android_project.folder)[-1], IDENTITY)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("<string name='title'>Regen</string>", None),
        ("", "lacks <string> title"),
        ("<string name='title'>Regen</string><string name='more'>Mehr</string>", "has <string> more, and values/"),
        ("<string name='title'>Regen</string><string name='id' translatable='false'>1</string>", None),
    ],
)
def test_a_text_is_in_every_language_or_told(android_project, language, words):
    app = read_modules(android_project.folder)[-1]
    path = app.main / "res" / "values-de" / "strings.xml"
    path.write_text(f"<resources>{language}</resources>")
    if words is None:
        resources.check_languages(app)
    else:
        with pytest.raises(ToolFailed, match="1 texts of app are not in every language") as caught:
            resources.check_languages(app)
        assert words in caught.value.printed[0]


def test_what_aapt2_prints_of_a_manifest_is_read():
    printed = """N: android=http://schemas.android.com/apk/res/android (line=2)
  E: manifest (line=2)
    A: http://schemas.android.com/apk/res/android:versionCode(0x0101021b)=3
    A: package="a.b" (Raw: "a.b")
      E: uses-sdk (line=0)
        A: http://schemas.android.com/apk/res/android:minSdkVersion(0x0101020c)=26
      E: application (line=5)
        A: http://schemas.android.com/apk/res/android:extractNativeLibs(0x010104ea)=false
          E: activity (line=6)
            A: http://schemas.android.com/apk/res/android:name(0x01010003)="a.b.C" (Raw: "a.b.C")
"""
    root = read_manifest(printed)
    assert [(each.tag, each.attributes) for each in root.all()] == [
        ("manifest", {"versionCode": "3", "package": "a.b"}),
        ("uses-sdk", {"minSdkVersion": "26"}),
        ("application", {"extractNativeLibs": "false"}),
        ("activity", {"name": "a.b.C"}),
    ]
    with pytest.raises(ToolFailed, match="aapt2 prints no manifest"):
        read_manifest("error: no such file")


def test_an_apk_without_an_application_or_a_bundle_is_refused_before_anything_is_built(downloaded, project, tmp_path):
    with pytest.raises(UsageError, match="has no application to make an APK of"):
        make("apk", project.folder, silent)
    with pytest.raises(BundleError, match="no bundle at"):
        make("apk", project.folder, silent, bundle=tmp_path / "none")
