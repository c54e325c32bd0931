"""A run on this machine's own files: what the host and the emulator share. Nothing needs to be copied.

It knows nothing of emulators; a command may have words before it.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_export.device import process
from edge_export.device.place import Finished, OnLine, Payload, Task
from edge_export.errors import DeviceError


class LocalWorkspace:
    """A folder here; `before` stands before every command, such as an emulator and its options."""

    def __init__(self, label: str, folder: Path, before: tuple[str, ...] = ()) -> None:
        self._label, self._folder, self._before = label, folder, before

    @property
    def folder(self) -> str:
        return str(self._folder)

    def at(self, payload: Payload) -> str:
        return str(payload.folder.absolute())

    def play(self, task: Task, on_line: OnLine) -> Finished:
        words = [*self._before, *task.words]
        try:
            done = process.follow(words, on_line, folder=self._folder, environment=task.environment)
        except OSError as error:
            what = error.strerror or error
            raise DeviceError(f"{self._label}: cannot start the runner: {what}; check that it is installed") from error
        return Finished(code=done.code, lines=tuple(done.err.splitlines()))

    def pull(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            raise DeviceError(f"{self._label}: the runner ended well and left no {name}; rebuild it") from None


@contextmanager
def local_workspace(label: str, *, keep: bool, before: tuple[str, ...] = ()) -> Iterator[LocalWorkspace]:
    """A fresh folder among the temporary files, removed afterwards unless `keep`."""
    folder = Path(tempfile.mkdtemp(prefix="edge-export-run-"))
    try:
        yield LocalWorkspace(label, folder, before)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
