"""An `adb` whose device is the folder STAND_IN_PHONE; STAND_IN_PHONE_MODE names what goes wrong."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["STAND_IN_PHONE"])
MODES = os.environ.get("STAND_IN_PHONE_MODE", "").split()
DEVICES = os.environ.get("STAND_IN_PHONE_DEVICES", "PIXEL8 device product:shiba model:Pixel_8")
EMULATOR = os.environ.get("STAND_IN_PHONE_EMULATOR", "")
GONE = ROOT / "gone"
TMP, SDCARD = "/data/local/tmp", "/sdcard/Android"
SMALL = ("run.sh", "request.json")  # what is pushed for each run, and never goes wrong
ASIMD = "fp asimd evtstrm aes crc32"
FULL = "fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp"


def log(*words: str) -> None:
    with (ROOT / "log").open("a") as file:
        file.write("|".join(word.replace("\n", " ") for word in words) + "\n")


def fail(message: str) -> None:
    print(f"adb: {message}", file=sys.stderr)
    sys.exit(1)


def local(remote: str) -> str:
    return remote.replace(TMP, f"{ROOT}{TMP}").replace(SDCARD, f"{ROOT}{SDCARD}")


def push(source: str, remote: str) -> None:
    small = remote.endswith(SMALL)
    if "slow" in MODES and not small:
        slowly(Path(source), Path(local(remote)))
    if "full-while-pushing" in MODES and not small:
        fail(f"error: failed to copy '{source}' to '{remote}': remote write failed: No space left on device")
    data = Path(source).read_bytes()
    if "vanish-while-pushing" in MODES and not small:
        Path(local(remote)).write_bytes(data[: len(data) // 2])
        GONE.touch()
        fail(f"error: failed to copy '{source}' to '{remote}': couldn't read from device")
    if "damage" in MODES and not small:
        data = data[:-1] + bytes([data[-1] ^ 1])
    Path(local(remote)).write_bytes(data)
    Path(local(remote)).chmod(0o644)
    print(f"{source}: 1 file pushed, 0 skipped. 30.0 MB/s")


def slowly(source: Path, target: Path) -> None:
    """Let half of a file arrive, and be looked at."""
    target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    time.sleep(0.5)


def pull(remote: str, target: str) -> None:
    if "vanish-while-pulling" in MODES:
        GONE.touch()
        fail(f"error: failed to stat remote object '{remote}': device offline")
    shutil.copyfile(local(remote), target)


def tools() -> str:
    """A folder of commands that answer as the device's would, to stand first on the PATH."""
    folder = ROOT / "bin"
    folder.mkdir(exist_ok=True)
    machine = "x86_64" if "x86" in MODES else "armv8l" if "32-bit" in MODES else "aarch64"
    free = 1000 if "full" in MODES else 90_000_000
    version = "0.0.9" if "old-app" in MODES else "0.1.0"
    scripts = {
        "uname": f"echo {machine}",
        "df": f"echo 'Filesystem 1K-blocks Used Available Use% Mounted on'; "
        f"echo '/dev/block/dm-47 110000000 20000000 {free} 19% /data/user/0'",
        "pm": "exit 1" if "no-app" in MODES else "echo package:/data/app/base.apk",
        "dumpsys": f"echo 'Packages:'; echo '    versionName={version}'; echo '    versionName=0.0.1'",
        "am": f'exec {ROOT}/stand-in-app am "$@"',
        "pidof": f'exec {ROOT}/stand-in-app pidof "$@"',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    cores = (f"processor\t: {core}\nFeatures\t: {ASIMD if 'weak' in MODES else FULL}\n" for core in range(8))
    (ROOT / "cpuinfo").write_text("\n".join(cores))
    return str(folder)


def emulate(script: Path) -> None:
    """Let a device that is no Arm one run what it was given."""
    before, word, after = script.read_text().partition("\nexec ")
    script.write_text(f"{before}{word}{EMULATOR} {after}")


def shell(command: str) -> None:
    running = "run.sh" in command or "progress" in command
    if "vanish-while-running" in MODES and running:
        print("[1/6] conditioner 1 of 1: 0.01 s", file=sys.stderr)
        GONE.touch()
        sys.exit(255)
    if "run.sh" in command and EMULATOR:
        emulate(Path(local(command.split("&&")[0].removeprefix("cd ").strip())) / "run.sh")
    command = local(command).replace("/proc/cpuinfo", str(ROOT / "cpuinfo"))
    environment = {**os.environ, "PATH": f"{tools()}{os.pathsep}{os.environ['PATH']}"}
    # As on a device: what was started there lives on when the cable goes.
    sys.exit(subprocess.Popen(["sh", "-c", command], env=environment, start_new_session=True).wait())


def main() -> None:
    words = sys.argv[1:]
    serial = None
    if words[0] == "-s":
        serial, words = words[1], words[2:]
    log(*words)
    if words[0] == "devices":
        print("* daemon not running; starting now at tcp:5037", file=sys.stderr)
        print("List of devices attached")
        print("" if GONE.exists() else DEVICES + "\n")
        return
    known = [line.split()[0] for line in DEVICES.splitlines()]
    if GONE.exists() or serial not in known:
        fail(f"device '{serial}' not found")
    {"push": push, "pull": pull, "shell": shell}[words[0]](*words[1:])


main()
