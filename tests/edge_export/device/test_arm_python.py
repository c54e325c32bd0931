"""LiteRT on emulated Arm: a bundle played from end to end, and what is refused on the way there."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from edge_export.compare import compare
from edge_export.device import arm_python as fetching
from edge_export.device import debian, process, sdk, setup, wheels
from edge_export.device.arm_python import ArmPython, arm_python, fetch_arm_python
from edge_export.device.build import Built
from edge_export.device.places import PLACES
from edge_export.device.python_runner import runtime_folder
from edge_export.device.runners import runner_for
from edge_export.errors import DeviceError, EdgeExportError, FetchError, MissingDependency
from runtime_py.bundle import open_bundle, sha256_of
from runtime_py.record import read_record

pytestmark = pytest.mark.arm

WHEELS = {
    "ai_edge_litert": {
        "ai_edge_litert/compiled_model.py": b"import numpy",
        "ai_edge_litert/libLiteRt.so": b"\x7fELF",
        "ai_edge_litert/libLiteRtWebGpuAccelerator.so": b"\x7fELF",
    },
    "numpy": {"numpy/__init__.py": b"", "numpy/tests/test_all.py": b"", "numpy/__init__.pyi": b""},
    "ml_dtypes": {"ml_dtypes/__init__.py": b""},
}


@pytest.fixture
def emulated(arm) -> ArmPython:
    """Python and LiteRT for Arm, as `device setup` brought them."""
    try:
        return arm_python()
    except MissingDependency as error:
        (pytest.fail if os.environ.get("EDGE_EXPORT_NO_SKIP") else pytest.skip)(str(error))


@pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic"])
def test_a_bundle_plays_on_the_most_capable_cpu_and_agrees_with_this_machine(
    emulated, edge_export, built, tmp_path, recipe
):
    folder, wav, record = built("litert", recipe), tmp_path / "x.wav", tmp_path / "run.json"
    result = edge_export(
        "device", "run", folder, "--on", "qemu:max", "--prompt", "warm arpeggios", "--seconds", 0.3, "--steps", 2,
        "--out", wav, "--record", record,
    )  # fmt: skip
    assert result.code == 0, result.err
    made = read_record(record)
    run = made.run
    assert (run.label, run.machine.architecture) == ("qemu:max", "aarch64")
    assert {"i8mm", "sve2"} <= set(run.machine.cpu_features)
    assert (made.run.runtime.name, made.run.runtime.engine) == ("runtime_py", "litert")
    assert made.run.runtime.engine_version == emulated.version
    assert wav.read_bytes()[:4] == b"RIFF"
    against_bundle = compare(made, open_bundle(folder), "bundle")
    assert against_bundle.passed, against_bundle.checks


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_older_cpus_replay_the_golden_request(emulated, edge_export, built, tmp_path, cpu):
    """The least of them has no atomics of Armv8.1, which parts of LiteRT that are left out would need."""
    folder, record = built("litert", "int8-dynamic"), tmp_path / "run.json"
    result = edge_export("device", "run", folder, "--on", f"qemu:{cpu}", "--golden", "--record", record)
    assert result.code == 0, result.err
    assert read_record(record).run.label == f"qemu:{cpu}"
    assert compare(read_record(record), open_bundle(folder), "golden").passed


def test_nothing_of_this_machines_python_reaches_the_emulated_one(emulated, edge_export, built, tmp_path, monkeypatch):
    trap = tmp_path / "trap" / "numpy"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text("raise SystemExit(99)")
    monkeypatch.setenv("PYTHONPATH", str(trap.parent))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    result = edge_export(
        "device", "run", built("litert", "int8-dynamic"), "--on", "qemu", "--golden", "--record", tmp_path / "run.json"
    )
    assert result.code == 0, result.err
    left = {path.relative_to(emulated.folder).as_posix() for path in emulated.folder.rglob("*") if path.is_file()}
    assert left == {*emulated.files, fetching.RECORD_FILE}  # and the run has added nothing to it


def test_the_runtimes_own_error_is_passed_on(emulated, edge_export, built, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_export.device.run.check_request", lambda *_: None)
    result = edge_export(
        "device", "run", built("litert", "int8-dynamic"), "--on", "qemu", "--prompt", "a", "--seed", -1,
        "--record", tmp_path / "run.json",
    )  # fmt: skip
    assert result.code == 2
    assert result.error.startswith("edge-export: error: seed is -1, expected 0 to 4294967295")


def test_this_machine_plays_with_its_own_python(edge_export, built, tmp_path):
    folder, record = built("litert", "int8-dynamic"), tmp_path / "run.json"
    result = edge_export("device", "run", folder, "--on", "host", "--prompt", "a", "--steps", 1, "--record", record)
    assert result.code == 0, result.err
    made = read_record(record)
    assert made.run.label == "host"
    assert compare(made, open_bundle(folder), "bundle").passed


def test_phones_play_no_litert_bundles_yet_and_are_not_looked_for(edge_export, built, phone):
    result = edge_export("device", "run", built("litert", "int8-dynamic"), "--on", "adb", "--prompt", "a")
    assert result.code == 2
    assert "litert bundles cannot be played on adb yet; take --on host or qemu" in result.error
    assert phone.commands == []


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return path


def deb(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """A Debian package with these files, as `ar` writes one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = {"debian-binary": b"2.0\n", "control.tar.gz": _tar({}, {}), "data.tar.gz": _tar(files, links or {})}
    with path.open("wb") as archive:
        archive.write(b"!<arch>\n")
        for name, data in members.items():
            archive.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
            archive.write(data + b"\n" * (len(data) % 2))
    return path


