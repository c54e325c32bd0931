"""A signed APK held against what an app that plays offline may be: what it asks for, opens to others, and holds.

It reads the file alone, and knows nothing of how it was made.
"""

import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from android_demo.offline.errors import ToolFailed
from android_demo.offline.tool import run_tool

PERMISSIONS: set[str] = set()
"""What an app may ask for that plays offline."""
OPEN_TO = {"android.permission.DUMP"}
"""What a component may demand of whoever calls it; the shell has it, other apps have not."""
ABIS = {"arm64-v8a", "x86_64"}
WORD_BYTES, PAGE_BYTES = 4, 16384
MOST_BYTES = 15_000_000  # without the bundle
MAPPED = (".pte", ".so", "resources.arsc")
COMPONENTS = ("activity", "activity-alias", "provider", "receiver", "service")
LAUNCHER = "android.intent.category.LAUNCHER"
ELEMENT = re.compile(r"^( *)E: ([\w-]+) ")
ATTRIBUTE = re.compile(r"^( *)A: (?:http://schemas\.android\.com/apk/res/android:)?([\w]+)(?:\(0x[0-9a-f]+\))?=(.*)$")
QUOTED = re.compile(r'"(.*)" \(Raw: ".*"\)|"(.*)"')
LOADED = 1  # a segment of an ELF file that is mapped
LOCAL_HEADER, ENTRY_BYTES = b"PK\3\4", 30


@dataclass(kw_only=True)
class Element:
    """One of the manifest's, as aapt2 prints it."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    parts: list["Element"] = field(default_factory=list)

    def all(self) -> Iterator["Element"]:
        yield self
        for part in self.parts:
            yield from part.all()


@dataclass(frozen=True, kw_only=True)
class Apk:
    """What was found. bytes_without_bundle: what the file would take with no bundle in it."""

    path: str
    bytes: int
    bytes_without_bundle: int
    permissions: tuple[str, ...]
    abis: tuple[str, ...]
    signature: str


def check_apk(path: Path, aapt2: Path, *, bundle: str, min_sdk: str, target_sdk: str, signature: str) -> Apk:
    """What the APK at `path` is; ToolFailed with a line for each fault."""
    dump = [str(aapt2), "dump", "xmltree", "--file", "AndroidManifest.xml", str(path)]
    manifest = read_manifest(run_tool("aapt2, reading the APK,", dump))
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        dexes = [member for member in members if member.filename.endswith(".dex")]
        classes = {name for member in dexes for name in dex_classes(archive.read(member))}
        faults = [*_manifest_faults(manifest, min_sdk, target_sdk), *_missing_classes(manifest, classes)]
        faults += _file_faults(path, archive, members)
    of_bundle = sum(member.compress_size for member in members if member.filename.startswith(f"{bundle}/"))
    size = path.stat().st_size
    if size - of_bundle > MOST_BYTES:
        faults.append(f"it is {size - of_bundle} bytes without the bundle, and {MOST_BYTES} are the most")
    if faults:
        raise ToolFailed(f"{path.name} has {len(faults)} faults, which stand above", tuple(faults))
    return Apk(
        path=str(path),
        bytes=size,
        bytes_without_bundle=size - of_bundle,
        permissions=tuple(sorted(_permissions(manifest))),
        abis=tuple(sorted(_abis(members))),
        signature=signature,
    )


def read_manifest(printed: str) -> Element:
    """The manifest out of aapt2's `dump xmltree`, in which depth is indentation."""
    root = Element(tag="")
    above: list[tuple[int, Element]] = [(-1, root)]
    for line in printed.splitlines():
        if found := ELEMENT.match(line):
            depth, element = len(found[1]), Element(tag=found[2])
            while above[-1][0] >= depth:
                above.pop()
            above[-1][1].parts.append(element)
            above.append((depth, element))
        elif found := ATTRIBUTE.match(line):
            quoted = QUOTED.match(found[3])
            above[-1][1].attributes[found[2]] = (quoted[1] or quoted[2] or "") if quoted else found[3]
    if len(root.parts) != 1 or root.parts[0].tag != "manifest":
        raise ToolFailed("aapt2 prints no manifest; another version of it may", tuple(printed.splitlines()))
    return root.parts[0]


