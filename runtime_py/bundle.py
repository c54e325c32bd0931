"""A bundle on disk, opened safely: only plain files inside its folder, each of the recorded size and hash.

It knows files, not what is in them: the manifest's own checks are in `runtime_py.manifest`.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime_py.errors import BundleError
from runtime_py.manifest import MANIFEST_FILE, FileSpec, Manifest, load_manifest
from runtime_py.receipt import Identity, identity, read_receipt, write_receipt
from runtime_py.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A folder and its manifest. `path` is the only way to a file."""

    folder: Path
    manifest: Manifest

    def path(self, spec: FileSpec) -> Path:
        return self.folder / spec.file


def open_bundle(folder: str | os.PathLike[str], *, check: bool = False) -> Bundle:
    """Open the bundle in `folder`. An app may leave the golden vectors out of what it ships.

    Files are hashed when they are met for the first time, and after every change: what was found right is noted in a
    receipt (`runtime_py.receipt`). `check` hashes them all.

    Raises:
        BundleError: no bundle, a manifest that breaks the contract, or a file that is missing or altered.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):  # noqa: PTH112 - a name that is too long is no folder, and no error of its own
        raise BundleError(f"no bundle at {folder}: not a folder; make one with `edge-export build`")
    bundle = Bundle(folder=folder, manifest=load_manifest(folder))
    files, golden = bundle.manifest.files, bundle.manifest.golden
    left_out = not os.path.lexists(bundle.path(golden))
    check_files(bundle, (spec for spec in files if not (left_out and spec is golden)), trust=not check)
    return bundle


def read_tokenizer(bundle: Bundle) -> Tokenizer:
    """The bundle's tokenizer; BundleError when it is none."""
    return load_tokenizer(bundle.path(bundle.manifest.tokenizer))


def check_files(bundle: Bundle, files: Iterable[FileSpec], *, trust: bool = True) -> None:
    """Hold `files` against the sizes and hashes the manifest records for them.

    Where `trust` is, those with a receipt are not hashed again.
    """
    begun = time.time_ns()
    manifest_sha256 = sha256_of(bundle.folder / MANIFEST_FILE)
    known = read_receipt(bundle.folder, manifest_sha256) if trust else {}
    right: dict[str, Identity] = {}
    hashed = False
    for spec in files:
        found = _identity(bundle.path(spec), spec)
        if known.get(spec.file) != found:
            hashed = True
            _check_hash(bundle.path(spec), spec)
        right[spec.file] = found
    if hashed:
        write_receipt(bundle.folder, manifest_sha256, right, begun_ns=begun)


def _identity(path: Path, spec: FileSpec) -> Identity:
    """What the disk says of a plain file of the size that the manifest records."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing, the manifest lists it; copy or build the bundle again") from None
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path} is not a plain file; a bundle holds no links or folders: rebuild it")
    if status.st_size != spec.bytes:
        raise BundleError(f"{path} has {status.st_size} bytes, the manifest says {spec.bytes}; copy or build it again")
    return identity(status)


def _check_hash(path: Path, spec: FileSpec) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    if found != spec.sha256:
        raise BundleError(f"{path} was altered: its sha256 is not the manifest's; copy or build the bundle again")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