def _tar(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, to in links.items():
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname = tarfile.SYMTYPE, to
            archive.addfile(member)
    return held.getvalue()


PYTHON = {
    "usr/bin/python3.11": b"\x7fELF python",
    "usr/lib/python3.11/os.py": b"sep = '/'",
    "usr/lib/python3.11/test/test_os.py": b"",
    "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1": b"\x7fELF loader",
    "usr/lib/aarch64-linux-gnu/libffi.so.8.1.2": b"\x7fELF ffi",
}
LINKS = {
    "usr/lib/aarch64-linux-gnu/libffi.so.8": "libffi.so.8.1.2",
    "usr/lib/python3.11/sitecustomize.py": "/etc/python3.11/sitecustomize.py",
}


@pytest.fixture
def packages(cache, tmp_path, monkeypatch, need):
    """Small stand-ins for what Debian and the package index would send."""
    need("dpkg-deb")
    fetched: list[str] = []

    def debs(_scratch, _progress):
        fetched.append("debian")
        return [deb(tmp_path / "debs" / "python.deb", PYTHON, LINKS)]

    def index(_version, _scratch, _progress):
        fetched.append("wheels")
        return [wheel(tmp_path / "wheels", name, files) for name, files in WHEELS.items()]

    monkeypatch.setattr(fetching, "download_debs", debs)
    monkeypatch.setattr(fetching, "download_wheels", index)
    return fetched


def test_what_is_needed_is_kept_and_nothing_else(packages):
    found = fetch_arm_python()
    assert set(found.files) == {
        "bin/python3.11",
        "lib/ld-linux-aarch64.so.1",
        "lib/libffi.so.8",
        "lib/python3.11/os.py",
        "site/ai_edge_litert/compiled_model.py",
        "site/ai_edge_litert/libLiteRt.so",
        "site/ml_dtypes/__init__.py",
        "site/numpy/__init__.py",
    }
    assert (found.folder / "lib" / "libffi.so.8").read_bytes() == b"\x7fELF ffi"
    assert not any(path.is_symlink() for path in found.folder.rglob("*"))


def test_it_is_fetched_once_and_its_hashes_recorded(packages, tmp_path):
    with pytest.raises(MissingDependency, match="edge-export device setup --on qemu"):
        arm_python()
    first, second = fetch_arm_python(), fetch_arm_python()
    assert packages == ["debian", "wheels"]
    assert first == second == arm_python()
    record = json.loads((first.folder / "arm.json").read_text())
    for path in (*(tmp_path / "debs").iterdir(), *(tmp_path / "wheels").iterdir()):
        assert record["fetched"][path.name] == sha256_of(path)


@pytest.mark.parametrize("name", ["bin/python3.11", "site/ai_edge_litert/libLiteRt.so", "lib/python3.11/os.py"])
def test_an_altered_file_is_noticed_and_all_is_fetched_again(packages, edge_export, built, name):
    found = fetch_arm_python()
    (found.folder / name).write_bytes(b"other")
    with pytest.raises(MissingDependency, match="are not here yet"):
        arm_python()
    assert fetch_arm_python().files == found.files
    assert packages == ["debian", "wheels"] * 2
    assert arm_python() == found


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"no package at all"])
@pytest.mark.parametrize("kind", ["deb", "whl"])
def test_a_damaged_package_is_one_line_and_leaves_nothing(packages, cache, monkeypatch, damage, kind):
    def damaged(download):
        def fetch(*given):
            made = download(*given)
            made[0].write_bytes(damage(made[0].read_bytes()))
            return made

        return fetch

    which = "download_debs" if kind == "deb" else "download_wheels"
    monkeypatch.setattr(fetching, which, damaged(getattr(fetching, which)))
    with pytest.raises(DeviceError, match=rf"\.{kind} is .*damaged") as caught:
        fetch_arm_python()
    assert "\n" not in str(caught.value)
    assert not list(cache.rglob("bin"))


