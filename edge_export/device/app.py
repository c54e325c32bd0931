"""The demo app on an Android device as a place to play a bundle, by way of `adb`: it brings its own runner.

    /sdcard/Android/data/dev.edgeexport.demo/files/bundles/<hash>/     what travelled; stays for the next run
    /sdcard/Android/data/dev.edgeexport.demo/files/runs/run-<token>/   one run: request.json, and what the app writes
    /sdcard/Android/data/dev.edgeexport.demo/files/runs/kept-<token>/  the same, which the user wants to keep

The app is started with the name of a run, and answers by files alone: lines of `progress`, the WAV, the record, and
last of all done.json. How it plays is not known here.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from edge_export.device.android import MARK, Device, device_statuses, open_device
from edge_export.device.place import ARM, Finished, OnLine, Payload, PlaceInfo, PlaceKind, PlaceStatus, Task
from edge_export.device.runner import Runner
from edge_export.errors import DeviceError
from edge_export.progress import Progress
from runtime_py import strict_json
from runtime_py.manifest import MANIFEST_FILE

PACKAGE = "dev.edgeexport.demo"
ACTIVITY = f"{PACKAGE}/.HeadlessActivity"
CONTRACT = "0.1"  # versions of the app that take these files: 0.1.0 and what mends it
FILES = f"/sdcard/Android/data/{PACKAGE}/files"
BUNDLES, RUNS = f"{FILES}/bundles", f"{FILES}/runs"
REQUEST, DONE = "request.json", "done.json"
MACHINES = (ARM, "x86_64")
NAME_DIGITS = 32
LOOK_SECONDS = 0.5
STALLED_SECONDS = 600.0
CODES = (2, 4, 6, 8, 10, 11, 12)
"""The exit codes of the runtime's errors, which the app shares; any other is a defect of the app."""
NAME = "app"
REFUSES = ("--golden", "--float", "--normalize", "--no-fade", "--no-tags", "--force")
INSTALL = "`make android` builds it, `adb install -r APK` puts it there"
END = f"[ -f {REQUEST} ] && [ ! -f {DONE} ] && am force-stop {PACKAGE}"


def open_app(detail: str | None) -> "AppPlace":
    """The app on the device with this serial, or on the only one; errors as `open_device` has them."""
    return AppPlace(device=open_device(NAME, detail))


def list_apps() -> Iterator[PlaceStatus]:
    """The app on what adb lists, whether it is there or not."""
    for status in device_statuses(NAME):
        serial = status.where.partition(":")[2]
        lacks = status.lacks if status.lacks or not serial else _lacks(serial)
        yield replace(status, what=f"the demo app, {status.what}" if serial else status.what, lacks=lacks)


def app_runner(_kind: PlaceKind, _progress: Progress) -> Runner:
    """The app's own."""
    return Runner(name=NAME, remedy=f"install this version of the app: {INSTALL}")


@dataclass(frozen=True, kw_only=True)
class AppPlace:
    device: Device

    @property
    def label(self) -> str:
        return self.device.label

    def info(self) -> PlaceInfo:
        trouble = app_trouble(self.device)
        if trouble:
            raise DeviceError(f"{self.label}: {trouble}")
        info = self.device.info(FILES)
        if info.machine not in MACHINES:
            raise DeviceError(
                f"{self.label} is {info.machine or 'of an unknown kind'}, the app is for {' and '.join(MACHINES)}; "
                "take another device"
            )
        return info

    def push(self, payload: Payload, progress: Progress) -> None:
        """As every place does. The app takes in a copy, for which there must be room too."""
        folder = f"{BUNDLES}/{_name(payload)}"
        self.device.bring(payload, folder, progress, copies=2)
        _share(self.device, BUNDLES, folder)

    @contextmanager
    def workspace(self, *, keep: bool) -> Iterator["AppWorkspace"]:
        with self.device.run_folder(RUNS, END, keep=keep) as folder:
            _share(self.device, RUNS, folder)
            yield AppWorkspace(self.device, folder)