def dex_classes(dex: bytes) -> Iterator[str]:
    """The classes that a dex file defines, such as a.b.C; the layout is Android's `dex-format`."""
    strings, types = struct.unpack_from("<I", dex, 0x3C)[0], struct.unpack_from("<I", dex, 0x44)[0]
    count, definitions = struct.unpack_from("<2I", dex, 0x60)
    for index in range(count):
        (kind,) = struct.unpack_from("<I", dex, definitions + 32 * index)
        (text,) = struct.unpack_from("<I", dex, types + 4 * kind)
        (place,) = struct.unpack_from("<I", dex, strings + 4 * text)
        while dex[place] & 0x80:  # the length, in LEB128
            place += 1
        name = dex[place + 1 : dex.index(0, place + 1)].decode("utf-8", "replace")
        yield name[1:-1].replace("/", ".")


def _manifest_faults(manifest: Element, min_sdk: str, target_sdk: str) -> Iterator[str]:
    for name in sorted(_permissions(manifest) - PERMISSIONS):
        yield f"it asks for {name}, which an app that plays offline does not need: see PERMISSIONS in apk_check.py"
    sdk = next((each.attributes for each in manifest.all() if each.tag == "uses-sdk"), {})
    for name, wanted in (("minSdkVersion", min_sdk), ("targetSdkVersion", target_sdk)):
        if sdk.get(name) != wanted:
            yield f"{name} is {sdk.get(name)}, expected {wanted} as in libs.versions.toml"
    application = next((each for each in manifest.parts if each.tag == "application"), Element(tag="application"))
    if application.attributes.get("debuggable") == "true":
        yield "it is debuggable; remove that from the manifest"
    for each in application.parts:
        if each.tag in COMPONENTS:
            yield from _exported_faults(each)


def _exported_faults(component: Element) -> Iterator[str]:
    name, exported = component.attributes.get("name"), component.attributes.get("exported")
    filtered = any(part.tag == "intent-filter" for part in component.parts)
    if exported is None and filtered:
        yield f"<{component.tag}> {name} has an intent filter and does not say whether it is exported; say it"
    launcher = any(part.attributes.get("name") == LAUNCHER for part in component.all())
    guarded = component.attributes.get("permission") in OPEN_TO
    if exported == "true" and not launcher and not guarded:
        yield f"<{component.tag}> {name} is open to every app; close it, or demand {' or '.join(sorted(OPEN_TO))}"


def _missing_classes(manifest: Element, classes: set[str]) -> Iterator[str]:
    for each in manifest.all():
        name = each.attributes.get("targetActivity" if each.tag == "activity-alias" else "name", "")
        if each.tag in ("application", *COMPONENTS) and name and name not in classes:
            yield f"the manifest's <{each.tag}> {name} is in no dex"


def _file_faults(path: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> Iterator[str]:
    for name in sorted(name for name, count in Counter(member.filename for member in members).items() if count > 1):
        yield f"{name} is in it twice"
    for abi in sorted(_abis(members) - ABIS):
        yield f"it has libraries for {abi}, which it is not for; remove them"
    with path.open("rb") as file:
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                if member.filename.endswith(MAPPED):
                    yield f"{member.filename} is compressed, and cannot be mapped"
                continue
            step = PAGE_BYTES if member.filename.endswith(".so") else WORD_BYTES
            place = _data_offset(file, member)
            if place % step and member.file_size:
                yield f"{member.filename} lies at {place}, which is no multiple of {step}"
    for member in members:
        if member.filename.endswith(".so"):
            yield from _library_faults(member.filename, archive.read(member))


def _data_offset(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin: after its header, its name and what else stands there."""
    file.seek(member.header_offset)
    header = file.read(ENTRY_BYTES)
    if len(header) < ENTRY_BYTES or header[:4] != LOCAL_HEADER:
        raise ToolFailed(f"{member.filename}: the archive is damaged; build it again")
    name, extra = struct.unpack_from("<2H", header, 26)
    return member.header_offset + ENTRY_BYTES + int(name) + int(extra)


def _library_faults(name: str, elf: bytes) -> Iterator[str]:
    """Devices with pages of 16 KiB load no library whose segments are aligned to less."""
    if elf[:5] != b"\x7fELF\x02":
        yield f"{name} is no library of 64 bits"
        return
    (table,), (size, count) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<2H", elf, 54)
    for index in range(count):
        kind, align = struct.unpack_from("<I44xQ", elf, table + size * index)
        if kind == LOADED and align % PAGE_BYTES:
            yield f"{name} has a segment aligned to {align}, and pages of {PAGE_BYTES} need as much"


def _permissions(manifest: Element) -> set[str]:
    return {each.attributes.get("name", "") for each in manifest.parts if each.tag.startswith("uses-permission")}


def _abis(members: list[zipfile.ZipInfo]) -> set[str]:
    return {member.filename.split("/")[1] for member in members if member.filename.startswith("lib/")}
