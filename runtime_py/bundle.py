"""A bundle on disk, opened safely: only plain files inside its folder, each of the recorded size and hash.

It knows files, not what is in them: the manifest's own checks are in `runtime_py.manifest`.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime_py.errors import BundleError
from runtime_py.manifest import FileSpec, Manifest, load_manifest


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A folder and its manifest. `path` is the only way to a file."""

    folder: Path
    manifest: Manifest

    def path(self, spec: FileSpec) -> Path:
        return self.folder / spec.file


def open_bundle(folder: Path) -> Bundle:
    """Open the bundle in `folder`; every file is hashed. An app may leave the golden vectors out of what it ships.

    Raises:
        BundleError: no bundle, a manifest that breaks the contract, or a file that is missing or altered.
    """
    if not folder.is_dir():
        raise BundleError(f"no bundle at {folder}: not a folder; make one with `edge-export build`")
    bundle = Bundle(folder=folder, manifest=load_manifest(folder))
    files, golden = bundle.manifest.files, bundle.manifest.golden
    left_out = not os.path.lexists(bundle.path(golden))
    check_files(bundle, (spec for spec in files if not (left_out and spec is golden)))
    return bundle


def check_files(bundle: Bundle, files: Iterable[FileSpec]) -> None:
    """Hold `files` against the sizes and hashes the manifest records for them."""
    for spec in files:
        path = bundle.path(spec)
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path} is not a plain file; a bundle holds no links or folders: rebuild it")
            if status.st_size != spec.bytes:
                raise BundleError(
                    f"{path} has {status.st_size} bytes, the manifest says {spec.bytes}; copy or build it again"
                )
            found = sha256_of(path)
        except FileNotFoundError:
            raise BundleError(f"{path} is missing, the manifest lists it; copy or build the bundle again") from None
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror}; check its permissions") from error
        if found != spec.sha256:
            raise BundleError(f"{path} was altered: its sha256 is not the manifest's; copy or build the bundle again")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
