"""A phone that is a folder, and a runner that is a script."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_export.device.place import Payload
from edge_export.device.runner import HERE, Runner
from runtime_py.bundle import open_bundle, sha256_of
from runtime_py.machine import Machine
from runtime_py.record import (
    RECORD_VERSION,
    BundleIdentity,
    Record,
    RunInfo,
    Runtime,
    StageRecord,
    bundle_identity,
    dump_record,
)
from runtime_py.request import Request
from tests.fixtures.make_bundles import FOLDER

HERE_FOLDER = Path(__file__).parent
USER_DEVICES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "edge-export", "device")


@pytest.fixture
def bundle() -> Path:
    """Any one: what travels and what is refused does not depend on its numbers."""
    return FOLDER / "int8-dynamic" / "bundle"


def install_script(source: str, path: Path) -> Path:
    """A Python script beside the tests as a command of its own, for this very interpreter without its packages."""
    text = (HERE_FOLDER / source).read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable} -IS\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return path


class Phone:
    """The folder behind the stand-in `adb`, and how it behaves."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self._patch = root, patch
        patch.setenv("STAND_IN_PHONE", str(root))
        self.mode()

    @property
    def folder(self) -> Path:
        return self.root / "data" / "local" / "tmp" / "edge-export"

    @property
    def commands(self) -> list[str]:
        """Every command that adb was given, one a line."""
        log = self.root / "log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    @property
    def pushed(self) -> list[str]:
        """Names of the files that were pushed, but for what is of one run alone."""
        names = [line.split("|")[-1].rpartition("/")[2] for line in self.commands if line.startswith("push|")]
        return [name.removesuffix(".partial") for name in names if name not in ("run.sh", "request.json")]

    def mode(self, *modes: str) -> None:
        self._patch.setenv("STAND_IN_PHONE_MODE", " ".join(modes))

    def devices(self, *lines: str) -> None:
        """What `adb devices -l` lists, such as "PIXEL8 device"."""
        self._patch.setenv("STAND_IN_PHONE_DEVICES", "\n".join(lines))

    def emulate(self, cpu: str) -> None:
        """Run Arm programs: the device is this emulated CPU from now on."""
        from edge_export.device.qemu import CPUS, command

        self._patch.setenv("STAND_IN_PHONE_EMULATOR", shlex.join(command(CPUS[cpu])))

    def forget(self) -> None:
        (self.root / "log").unlink(missing_ok=True)


@pytest.fixture
def phone(tmp_path, monkeypatch) -> Phone:
    """A stand-in `adb`, first on the PATH, with one ready device."""
    install_script("stand_in_adb.py", tmp_path / "adb-bin" / "adb")
    monkeypatch.setenv("PATH", f"{tmp_path / 'adb-bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    root = tmp_path / "phone"
    (root / "data" / "local" / "tmp").mkdir(parents=True)
    install_script("stand_in_app.py", root / "stand-in-app")
    return Phone(root, monkeypatch)


RECORD = Record(
    run=RunInfo(
        record_version=RECORD_VERSION,
        runtime=Runtime(name="edge-run", version="0.1", engine="executorch", engine_version="1.0"),
        bundle=BundleIdentity(manifest_sha256="0" * 64, model="a", backend="executorch", recipe="int8-dynamic"),
        label="",
        machine=Machine(
            system="Linux", architecture="aarch64", cpu="a", cpu_features=(), cores=8, memory_bytes=8 << 30
        ),
        threads=1,
        request=Request(prompt="a", seconds=0.5, seed=0, steps=4),
        inputs="own",
        open_seconds=0.1,
        stages=tuple(
            StageRecord(stage=stage, index=1, count=1, load=0.01, run=0.02, peak_rss_mb=56.1)
            for stage in ("conditioner", "dit", "decoder")
        ),
    ),
    tensors={},
    wav=None,
)
"""What the stand-in for a runner writes, but for bundle, label and WAV."""


@pytest.fixture
def given(tmp_path, monkeypatch, bundle) -> Callable[[], dict[str, Any]]:
    """What the stand-in for a runner was given: its options, the bundle's files, and its environment."""
    path, record = tmp_path / "given.json", tmp_path / "stand-in-record.json"
    run = replace(RECORD.run, bundle=bundle_identity(open_bundle(bundle)))
    record.write_text(dump_record(replace(RECORD, run=run)), encoding="utf-8")
    monkeypatch.setenv("STAND_IN_GIVEN", str(path))
    monkeypatch.setenv("STAND_IN_RECORD", str(record))
    return lambda: json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def runner(tmp_path, given) -> Runner:
    """A script that takes edge-run's options, and writes a WAV, a record, and what it was given."""
    folder = tmp_path / "stand-in-runner"
    install_script("stand_in_runner.py", folder / "edge-run")
    (folder / "libstdc++.so.6").write_bytes(b"library" * 1000)
    files = {path.name: sha256_of(path) for path in folder.iterdir()}
    payload = Payload(name="runner-executorch", folder=folder, files=files)
    return Runner(payload=payload, words=(f"{HERE}/edge-run",), environment={"STAND_IN": "it's set"})


@pytest.fixture
def stand_in(runner, monkeypatch) -> Runner:
    """The same runner, in the place of the one that a bundle's backend would get."""
    from edge_export.device import runners

    for kind in ("host", "qemu", "adb"):
        monkeypatch.setitem(runners.RUNNERS["executorch"], kind, lambda _kind, _progress: runner)
    return runner


@pytest.fixture
def arm(need, own_caches, tmp_path, monkeypatch) -> None:
    """What `device setup --on qemu` brought for this user, runners it built included, beside this run's own caches."""
    from edge_export.device.readiness import lacking

    need("aarch64-linux-gnu-g++", "qemu-aarch64-static", "cmake", "ninja")
    cache = tmp_path / "xdg" / "edge-export"
    cache.mkdir(parents=True)
    for name in ("programs", "weights", "checkpoints"):
        folder = own_caches / "edge-export" / name
        folder.mkdir(parents=True, exist_ok=True)
        (cache / name).symlink_to(folder)
    USER_DEVICES.mkdir(parents=True, exist_ok=True)
    (cache / "device").symlink_to(USER_DEVICES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    lacks = lacking("qemu")
    if lacks:
        reason = f"{', '.join(lacks)}: edge-export device setup --on qemu"
        (pytest.fail if os.environ.get("EDGE_EXPORT_NO_SKIP") else pytest.skip)(reason)
