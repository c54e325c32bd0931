"""Android devices as places to play a bundle, by way of `adb` alone: push, pull and shell.

    /data/local/tmp/edge-export/<payload>/     what travelled; stays, so that the next run brings only what changed
    /data/local/tmp/edge-export/run-<token>/   one run: run.sh, and what it writes; goes when the run ends
    /data/local/tmp/edge-export/kept-<token>/  the same, which the user wants to keep

The command of a run lies quoted in run.sh, which is pushed: no shell reads what a user typed.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_export.device import process
from edge_export.device.android import MARK, Device, device_statuses, open_device
from edge_export.device.place import ARM, Finished, OnLine, Payload, PlaceInfo, PlaceStatus, Task
from edge_export.errors import DeviceError
from edge_export.progress import Progress

FOLDER = "/data/local/tmp/edge-export"
END = "[ -f pid ] && kill -9 $(cat pid) 2>/dev/null"


def open_adb(detail: str | None) -> "AdbPlace":
    """The device with this serial, or $ANDROID_SERIAL, or the only one there is; errors as `open_device` has them."""
    return AdbPlace(device=open_device("adb", detail))


def list_devices() -> Iterator[PlaceStatus]:
    """What adb lists, ready or not."""
    return device_statuses("adb")


@dataclass(frozen=True, kw_only=True)
class AdbPlace:
    device: Device

    @property
    def label(self) -> str:
        return self.device.label

    def info(self) -> PlaceInfo:
        info = self.device.info(FOLDER)
        if info.machine != ARM:
            raise DeviceError(
                f"{self.label} is {info.machine or 'of an unknown kind'}, the runner is for 64-bit Arm ({ARM}); take "
                "another device"
            )
        return info

    def push(self, payload: Payload, progress: Progress) -> None:
        self.device.bring(payload, f"{FOLDER}/{payload.name}", progress)

    @contextmanager
    def workspace(self, *, keep: bool) -> Iterator["AdbWorkspace"]:
        with self.device.run_folder(FOLDER, END, keep=keep) as folder:
            yield AdbWorkspace(self.device, folder)


class AdbWorkspace:
    """A folder of one run on an Android device."""

    def __init__(self, device: Device, folder: str) -> None:
        self._device, self._folder = device, folder

    @property
    def folder(self) -> str:
        return self._folder

    def at(self, payload: Payload) -> str:
        return f"../{payload.name}"

    def play(self, task: Task, on_line: OnLine) -> Finished:
        self._push_script(task)
        marks: list[str] = []

        def on_any_line(line: str) -> None:
            if line.startswith(MARK):
                marks.append(line.removeprefix(MARK))
            else:
                on_line(line)

        device = self._device
        # Once it has ended, its number may become another process's: the file goes. The mark follows the lines.
        command = f"cd {self._folder} && sh ./run.sh; code=$?; rm -f {self._folder}/pid; echo {MARK}$code >&2"
        done = process.follow([device.adb, "-s", device.serial, "shell", command], on_any_line)
        lines = (*done.out.splitlines(), *done.err.splitlines())
        marks += [one.removeprefix(MARK) for one in done.out.splitlines() if one.startswith(MARK)]  # shells that merge
        if not marks or not marks[-1].isdigit():
            raise device.failure("running", done.last_line, vanished=True)
        return Finished(code=int(marks[-1]), lines=tuple(line for line in lines if not line.startswith(MARK)))

    def pull(self, name: str) -> bytes:
        return self._device.pull(f"{self._folder}/{name}")

    def _push_script(self, task: Task) -> None:
        settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in task.environment.items())
        script = f"echo $$ > pid\n{settings}exec {shlex.join(task.words)}\n"
        self._device.put(script.encode(), f"{self._folder}/run.sh", "pushing the command")
