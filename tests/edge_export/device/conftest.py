"""A phone that is a folder, a runner that is a script, and the command line that meets them."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_export import cli
from edge_export.device.place import Parcel
from edge_export.device.runner import HERE, Runner
from runtime_py.bundle import sha256_of

HERE_FOLDER = Path(__file__).parent
NO_SKIP = bool(os.environ.get("EDGE_EXPORT_NO_SKIP"))


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of error, and the proof that it is one and no traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("edge-export: error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def edge_export(monkeypatch, capfd) -> Callable[..., Result]:
    """Runs a command in this process."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["edge-export", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        captured = capfd.readouterr()
        return Result(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def bundle(built) -> Path:
    return built("executorch", "int8-dynamic")


def install_script(source: str, path: Path) -> Path:
    """A Python script beside the tests as a command of its own, for this very interpreter."""
    text = (HERE_FOLDER / source).read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
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
    def asked(self) -> list[str]:
        """Every command that adb was given, one a line."""
        log = self.root / "log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    @property
    def pushed(self) -> list[str]:
        """Names of the files that were pushed, but for the command of a run."""
        names = [line.split("|")[-1].rpartition("/")[2] for line in self.asked if line.startswith("push|")]
        return [name.removesuffix(".partial") for name in names if name != "run.sh"]

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
    return Phone(root, monkeypatch)


@pytest.fixture
def runner(tmp_path) -> Runner:
    """A script that takes edge-run's options, writes a WAV and a record, and tells what it was given."""
    folder = tmp_path / "stand-in-runner"
    install_script("stand_in_runner.py", folder / "edge-run")
    (folder / "libstdc++.so.6").write_bytes(b"library" * 1000)
    files = {path.name: sha256_of(path) for path in folder.iterdir()}
    parcel = Parcel(name="runner-executorch", folder=folder, files=files)
    return Runner(parcel=parcel, words=(f"{HERE}/edge-run",), environment={"STAND_IN": "it's set"})


@pytest.fixture
def stand_in(runner, monkeypatch) -> Runner:
    """The same runner, in the place of the one that a bundle's backend would get."""
    from edge_export.device import runner as runners

    for kind in ("host", "qemu", "adb"):
        monkeypatch.setitem(runners.RUNNERS["executorch"], kind, lambda _kind, _progress: runner)
    return runner


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """Skips, saying why, when a command is missing; where everything is installed it fails instead."""

    def need(*commands: str) -> None:
        lacking = [command for command in commands if shutil.which(command) is None]
        if lacking and NO_SKIP:
            pytest.fail(f"{', '.join(lacking)} must be installed here: edge-export device setup")
        if lacking:
            pytest.skip(f"{', '.join(lacking)} is not installed: edge-export device setup")

    return need
