"""The bundle that an APK carries: one that the caller names, or the built-in model's, built once for each checkout.

What is in a bundle, it does not know.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from android_demo.offline.tool import run_tool
from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.cache import source_sha256
from runtime_py.bundle import open_bundle, sha256_of

ROOT = Path(__file__).parent.parent.parent
TARGET = "android-arm64"


def checked(bundle: Path) -> Path:
    """`bundle`, every file of which is what its manifest says; BundleError where it is not."""
    open_bundle(bundle, check=True)
    return bundle


def built_in(folder: Path) -> Path:
    """The built-in model's bundle, kept in `folder`; ToolFailed where it cannot be built."""
    out = folder / f"bundle-{_key()}"
    if not out.exists():
        for old in folder.glob("bundle-*"):
            shutil.rmtree(old)
        argv = [sys.executable, "-m", "edge_export", "build", "--target", TARGET, "--out", str(out)]
        run_tool("building the built-in model's bundle", argv, {"PYTHONPATH": str(ROOT)})
    return checked(out)


def _key() -> str:
    """What decides how the bundle turns out: our own sources, and the model's weights."""
    total = hashlib.sha256(source_sha256().encode())
    for path in sorted(path for path in BUILTIN_CHECKPOINT.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        total.update(sha256_of(path).encode())
    return total.hexdigest()[:16]
