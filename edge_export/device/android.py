"""An Android device at the other end of `adb`: found, asked by its shell, files brought there and back.

Nothing that a user typed is read by a shell over there: it travels in files. No file is half there: each is pushed
under another name, hashed over there, and renamed. What plays a bundle on the device is not known here.
"""

import hashlib
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge_export.device import process
from edge_export.device.place import Payload, PlaceInfo, PlaceStatus
from edge_export.device.readiness import lacking
from edge_export.device.tools import require
from edge_export.errors import DeviceError, EdgeExportError, UsageError
from edge_export.progress import Progress
from runtime_py.machine import features_of_all

ANSWER_SECONDS = 60.0
LEAVE_SECONDS = 15.0
LOOK_SECONDS = 1.0  # between two looks at how much of a file has arrived
ROOM = 64 << 20  # bytes that a run may need for its WAV and record
PARTIAL = ".partial"
MARK = "edge-export-exit:"
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
AGAIN = "check the cable and the screen, then run the same command again"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of `adb devices -l`. state: device, unauthorized, offline, ..."""

    serial: str
    state: str
    model: str

    @property
    def trouble(self) -> str:
        """What stands between it and a run, with the remedy; empty when nothing does."""
        if self.state == "device":
            return ""
        remedies = {
            "unauthorized": "is unauthorised: unlock its screen and allow USB debugging",
            "authorizing": "is being authorised: unlock its screen and allow USB debugging",
            "offline": "is offline: unplug it and plug it in again, or run `adb reconnect`",
            "no permissions": "may not be opened by this user: add a udev rule for it (Debian: apt-get install "
            "android-sdk-platform-tools-common)",
        }
        return remedies.get(self.state, f"is in state {self.state}: start Android on it, with USB debugging")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a shell command over there printed, and its exit code."""

    text: str
    err: str
    code: int

    @property
    def last_line(self) -> str:
        return process.Output(code=self.code, out=self.text, err=self.err).last_line


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device. kind: of the place that it is taken for, such as adb."""

    adb: str
    serial: str
    kind: str

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.serial}"

    def info(self, folder: str) -> PlaceInfo:
        """Its CPU, and the room in `folder`, which is made if it is not there."""
        answer = self.ask(
            f"uname -m; echo {MARK}; cat /proc/cpuinfo; echo {MARK}; mkdir -p {folder} && df -k {folder}", "looking"
        )
        machine, cpuinfo, space = (part.strip() for part in [*answer.split(MARK), "", ""][:3])
        cores = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
        return PlaceInfo(machine=machine, cpu_features=features_of_all(cpuinfo), cores=max(1, cores), free=_free(space))

    def bring(self, payload: Payload, folder: str, progress: Progress, *, copies: int = 1) -> None:
        """Push into `folder` the files whose hash over there is another, and remove what is none of the payload's.

        copies: how often its files will lie there in the end.

        Raises:
            DeviceError: no space, the device vanished, or a file did not arrive as it was sent.
        """
        _refuse_odd_names(payload)
        progress(f"comparing {payload.name} with {self.label}", 0, 1)
        there = self._hashes(folder)
        changed = [name for name, sha256 in payload.files.items() if there.get(name) != sha256]
        sizes = {name: (payload.folder / name).stat().st_size for name in changed}
        total, done = sum(sizes.values()), 0
        self._check_room(payload.name, folder, total * copies)
        for name in changed:
            self._push_file(payload.folder / name, f"{folder}/{name}", payload.files[name], progress, done, total)
            done += sizes[name]
        strays = [name for name in there if name not in payload.files]
        if strays:
            self.ask(f"cd {folder} && rm -f {' '.join(map(shlex.quote, strays))}", "removing what is no longer needed")
        progress(f"{payload.name} is there", total, total)

    def put(self, data: bytes, there: str, doing: str) -> None:
        """Write a small file over there."""
        with tempfile.TemporaryDirectory(prefix="edge-export-push-") as folder:
            path = Path(folder, "file")
            path.write_bytes(data)
            try:
                done = self._run("push", str(path), there)
            except subprocess.TimeoutExpired:
                raise self._silence(doing) from None
        if done.code != 0:
            raise self.failure(doing, done.last_line)

    def pull(self, there: str) -> bytes:
        """A file from there, whole."""
        name = there.rpartition("/")[2]
        with tempfile.TemporaryDirectory(prefix="edge-export-pull-") as folder:
            path = Path(folder, name)
            done = self._run("pull", there, str(path), timeout=None)
            if done.code != 0 or not path.is_file():
                raise self.failure(f"bringing {name} back", done.last_line)
            data = path.read_bytes()
        answer = self.ask(f"sha256sum < {there}", f"checking {name}").split()
        if not answer or answer[0] != hashlib.sha256(data).hexdigest():
            raise DeviceError(f"{name} arrived damaged from {self.label}; {AGAIN}")
        return data

    @contextmanager
    def run_folder(self, parent: str, end: str, *, keep: bool) -> Iterator[str]:
        """A fresh folder for one run; on leaving, `end` is what its shell does there to end what still runs.

        The folder goes then, unless `keep`; a device that is gone cannot be tidied.
        """
        folder = f"{parent}/{'kept' if keep else 'run'}-{secrets.token_hex(4)}"
        # Runs that a cable ended stay behind; after a day they are nobody's.
        sweep = f"find {parent} -maxdepth 1 -name 'run-*' -mtime +1 -exec rm -rf {{}} + 2>/dev/null"
        self.ask(f"{sweep}; mkdir -p {folder}", "making a folder")
        try:
            yield folder
        finally:
            with suppress(DeviceError, subprocess.TimeoutExpired):
                remove = "true" if keep else f"rm -rf {folder}"
                self._shell(f"cd {folder} 2>/dev/null && {{ {end}; }}; cd / ; {remove}", LEAVE_SECONDS)

    def ask(self, command: str, doing: str) -> str:
        """What a short shell command over there prints; DeviceError when it fails."""
        answer = self.answer(command, doing)
        if answer.code != 0:
            raise self.failure(doing, answer.last_line)
        return answer.text

    def answer(self, command: str, doing: str) -> Answer:
        """How a short shell command over there ended; DeviceError when nobody answers."""
        try:
            done = self._shell(command, ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._silence(doing) from None
        text, mark, code = done.out.replace("\r", "").rpartition(MARK)
        if not mark or not code.strip().isdigit():
            raise self.failure(doing, done.last_line, vanished=True)
        return Answer(text=text, err=done.err, code=int(code))

    def failure(self, doing: str, last_line: str, *, vanished: bool = False) -> DeviceError:
        """The error for a step that failed: of the device's state if that is the cause, else in adb's words."""
        if "No space left" in last_line or "not enough space" in last_line.lower():
            return DeviceError(f"{self.label} is full (while {doing}); free some space there")
        with suppress(EdgeExportError):
            listed = [one for one in listed_devices(self.adb) if one.serial == self.serial]
            if not listed:
                return DeviceError(f"{self.label} vanished while {doing}; {AGAIN}")
            if listed[0].trouble:
                return DeviceError(f"{self.label} {listed[0].trouble} (while {doing})")
        what = "broke off" if vanished else "failed"
        return DeviceError(f"{self.label}: {doing} {what}: {last_line}; {AGAIN}")

    def _silence(self, doing: str) -> DeviceError:
        return DeviceError(f"{self.label} does not answer (while {doing}); {AGAIN}")

    def _shell(self, command: str, timeout: float) -> process.Output:
        """Older devices give no exit code back: the command prints it, and silence means that nobody is there."""
        return self._run("shell", f"( {command} ); echo {MARK}$?", timeout=timeout)

    def _run(self, *words: str, timeout: float | None = ANSWER_SECONDS) -> process.Output:
        return process.capture([self.adb, "-s", self.serial, *words], timeout=timeout)

    def _hashes(self, folder: str) -> dict[str, str]:
        """sha256 by name of the files in a folder over there; empty when it is not there yet."""
        answer = self.ask(f"mkdir -p {folder} && cd {folder} && for f in * .*; do [ -f \"$f\" ] && echo \"$f\" && "
                         'sha256sum < "$f"; done; true', "comparing files")  # fmt: skip
        lines = answer.splitlines()
        return {name: sha256.split()[0] if sha256.split() else "" for name, sha256 in zip(lines[::2], lines[1::2])}

    def _check_room(self, name: str, folder: str, needed: int) -> None:
        free = _free(self.ask(f"df -k {folder}", "asking for its free space"))
        if needed + ROOM > free:
            parent, wanted = folder.rpartition("/")[0], (needed + ROOM) / 1e6
            raise DeviceError(
                f"{self.label} has {free / 1e6:.0f} MB free in {parent}, {name} needs {wanted:.0f}; free some "
                f"space there, or remove older bundles: adb -s {self.serial} shell rm -r {parent}"
            )

    def _push_file(self, path: Path, there: str, sha256: str, progress: Progress, done: int, total: int) -> None:
        """Push one file; it has its name over there only once its hash is right."""
        partial = there + PARTIAL
        with process.started([self.adb, "-s", self.serial, "push", str(path.absolute()), partial]) as pushing:
            code, last_line = self._watched(pushing, path.name, partial, progress, done, total)
        if code != 0:
            raise self.failure(f"pushing {path.name}", last_line)
        arrived = self.ask(f"sha256sum < {partial}", f"checking {path.name}").split()
        if not arrived or arrived[0] != sha256:
            self.ask(f"rm -f {partial}", "removing a damaged file")
            raise DeviceError(f"{path.name} arrived damaged on {self.label} and was removed there; {AGAIN}")
        # An app's folder knows no modes, and need not: only programs are given one.
        mode = f"chmod 755 {partial} && " if os.access(path, os.X_OK) else ""
        self.ask(f"{mode}mv -f {partial} {there}", f"renaming {path.name}")

    def _watched(
        self, pushing: "subprocess.Popen[bytes]", name: str, partial: str, progress: Progress, done: int, total: int
    ) -> tuple[int, str]:
        """Wait for a push; adb writes nothing to a pipe on the way, so the size over there is looked at."""
        arrived = 0
        while True:
            progress(f"bringing {name} to {self.label}", done + arrived, total)
            try:
                out, err = pushing.communicate(timeout=LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                with suppress(ValueError, subprocess.TimeoutExpired):
                    arrived = int(self._shell(f"stat -c %s {partial}", ANSWER_SECONDS).out.partition(MARK)[0])
                continue
            output = process.Output(code=pushing.returncode, out=_text(out), err=_text(err))
            return output.code, output.last_line


def open_device(kind: str, detail: str | None) -> Device:
    """The device with this serial, or $ANDROID_SERIAL, or the only one there is.

    Raises:
        MissingDependency: adb is not installed.
        DeviceError: no device, several and none named, or the one cannot be used.
    """
    adb = require("adb", kind)
    wanted = detail or os.environ.get("ANDROID_SERIAL") or None
    listed = listed_devices(adb)
    names = ", ".join(f"{kind}:{one.serial}" for one in listed) or "nothing"
    if wanted is not None:
        found = [one for one in listed if one.serial == wanted]
        if not found:
            raise DeviceError(f"no device {wanted}: adb sees {names}; plug it in, with USB debugging allowed")
    elif not listed:
        raise DeviceError("no device: adb sees nothing; plug one in, with USB debugging allowed in its settings")
    else:
        # One that is ready is taken, whatever else is listed and cannot be used.
        found = [one for one in listed if not one.trouble] or listed
        if len(found) > 1:
            raise DeviceError(f"{len(found)} devices: say which one: --on {' or --on '.join(names.split(', '))}")
    if found[0].trouble:
        raise DeviceError(f"{found[0].serial} {found[0].trouble}")
    return Device(adb=adb, serial=found[0].serial, kind=kind)


def device_statuses(kind: str) -> Iterator[PlaceStatus]:
    """What adb lists, ready or not, as places of this kind."""
    lacks = lacking(kind)
    if shutil.which("adb") is None:
        yield PlaceStatus(where=kind, what="Android devices", lacks=lacks)
        return
    try:
        listed = listed_devices(require("adb", kind))
    except EdgeExportError as error:
        yield PlaceStatus(where=kind, what="Android devices", lacks=(*lacks, str(error)))
        return
    if not listed:
        yield PlaceStatus(where=kind, what="Android devices", lacks=(*lacks, "no device is plugged in"))
    for one in listed:
        troubles = (one.trouble,) if one.trouble else ()
        yield PlaceStatus(where=f"{kind}:{one.serial}", what=one.model or "Android device", lacks=(*lacks, *troubles))


def listed_devices(adb: str) -> list[Listed]:
    """What `adb devices -l` lists; DeviceError when adb itself fails."""
    try:
        done = process.capture([adb, "devices", "-l"], timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise DeviceError("adb does not answer; run `adb kill-server`, then the same command again") from None
    except OSError as error:
        raise DeviceError(f"cannot start {adb}: {error.strerror}; install adb again") from error
    if done.code != 0:
        raise DeviceError(f"adb failed: {done.last_line}; run `adb kill-server`, then the same command again")
    lines = done.out.replace("\r", "").partition("List of devices attached")[2].splitlines()
    return [listed for listed in map(_listed, lines) if listed is not None]


def _listed(line: str) -> Listed | None:
    found = re.match(r"(\S+)\s+(no permissions|\S+)(.*)", line)
    if found is None or line.startswith("*"):
        return None
    model = re.search(r"\bmodel:(\S+)", found[3])
    return Listed(serial=found[1], state=found[2], model=model[1].replace("_", " ") if model else "")


def _free(df: str) -> int:
    """Bytes that `df -k` calls available; a very long name of the disk may take a line of its own."""
    found = re.findall(r"\d+\s+\d+\s+(\d+)\s+\d+%", df)
    if not found:
        raise DeviceError(f"cannot read how much space is free: df answered {' '.join(df.split())[:200]!r}")
    return int(found[-1]) << 10


def _refuse_odd_names(payload: Payload) -> None:
    """Names go to a shell over there. Ours and a manifest's are plain; anything else is a defect or an attack."""
    for name in (payload.name, *payload.files):
        if PLAIN_NAME.fullmatch(name) is None:
            raise UsageError(f"{name!r} is no plain file name; rename it")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