class AppWorkspace:
    """A folder of one run in the app's own files."""

    def __init__(self, device: Device, folder: str) -> None:
        self._device, self._folder = device, folder

    @property
    def folder(self) -> str:
        return self._folder

    def at(self, payload: Payload) -> str:
        return _name(payload)

    def play(self, task: Task, on_line: OnLine) -> Finished:
        device = self._device
        device.put(_request(task), f"{self._folder}/{REQUEST}", "pushing the request")
        self._start()
        self._follow(on_line)
        code, message = read_done(self.pull(DONE), device.label)
        if code and code not in CODES:
            raise DeviceError(f"the app failed on {device.label}: {message}")
        return Finished(code=code, lines=(f"{NAME}: error: {message}",) if code else ())

    def pull(self, name: str) -> bytes:
        return self._device.pull(f"{self._folder}/{name}")

    def _start(self) -> None:
        device, run = self._device, self._folder.rpartition("/")[2]
        answer = device.answer(f"am start -W -n {ACTIVITY} --es run {run} 2>&1", "starting the app")
        refused = re.search(r"^(Error: |Security exception: |java\.).*", answer.text, re.MULTILINE)
        if refused or answer.code != 0:
            why = refused[0] if refused else answer.last_line
            raise DeviceError(f"{device.label} does not start the app: {why[:300]}; install it again: {INSTALL}")

    def _follow(self, on_line: OnLine) -> None:
        """Wait for done.json; `on_line` gets the lines of progress in the form of edge-run's."""
        device, seen, last, moved = self._device, 0, "it was started", time.monotonic()
        while True:
            alive, done, lines = self._look(seen)
            for last in lines:
                seen, moved = seen + 1, time.monotonic()
                on_line(f"[{seen}/] {last}")
            if done:
                return
            if not alive:
                raise DeviceError(
                    f"the app ended on {device.label} after {last[:100]}, most likely for want of memory; ask for "
                    f"fewer --seconds, or look into adb -s {device.serial} logcat -b crash"
                )
            if time.monotonic() - moved > STALLED_SECONDS:
                raise DeviceError(
                    f"the app on {device.label} got no further in {STALLED_SECONDS:.0f} s after {last[:100]}, and was "
                    f"stopped; leave its screen on, or look into adb -s {device.serial} logcat"
                )
            time.sleep(LOOK_SECONDS)

    def _look(self, seen: int) -> tuple[bool, bool, list[str]]:
        """Whether the app runs, whether it is done, its lines after those `seen`: looked at in this order.

        So an app that ends between two looks is seen to be done, and one that is done has written all its lines.
        """
        text = self._device.ask(
            f"cd {self._folder} && {{ pidof {PACKAGE} > /dev/null && echo alive; [ -f {DONE} ] && echo done; "
            f"echo {MARK}; tail -n +{seen + 1} progress 2> /dev/null; true; }}",
            "playing",
        )
        state, _, lines = text.partition(f"{MARK}\n")
        return "alive" in state, "done" in state, lines.split("\n")[:-1]  # the last one may be half a line


def app_trouble(device: Device) -> str:
    """What stands between the app on a device and a run, with the remedy; empty when nothing does."""
    looked = f"pm path {PACKAGE} > /dev/null 2>&1 && dumpsys package {PACKAGE} | grep -m 1 versionName=; true"
    found = re.search(r"versionName=(\S+)", device.ask(looked, "looking for the app"))
    if found is None:
        return f"the app {PACKAGE} is not installed: {INSTALL}"
    version = found[1]
    if version != CONTRACT and not version.startswith(f"{CONTRACT}."):
        return f"the app there is of version {version[:40]}, expected {CONTRACT}: {INSTALL}"
    return ""


def read_done(data: bytes, label: str) -> tuple[int, str]:
    """Exit code and message of a done.json; DeviceError when it is none."""
    try:
        document = strict_json.parse(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _no_done(label, f"no JSON, {error}") from error
    if not isinstance(document, dict) or document.keys() != {"code", "message"}:
        raise _no_done(label, "not made of code and message")
    code, message = document["code"], document["message"]
    if type(code) is not int or not 0 <= code < 256 or not isinstance(message, str):
        raise _no_done(label, "not made of a code and a text")
    return code, message.strip() or "it does not say why; look into adb logcat"


def _share(device: Device, *folders: str) -> None:
    """Let the app in: it is another user there than the shell. Where the folder of an app knows no modes, it is in."""
    device.ask(f"chmod 777 {' '.join(folders)} 2> /dev/null; true", "opening a folder to the app")


def _no_done(label: str, what: str) -> DeviceError:
    return DeviceError(f"{DONE} from {label} is {what}; install this version of the app: {INSTALL}")


def _request(task: Task) -> bytes:
    """What the app reads. It is plain JSON in one file: no shell sees it."""
    asked = None if task.request is None else asdict(task.request)
    return json.dumps({"bundle": task.bundle, "request": asked, "threads": task.threads, "label": task.label}).encode()


def _name(payload: Payload) -> str:
    """The bundle's, by its manifest: another bundle is another folder, as the app keeps them itself."""
    return payload.files[MANIFEST_FILE][:NAME_DIGITS]


def _lacks(serial: str) -> tuple[str, ...]:
    try:
        trouble = app_trouble(open_device(NAME, serial))
    except DeviceError as error:
        return (str(error),)
    return (trouble,) if trouble else ()
