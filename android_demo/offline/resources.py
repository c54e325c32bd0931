"""An Android module's resources, manifest and class R, by aapt2; what it makes, tests and the APK are built on.

What is in a layout or a text, it does not know, but that each text is in every language.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from android_demo.offline import manifest as manifests
from android_demo.offline.archives import class_names
from android_demo.offline.errors import ToolFailed
from android_demo.offline.jdk import Jdk
from android_demo.offline.manifest import Identity
from android_demo.offline.platform import Platform, compile_java
from android_demo.offline.project import Module
from android_demo.offline.tool import run_tool

VALUES = "values"


@dataclass(frozen=True, kw_only=True)
class Linked:
    """archive: resources, assets and manifest, as they lie in an APK. classes: a jar of R, of the module and of those
    that it stands on. rules: for R8, of what the manifest and the layouts name. manifest: as text.
    """

    archive: Path
    classes: Path
    rules: Path
    manifest: Path


def link(module: Module, identity: Identity, platform: Platform, jdk: Jdk, jvm_target: str) -> Linked:
    """Lay resources and manifests of `module` and the libraries that it stands on into one.

    ToolFailed where aapt2 finds fault, or a text is missing in a language.
    """
    linked = linked_of(module)
    linked.manifest.parent.mkdir()
    manifests.write(manifests.merge(module, identity), linked.manifest)
    java = linked.manifest.parent / "java"
    libraries = [each for each in module.all if each.android]
    arguments = ["link", "-I", str(platform.framework), "--manifest", str(linked.manifest), "-o", str(linked.archive)]
    arguments += ["--java", str(java), "--custom-package", module.namespace, "--proguard", str(linked.rules)]
    arguments += ["--auto-add-overlay"]
    for each in libraries:
        if each is not module:
            arguments += ["--extra-packages", each.namespace]
        if (each.main / "assets").is_dir():
            arguments += ["-A", str(each.main / "assets")]
    compiled = [_compile(each, linked.manifest.parent, platform) for each in libraries if _folder(each).is_dir()]
    run_tool(f"aapt2, linking {module.name},", [str(platform.aapt2), *arguments, *map(str, compiled)])
    if any(java.rglob("*.java")):
        compile_java(f"R of {module.name}", java, linked.classes, jdk, jvm_target)
    return linked


def linked_of(module: Module) -> Linked:
    """Where `link` puts what it makes."""
    folder = module.work / "linked"
    return Linked(
        archive=folder / "resources.apk",
        classes=folder / "R.jar",
        rules=folder / "aapt2.pro",
        manifest=folder / "AndroidManifest.xml",
    )


def check_classes(module: Module, libraries: tuple[Path, ...]) -> None:
    """ToolFailed where the manifest or a layout names a class that is neither the module's nor a library's."""
    known = class_names((*(each.jar for each in module.all), *libraries))
    manifest = linked_of(module).manifest
    named = [(manifest, name) for name in sorted(manifests.classes_named(ElementTree.parse(manifest).getroot()))]
    named += [each for part in module.all for each in manifests.classes_in_layouts(_folder(part))]
    missing = [f"{path} names the class {name}, which is not there" for path, name in named if name not in known]
    if missing:
        message = f"{module.name} names {len(missing)} classes that are not there; they stand above"
        raise ToolFailed(message, tuple(missing))


def check_languages(module: Module) -> None:
    """ToolFailed where a text is not in every language of the module, or only in one that is not the first."""
    languages = [path for path in sorted(_folder(module).glob(f"{VALUES}-*")) if (path / "strings.xml").is_file()]
    first = _texts(_folder(module) / VALUES) if languages else set()
    wrong: list[str] = []
    for folder in languages:
        texts = _texts(folder)
        wrong += [f"{folder / 'strings.xml'} lacks {name}" for name in sorted(first - texts)]
        wrong += [f"{folder / 'strings.xml'} has {name}, and {VALUES}/ has not" for name in sorted(texts - first)]
    if wrong:
        message = f"{len(wrong)} texts of {module.name} are not in every language; they stand above"
        raise ToolFailed(message, tuple(wrong))


def _texts(folder: Path) -> set[str]:
    """The names of the texts in a folder of values that are to be in every language."""
    names: set[str] = set()
    for path in sorted(folder.glob("strings*.xml")):
        for element in ElementTree.parse(path).getroot():
            if element.get("translatable") != "false":
                names.add(f"<{element.tag}> {element.get('name')}")
    return names


def _compile(module: Module, folder: Path, platform: Platform) -> Path:
    out = folder / f"{module.name}.zip"
    run_tool(
        f"aapt2, compiling the resources of {module.name},",
        [str(platform.aapt2), "compile", "--dir", str(_folder(module)), "-o", str(out)],
    )
    return out


def _folder(module: Module) -> Path:
    return module.main / "res"
