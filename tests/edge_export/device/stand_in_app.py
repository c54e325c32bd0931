"""The demo app on the stand-in device, and Android's `am` and `pidof`; STAND_IN_APP names what goes wrong.

It plays by the stand-in for a runner, STAND_IN_APP_RUNNER.
"""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(os.environ["STAND_IN_PHONE"])
MODE = os.environ.get("STAND_IN_APP", "")
PACKAGE = "dev.edgeexport.demo"
FILES = ROOT / "sdcard" / "Android" / "data" / PACKAGE / "files"
PID = ROOT / "app.pid"
DENIED = f"""
Exception occurred while executing 'start':
java.lang.SecurityException: Permission Denial: starting Intent {{ cmp={PACKAGE}/.HeadlessActivity }} requires
\tat com.android.server.wm.ActivityTaskSupervisor.checkStartAnyActivityPermission(ActivityTaskSupervisor.java:1)"""


def am(verb: str, *words: str) -> int:
    if verb == "force-stop":
        (ROOT / "stopped").touch()
        for pid in pids():
            os.killpg(pid, signal.SIGKILL)
        return 0
    print(f"Starting: Intent {{ cmp={PACKAGE}/.HeadlessActivity (has extras) }}")
    if MODE == "absent":  # as on older devices: with an exit code of 0
        print(f"Error type 3\nError: Activity class {{{PACKAGE}/.HeadlessActivity}} does not exist.", file=sys.stderr)
        return 0
    if MODE == "denied":
        print(DENIED, file=sys.stderr)
        return 255
    options = dict(pairwise(words))
    assert options["-n"] == f"{PACKAGE}/.HeadlessActivity", words
    made = subprocess.Popen(
        [__file__, "app", options["run"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # adb would wait for its end
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    PID.write_text(str(made.pid))
    print("Status: ok\nLaunchState: COLD\nComplete")
    return 0


def pidof(package: str) -> int:
    assert package == PACKAGE
    print(*pids())
    return 0 if pids() else 1


def pids() -> list[int]:
    """The app's process, if it runs: one that has ended may wait for somebody to ask how."""
    try:
        pid = int(PID.read_text())
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if state == "Z" else [pid]


def app(run: str) -> int:
    folder = FILES / "runs" / run
    asked = json.loads((folder / "request.json").read_text())
    progress(folder, "conditioner 1 of 1\ndit 1 of")
    time.sleep(0.3)  # a look in the middle of a line
    progress(folder, " 4\n")
    if MODE == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "hangs":
        started = os.environ.get("STAND_IN_STARTED")
        if started:
            Path(started).write_text(str(os.getpid()))
        time.sleep(600)
    code, message = played(folder, asked)
    progress(folder, "decoder 1 of 1\n")
    document = json.dumps({"code": code, "message": message})
    wrong = {"half": document[:9], "strange": '{"code": 0}', "text": '{"code": "0", "message": ""}'}
    (folder / "partial").write_text(wrong.get(MODE.removeprefix("done-"), document))
    (folder / "partial").rename(folder / "done.json")
    return 0


def played(folder: Path, asked: dict) -> tuple[int, str]:
    ends = {"refuses": (4, "schema_version: is 4;\nbuild it again"), "defect": (1, "index 7"), "odd": (77, "")}
    if MODE in ends:
        return ends[MODE]
    options = {**asked["request"], "threads": asked["threads"], "label": asked["label"], "out": "x.wav"}
    options |= {"record": "record.json", "bundle": str(FILES / "bundles" / asked["bundle"])}
    words = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.run([os.environ["STAND_IN_APP_RUNNER"], *words], cwd=folder, check=False).returncode, ""


def progress(folder: Path, text: str) -> None:
    with (folder / "progress").open("a") as file:
        file.write(text)


sys.exit({"am": am, "pidof": pidof, "app": app}[sys.argv[1]](*sys.argv[2:]))
