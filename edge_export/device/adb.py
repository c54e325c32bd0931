"""Android devices as places to play a bundle, by way of `adb` alone: push, pull and shell.

    /data/local/tmp/edge-export/<payload>/     what travelled; stays, so that the next run brings only what changed
    /data/local/tmp/edge-export/run-<token>/   one run: run.sh, and what it writes; goes when the run ends
    /data/local/tmp/edge-export/kept-<token>/  the same, which the user wants to keep

Nothing that a user typed is read by a shell: it lies quoted in run.sh, which is pushed. No file is half there: each
is pushed under another name, hashed over there, and renamed.
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
from edge_export.device.place import ARM, Finished, OnLine, Payload, PlaceInfo, PlaceStatus
from edge_export.device.readiness import lacking
from edge_export.device.tools import require
from edge_export.errors import DeviceError, EdgeExportError, UsageError
from edge_export.progress import Progress
from runtime_py.machine import features_of_all

FOLDER = "/data/local/tmp/edge-export"
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


def open_adb(detail: str | None) -> "AdbPlace":
    """The device with this serial, or $ANDROID_SERIAL, or the only one there is.

    Raises:
        MissingDependency: adb is not installed.
        DeviceError: no device, several and none named, or the one cannot be used.
    """
    adb = require("adb", "adb")
    wanted = detail or os.environ.get("ANDROID_SERIAL") or None
    listed = _devices(adb)
    names = ", ".join(f"adb:{one.serial}" for one in listed) or "nothing"
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
    return AdbPlace(adb=adb, serial=found[0].serial)


def list_devices() -> Iterator[PlaceStatus]:
    """What adb lists, ready or not."""
    lacks = lacking("adb")
    if shutil.which("adb") is None:
        yield PlaceStatus(where="adb", what="Android devices", lacks=lacks)
        return
    try:
        listed = _devices(require("adb", "adb"))
    except EdgeExportError as error:
        yield PlaceStatus(where="adb", what="Android devices", lacks=(*lacks, str(error)))
        return
    if not listed:
        yield PlaceStatus(where="adb", what="Android devices", lacks=(*lacks, "no device is plugged in"))
    for one in listed:
        troubles = (one.trouble,) if one.trouble else ()
        yield PlaceStatus(where=f"adb:{one.serial}", what=one.model or "Android device", lacks=(*lacks, *troubles))


@dataclass(frozen=True, kw_only=True)
class AdbPlace:
    adb: str
    serial: str

    @property
    def label(self) -> str:
        return f"adb:{self.serial}"

    def info(self) -> PlaceInfo:
        answer = self.ask(
            f"uname -m; echo {MARK}; cat /proc/cpuinfo; echo {MARK}; mkdir -p {FOLDER} && df -k {FOLDER}", "looking"
        )
        machine, cpuinfo, space = (part.strip() for part in [*answer.split(MARK), "", ""][:3])
        if machine != ARM:
            raise DeviceError(
                f"{self.label} is {machine or 'of an unknown kind'}, the runner is for 64-bit Arm ({ARM}); take "
                "another device"
            )
        cores = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
        return PlaceInfo(machine=machine, cpu_features=features_of_all(cpuinfo), cores=max(1, cores), free=_free(space))

    def push(self, payload: Payload, progress: Progress) -> None:
        """Bring the files whose hash over there is another, and remove files that are none of the payload's.

        Raises:
            DeviceError: no space, the device vanished, or a file did not arrive as it was sent.
        """
        _refuse_odd_names(payload)
        folder = f"{FOLDER}/{payload.name}"
        progress(f"comparing {payload.name} with {self.label}", 0, 1)
        there = self._hashes(folder)
        changed = [name for name, sha256 in payload.files.items() if there.get(name) != sha256]
        sizes = {name: (payload.folder / name).stat().st_size for name in changed}
        total, done = sum(sizes.values()), 0
        self._check_room(payload, total)
        for name in changed:
            self._push_file(payload.folder / name, f"{folder}/{name}", payload.files[name], progress, done, total)
            done += sizes[name]
        strays = [name for name in there if name not in payload.files]
        if strays:
            self.ask(f"cd {folder} && rm -f {' '.join(map(shlex.quote, strays))}", "removing what is no longer needed")
        progress(f"{payload.name} is there", total, total)

    @contextmanager
    def workspace(self, *, keep: bool) -> Iterator["AdbWorkspace"]:
        folder = f"{FOLDER}/{'kept' if keep else 'run'}-{secrets.token_hex(4)}"
        # Runs that a cable ended stay behind; after a day they are nobody's.
        sweep = f"find {FOLDER} -maxdepth 1 -name 'run-*' -mtime +1 -exec rm -rf {{}} + 2>/dev/null"
        self.ask(f"{sweep}; mkdir -p {folder}", "making a folder")
        try:
            yield AdbWorkspace(self, folder)
        finally:
            self._leave(folder, keep)

    def _leave(self, folder: str, keep: bool) -> None:
        """End what still runs in `folder`, and remove it; a device that is gone cannot be tidied."""
        end = f"cd {folder} 2>/dev/null && [ -f pid ] && kill -9 $(cat pid) 2>/dev/null"
        with suppress(DeviceError, subprocess.TimeoutExpired):
            self.shell(f"{end}; cd / ; {'true' if keep else f'rm -rf {folder}'}", timeout=LEAVE_SECONDS)

    def _hashes(self, folder: str) -> dict[str, str]:
        """sha256 by name of the files in a folder over there; empty when it is not there yet."""
        answer = self.ask(f"mkdir -p {folder} && cd {folder} && for f in * .*; do [ -f \"$f\" ] && echo \"$f\" && "
                         'sha256sum < "$f"; done; true', "comparing files")  # fmt: skip
        lines = answer.splitlines()
        return {name: sha256.split()[0] if sha256.split() else "" for name, sha256 in zip(lines[::2], lines[1::2])}

    def _check_room(self, payload: Payload, needed: int) -> None:
        free = _free(self.ask(f"df -k {FOLDER}", "asking for its free space"))
        if needed + ROOM > free:
            wanted = (needed + ROOM) / 1e6
            raise DeviceError(
                f"{self.label} has {free / 1e6:.0f} MB free in {FOLDER}, {payload.name} needs {wanted:.0f}; free some "
                f"space there, or remove older bundles: adb -s {self.serial} shell rm -r {FOLDER}"
            )

    def _push_file(self, path: Path, there: str, sha256: str, progress: Progress, done: int, total: int) -> None:
        """Push one file; it has its name over there only once its hash is right."""
        partial = there + PARTIAL
        with process.started([self.adb, "-s", self.serial, "push", str(path.absolute()), partial]) as pushing:
            code, last_line = self._watched(pushing, path.name, partial, progress, done, total)
        if code != 0:
            raise self.failure(f"pushing {path.name}", last_line)
        mode = 755 if os.access(path, os.X_OK) else 644
        arrived = self.ask(f"sha256sum < {partial} && chmod {mode} {partial}", f"checking {path.name}").split()
        if not arrived or arrived[0] != sha256:
            self.ask(f"rm -f {partial}", "removing a damaged file")
            raise DeviceError(f"{path.name} arrived damaged on {self.label} and was removed there; {AGAIN}")
        self.ask(f"mv -f {partial} {there}", f"renaming {path.name}")

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
                with suppress(DeviceError, ValueError, subprocess.TimeoutExpired):
                    arrived = int(self.shell(f"stat -c %s {partial}").out.strip())
                continue
            output = process.Output(code=pushing.returncode, out=_text(out), err=_text(err))
            return output.code, output.last_line

    def ask(self, command: str, doing: str) -> str:
        """What a short shell command over there answers; DeviceError when it fails."""
        try:
            done = self.shell(command)
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{self.label} does not answer (while {doing}); {AGAIN}") from None
        text, mark, code = done.out.replace("\r", "").rpartition(MARK)
        if not mark or code.strip() != "0":
            last_line = process.Output(code=done.code, out=text, err=done.err).last_line
            raise self.failure(doing, last_line, vanished=not mark)
        return text

    def shell(self, command: str, timeout: float = ANSWER_SECONDS) -> process.Output:
        """Older devices give no exit code back: the command prints it, and silence means that nobody is there."""
        argv = [self.adb, "-s", self.serial, "shell", f"( {command} ); echo {MARK}$?"]
        return process.capture(argv, timeout=timeout)

    def failure(self, doing: str, last_line: str, *, vanished: bool = False) -> DeviceError:
        """The error for a step that failed: of the device's state if that is the cause, else in adb's words."""
        if "No space left" in last_line or "not enough space" in last_line.lower():
            return DeviceError(f"{self.label} is full (while {doing}); free some space there")
        with suppress(EdgeExportError):
            listed = [one for one in _devices(self.adb) if one.serial == self.serial]
            if not listed:
                return DeviceError(f"{self.label} vanished while {doing}; {AGAIN}")
            if listed[0].trouble:
                return DeviceError(f"{self.label} {listed[0].trouble} (while {doing})")
        what = "broke off" if vanished else "failed"
        return DeviceError(f"{self.label}: {doing} {what}: {last_line}; {AGAIN}")


class AdbWorkspace:
    """A folder of one run on an Android device."""

    def __init__(self, place: AdbPlace, folder: str) -> None:
        self._place, self._folder = place, folder

    @property
    def folder(self) -> str:
        return self._folder

    def at(self, payload: Payload) -> str:
        return f"../{payload.name}"

    def run(self, argv: list[str], environment: dict[str, str], on_line: OnLine) -> Finished:
        self._push_script(argv, environment)
        marks: list[str] = []

        def on_any_line(line: str) -> None:
            if line.startswith(MARK):
                marks.append(line.removeprefix(MARK))
            else:
                on_line(line)

        place = self._place
        # Once it has ended, its number may become another process's: the file goes. The mark follows the lines.
        command = f"cd {self._folder} && sh ./run.sh; code=$?; rm -f {self._folder}/pid; echo {MARK}$code >&2"
        done = process.follow([place.adb, "-s", place.serial, "shell", command], on_any_line)
        lines = (*done.out.splitlines(), *done.err.splitlines())
        marks += [one.removeprefix(MARK) for one in done.out.splitlines() if one.startswith(MARK)]  # shells that merge
        if not marks or not marks[-1].isdigit():
            raise place.failure("running", done.last_line, vanished=True)
        return Finished(code=int(marks[-1]), lines=tuple(line for line in lines if not line.startswith(MARK)))

    def pull(self, name: str) -> bytes:
        place = self._place
        with tempfile.TemporaryDirectory(prefix="edge-export-pull-") as folder:
            path = Path(folder, name)
            argv = [place.adb, "-s", place.serial, "pull", f"{self._folder}/{name}", str(path)]
            done = process.capture(argv, timeout=None)
            if done.code != 0 or not path.is_file():
                raise place.failure(f"bringing {name} back", done.last_line)
            data = path.read_bytes()
        answer = place.ask(f"sha256sum < {self._folder}/{name}", f"checking {name}").split()
        if not answer or answer[0] != hashlib.sha256(data).hexdigest():
            raise DeviceError(f"{name} arrived damaged from {place.label}; {AGAIN}")
        return data

    def _push_script(self, argv: list[str], environment: dict[str, str]) -> None:
        settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        script = f"echo $$ > pid\n{settings}exec {shlex.join(argv)}\n"
        place = self._place
        with tempfile.TemporaryDirectory(prefix="edge-export-push-") as folder:
            path = Path(folder, "run.sh")
            path.write_text(script, encoding="utf-8", newline="\n")
            done = process.capture(
                [place.adb, "-s", place.serial, "push", str(path), f"{self._folder}/run.sh"], timeout=ANSWER_SECONDS
            )
        if done.code != 0:
            raise place.failure("pushing the command", done.last_line)


def _devices(adb: str) -> list[Listed]:
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
