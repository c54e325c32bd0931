"""The APK: dex, resources, the bundle and native libraries in one file, aligned and signed.

Whether it is what it should be is for `apk_check`.
"""

import secrets
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from android_demo.offline.jdk import Jdk
from android_demo.offline.project import Module
from android_demo.offline.resources import linked_of

SIGN = str(Path(__file__).parent / "SignApk.java")
KEYTOOL = ("-m", "java.base/sun.security.tools.keytool.Main")
KEY, PASSWORD = "androiddebugkey", "android"  # as Android Studio's own debug key: no secret
KEY_DAYS = 10_000
BUNDLE = "assets/bundle"
SERVICES = "META-INF/services/"
STORED = (".pte", ".so", ".arsc")  # a device maps these, which compressed it cannot
TIME = (1981, 1, 1, 1, 1, 2)  # as Gradle's plugin: the same content is the same file


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an APK is made of, beside what aapt2 linked. services: jars, whose lists of services go with it."""

    dexes: tuple[Path, ...]
    services: tuple[Path, ...]
    bundle: Path | None


def pack(module: Module, parts: Parts) -> Path:
    """The APK, not signed yet."""
    out = module.work / "unsigned.apk"
    with zipfile.ZipFile(out, "w") as apk:
        for source in (linked_of(module).archive, *parts.services):
            with zipfile.ZipFile(source) as archive:
                for member in archive.infolist():
                    if source not in parts.services or (member.filename.startswith(SERVICES) and member.file_size):
                        _add(apk, member.filename, archive.read(member), stored=member.compress_type == 0)
        for dex in parts.dexes:
            _add(apk, dex.name, dex.read_bytes())
        for name, path in (*_bundle(parts.bundle), *_native(module)):
            _add(apk, name, path.read_bytes())
    return out


def sign(unsigned: Path, out: Path, keystore: Path, jdk: Jdk, signer: tuple[Path, ...], min_sdk: str) -> str:
    """Sign with the key in `keystore`, which is made if it is not there, and verify; the schemes of the signature."""
    if not keystore.exists():
        _make_key(keystore, jdk)
    words = (str(unsigned), str(out), str(keystore), KEY, PASSWORD, min_sdk)
    return jdk.run("signing the APK", (SIGN,), words, signer).strip()


def _make_key(keystore: Path, jdk: Jdk) -> None:
    partial = keystore.with_name(f".{keystore.name}.partial-{secrets.token_hex(4)}")
    options = ["-genkeypair", "-keystore", str(partial), "-storetype", "PKCS12", "-alias", KEY, "-storepass", PASSWORD]
    options += ["-dname", "CN=Android Debug,O=Android,C=US", "-keyalg", "RSA", "-keysize", "2048"]
    try:
        jdk.run("making a debug key", KEYTOOL, (*options, "-validity", str(KEY_DAYS)), ())
        partial.rename(keystore)
    finally:
        partial.unlink(missing_ok=True)


def _bundle(bundle: Path | None) -> Iterator[tuple[str, Path]]:
    for path in sorted(bundle.rglob("*")) if bundle else ():
        if path.is_file():
            yield f"{BUNDLE}/{path.relative_to(bundle or path).as_posix()}", path


def _native(module: Module) -> Iterator[tuple[str, Path]]:
    """The native libraries of the module and of those that it stands on, where Gradle looks for them."""
    for each in module.all:
        for path in sorted((each.main / "jniLibs").glob("*/*.so")):
            yield f"lib/{path.parent.name}/{path.name}", path


def _add(apk: zipfile.ZipFile, name: str, data: bytes, *, stored: bool = False) -> None:
    entry = zipfile.ZipInfo(name, TIME)
    entry.external_attr = 0o644 << 16
    stored = stored or name.endswith(STORED)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    apk.writestr(entry, data)