def test_a_wheel_that_leads_outside_is_refused(packages, cache, monkeypatch):
    monkeypatch.setitem(WHEELS, "numpy", {"numpy/../../../evil.py": b"evil"})
    with pytest.raises(DeviceError, match="leads outside it; it was not unpacked"):
        fetch_arm_python()
    assert not list(cache.rglob("*evil*"))


def test_packages_without_an_interpreter_are_reported(packages, monkeypatch):
    monkeypatch.delitem(PYTHON, "usr/bin/python3.11")
    with pytest.raises(DeviceError, match=r"hold no python3\.11"):
        fetch_arm_python()


def test_debian_out_of_reach_is_one_line(cache, tmp_path, monkeypatch, need):
    need("apt-get", "dpkg-deb")
    if not debian.KEYRING.is_file():
        pytest.skip("Debian's keys are not installed")
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:9/debian")
    with pytest.raises(FetchError, match=r"127\.0\.0\.1:9/debian .*Failed to fetch .*connect") as caught:
        debian.download_debs(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_keys_of_debian_are_named(tmp_path, monkeypatch, need):
    need("apt-get", "dpkg-deb")
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "none.gpg")
    with pytest.raises(MissingDependency, match="apt-get install debian-archive-keyring"):
        debian.download_debs(tmp_path)


def test_an_index_without_the_wheel_is_one_line(tmp_path, monkeypatch):
    error = "ERROR: No matching distribution found for ai-edge-litert==9.9.9\n"
    monkeypatch.setattr(wheels.process, "capture", lambda *_, **__: process.Output(code=1, out="", err=error))
    with pytest.raises(FetchError, match=r"LiteRT 9\.9\.9 for Arm \(ERROR: No matching distribution"):
        fetching.download_wheels("9.9.9", tmp_path)


def test_without_it_a_run_says_how_to_bring_it(cache, edge_export, built, need):
    need("qemu-aarch64-static")
    result = edge_export("device", "run", built("litert", "int8-dynamic"), "--on", "qemu", "--prompt", "a")
    assert result.code == 8
    assert "bring them: edge-export device setup --on qemu" in result.error


def test_setup_brings_it_for_the_emulator_alone_and_builds_each_runner(monkeypatch, tmp_path):
    found = sdk.Sdk(folder=tmp_path, version="1.5.1", digest="0")
    litert = ArmPython(folder=tmp_path / "litert", version="2.3.0", files={})
    monkeypatch.setattr(setup.tools, "missing", lambda _: [])
    monkeypatch.setattr(setup.sdk, "host_sdk", lambda: found)
    monkeypatch.setattr(setup.sdk, "fetch_arm_sdk", lambda _: found)
    monkeypatch.setattr(setup.arm_python, "fetch_arm_python", lambda _: litert)
    monkeypatch.setattr(setup, "build_runner", lambda preset, _: Built(folder=tmp_path / preset, files={}))
    host, arm = ({place: str(tmp_path / preset)} for place, preset in (("host", "host"), ("qemu", "linux-arm64")))
    for place, brought, runners in (("qemu", litert, arm), (None, litert, host | arm), ("host", None, host)):
        done = setup.set_up(place, lambda _: True)
        assert (done.litert, done.runners) == (brought and str(brought.folder), runners)


def test_setup_without_litert_is_a_note_and_no_error(monkeypatch, tmp_path, edge_export):
    def refuse(_progress) -> ArmPython:
        raise MissingDependency("ai-edge-litert is not installed: pip install 'edge-export[litert]'")

    found = sdk.Sdk(folder=tmp_path, version="1.5.1", digest="0")
    monkeypatch.setattr(setup.tools, "missing", lambda _: [])
    monkeypatch.setattr(setup.sdk, "fetch_arm_sdk", lambda _: found)
    monkeypatch.setattr(setup.arm_python, "fetch_arm_python", refuse)
    monkeypatch.setattr(setup, "build_runner", lambda *_: Built(folder=tmp_path, files={}))
    result = edge_export("device", "setup", "--on", "qemu")
    assert result.code == 0
    assert "qemu: ready; ExecuTorch" in result.out
    assert "note: LiteRT bundles cannot be played on qemu: ai-edge-litert is not installed" in result.err


def test_the_runtime_alone_is_shown_to_another_python(cache):
    folder = runtime_folder()
    assert [path.name for path in folder.iterdir()] == ["runtime_py"]
    assert (folder / "runtime_py" / "__main__.py").is_file()
    (folder / "runtime_py").unlink()
    (folder / "runtime_py").symlink_to("/nowhere")  # as when the project has moved and come back
    assert (runtime_folder() / "runtime_py" / "__main__.py").is_file()


def test_the_table_of_runners_knows_where_litert_plays():
    assert runner_for("litert", PLACES["host"]) is not runner_for("litert", PLACES["qemu"])
    with pytest.raises(EdgeExportError):
        runner_for("litert", PLACES["adb"])
