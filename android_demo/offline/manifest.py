"""Manifests: a library's laid into the app's, as far as ours need it, and the names of classes that they hold.

What this merging does not know, it refuses; what the entries mean is not known here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from android_demo.offline.errors import ToolFailed
from android_demo.offline.project import Module

ANDROID = "{http://schemas.android.com/apk/res/android}"
TOOLS = "{http://schemas.android.com/tools}"
NAME = f"{ANDROID}name"
MERGING = {f"{TOOLS}{name}" for name in ("node", "replace", "remove", "selector", "overrideLibrary")}
COMPONENTS = ("activity", "activity-alias", "provider", "receiver", "service")
OF_LIBRARIES = {"uses-permission", "uses-feature", "queries"}  # beside <application>
CLASSES = (NAME, f"{ANDROID}targetActivity", f"{ANDROID}backupAgent")
PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the build says of an app, and no manifest: its id, its version, and the Androids that it is for."""

    application_id: str
    version_code: str
    version_name: str
    min_sdk: str
    target_sdk: str


def merge(module: Module, identity: Identity) -> Element:
    """The manifest of an app made of `module`: its own, with those of the Android libraries that it stands on.

    ToolFailed where one is no manifest, or asks for more than this merging can do.
    """
    whole = _read(module, identity)
    application = _application(whole)
    for library in (need for need in module.needs if need.android):
        _lay_in(library, _read(library, identity), whole, application)
    whole.set("package", identity.application_id)
    whole.set(f"{ANDROID}versionCode", identity.version_code)
    whole.set(f"{ANDROID}versionName", identity.version_name)
    sdk = {f"{ANDROID}minSdkVersion": identity.min_sdk, f"{ANDROID}targetSdkVersion": identity.target_sdk}
    whole.insert(0, Element("uses-sdk", sdk))
    if f"{ANDROID}extractNativeLibs" not in application.attrib:
        application.set(f"{ANDROID}extractNativeLibs", "false")
    return whole


def write(manifest: Element, out: Path) -> None:
    ElementTree.register_namespace("android", ANDROID[1:-1])
    out.write_bytes(ElementTree.tostring(manifest, encoding="utf-8", xml_declaration=True))


def classes_named(manifest: Element) -> set[str]:
    """The names of the classes that the system makes objects of."""
    application = _application(manifest)
    elements = [application, *(each for each in application if each.tag in COMPONENTS)]
    aliases = {each.get(NAME) for each in application if each.tag == "activity-alias"}
    return {name for each in elements for key in CLASSES if (name := each.get(key)) and name not in aliases}


def classes_in_layouts(resources: Path) -> Iterator[tuple[Path, str]]:
    """Each view of a layout that is not one of Android's own, and the file that names it."""
    for path in sorted(resources.glob("layout*/*.xml")):
        for element in _parse(path).iter():
            name = element.get("class", "") if element.tag in ("view", "fragment") else element.tag
            if "." in name:
                yield path, name


def _lay_in(library: Module, manifest: Element, whole: Element, application: Element) -> None:
    path = _path(library)
    known = {(each.tag, each.get(NAME)) for each in (*whole, *application)}
    for element in manifest:
        if element.tag == "application":
            if element.attrib:
                raise ToolFailed(f"{path}: <application> has attributes, which are the app's to say; remove them")
            for part in element:
                if (part.tag, part.get(NAME)) in known:
                    raise ToolFailed(f"{path}: <{part.tag}> {part.get(NAME)} is in another manifest too; keep one")
                application.append(part)
        elif element.tag not in OF_LIBRARIES:
            raise ToolFailed(f"{path}: a library's <{element.tag}> is not merged here; say it in the app's manifest")
        elif (element.tag, element.get(NAME)) not in known or element.tag == "queries":
            whole.append(element)


def _read(module: Module, identity: Identity) -> Element:
    """A module's own manifest: placeholders filled, names of classes in full, and nothing left for other tools."""
    path = _path(module)
    manifest = _parse(path)
    if manifest.tag != "manifest" or "package" in manifest.attrib:
        raise ToolFailed(f"{path} is no <manifest> without a package; the build file's namespace says the package")
    for element in manifest.iter():
        if MERGING & element.attrib.keys():
            raise ToolFailed(f"{path}: <{element.tag}> says how Gradle is to merge it; write the outcome instead")
        for key, value in list(element.attrib.items()):
            if key.startswith(TOOLS):
                del element.attrib[key]
            else:
                element.set(key, _filled(path, value, identity))
    for element in [*manifest.iter("application"), *(each for tag in COMPONENTS for each in manifest.iter(tag))]:
        for key in CLASSES:
            if element.get(key, "").startswith("."):
                element.set(key, module.namespace + element.get(key, ""))
    return manifest


def _filled(path: Path, value: str, identity: Identity) -> str:
    def known(found: re.Match[str]) -> str:
        if found[1] != "applicationId":
            raise ToolFailed(f"{path}: nothing fills {found[0]}; only ${{applicationId}} is known here")
        return identity.application_id

    return PLACEHOLDER.sub(known, value)


def _application(manifest: Element) -> Element:
    found = manifest.find("application")
    return ElementTree.SubElement(manifest, "application") if found is None else found


def _path(module: Module) -> Path:
    return module.main / "AndroidManifest.xml"


def _parse(path: Path) -> Element:
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ToolFailed(f"{path} is not XML ({error}); mend it") from error
    except FileNotFoundError as error:
        raise ToolFailed(f"there is no {path}; an Android module has one, if only <manifest />") from error
