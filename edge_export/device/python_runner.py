"""The reference runtime as a runner: under the Python that runs this, or under the one for Arm."""

import hashlib
import sys
from pathlib import Path

import runtime_py
from edge_export.device.arm_python import LOADER_FILE, PYTHON_FILE, RECORD_FILE, arm_python
from edge_export.device.place import Payload, PlaceKind
from edge_export.device.runner import HERE, Runner
from edge_export.device.store import one_writer, store
from edge_export.progress import Progress
from runtime_py.bundle import sha256_of

RUNTIME = "runtime_py"
# No site folders but those of PYTHONPATH, for they would be this machine's; and nothing from the folder of the run.
OPTIONS = ("-S", "-s", "-P", "-m", RUNTIME)


def host_runner(_kind: PlaceKind, _progress: Progress) -> Runner:
    """The reference runtime, under the Python that runs this."""
    folder = runtime_folder()
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in (folder / RUNTIME).rglob("*.py")}
    payload = Payload(name="runner-litert", folder=folder, files=files)
    return Runner(
        payload=payload, words=(sys.executable, *OPTIONS[1:]), environment={"PYTHONPATH": str(folder)}, name=RUNTIME
    )


def arm_runner(_kind: PlaceKind, _progress: Progress) -> Runner:
    """The reference runtime, under the Python for Arm that `device setup` brought."""
    python = arm_python()
    files = {RECORD_FILE: sha256_of(python.folder / RECORD_FILE), **python.files}
    payload = Payload(name="runner-litert", folder=python.folder, files=files)
    start = (f"{HERE}/{LOADER_FILE}", "--library-path", f"{HERE}/lib", f"{HERE}/{PYTHON_FILE}")
    environment = {
        "PYTHONHOME": str(python.folder),
        "PYTHONPATH": f"{runtime_folder()}:{python.folder / 'site'}",
        "PYTHONPYCACHEPREFIX": str(store("litert", "compiled")),  # nothing is added to what is held against hashes
    }
    return Runner(payload=payload, words=(*start, *OPTIONS), environment=environment, name=RUNTIME)


def runtime_folder() -> Path:
    """A folder with the runtime and nothing beside it: where it is installed lie this machine's own packages."""
    installed = Path(runtime_py.__file__).absolute().parent
    folder = store("litert", f"runtime-{hashlib.sha256(str(installed).encode()).hexdigest()[:16]}")
    link = folder / RUNTIME
    with one_writer("litert-runtime"):
        if not link.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(installed)
    return folder
