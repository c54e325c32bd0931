"""docs/apps.md says of the SDK what its sources say: versions, and the names of its classes."""

import re

from runtime_py.manifest import SCHEMA_VERSION
from tests.android_demo.conftest import PROJECT

PAGE = (PROJECT.parent / "docs" / "apps.md").read_text(encoding="utf-8")
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for module in ("core", "sdk")
    for path in sorted((PROJECT / module / "src" / "main" / "kotlin").rglob("*.kt"))
)


def constant(name: str) -> str:
    (value,) = re.findall(rf'public const val {name}: \w+ = "?([\w.]+)', SOURCES)
    return value


def test_the_table_of_schemas_ends_with_this_sdk():
    rows = re.findall(r"^\| (\d+\.\d+\.\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert rows[-1] == (constant("SDK_VERSION"), constant("SCHEMA_VERSION"))
    assert rows[-1][1] == str(SCHEMA_VERSION)


def test_what_an_app_depends_on_is_what_is_published():
    ((group, artifact, version),) = re.findall(r'implementation\("([\w.]+):([\w-]+):([\d.]+)"\)', PAGE)
    assert (artifact, version) == ("edge-export-sdk", constant("SDK_VERSION"))
    for module in ("core", "sdk"):  # the one is published with a dependency on the other
        build = (PROJECT / module / "build.gradle.kts").read_text(encoding="utf-8")
        assert f'group = "{group}"\nversion = "{version}"\n' in build
        assert f'artifactId = "edge-export-{module}"' in build


def test_every_class_of_the_tables_is_public():
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    names = set(re.findall(r"`([A-Z]\w+)(?=[(.`])", rows)) - {"Flow", "StateFlow"}
    assert {"EdgeAudioGenerator", "InstalledBundles", "Stopping", "BundleVersionException"} <= names
    public = set(re.findall(r"public (?:data |open |sealed )*(?:class|object|interface) (\w+)", SOURCES))
    assert names <= public
