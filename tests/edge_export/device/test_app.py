"""A run in the demo app of a stand-in device: what it is given, what comes back, one clear line for what goes wrong."""

import json
import os
import signal
import subprocess
import sys

import pytest

from edge_export.device import app
from edge_export.device.app import read_done
from edge_export.errors import DeviceError
from runtime_py.bundle import sha256_of
from runtime_py.manifest import load_manifest
from runtime_py.record import read_record
from runtime_py.request import default_seconds
from tests.edge_export.device.test_adb import NASTY, wait_for, wait_for_end


@pytest.fixture
def demo(phone, runner, monkeypatch):
    """The phone with the app on it, which plays by the stand-in for a runner, and is looked at often."""
    monkeypatch.setenv("STAND_IN_APP_RUNNER", str(runner.payload.folder / "edge-run"))
    monkeypatch.setattr(app, "LOOK_SECONDS", 0.05)
    return phone


def files(phone):
    return phone.root / "sdcard" / "Android" / "data" / app.PACKAGE / "files"


def runs(phone) -> list[str]:
    return sorted(path.name for path in (files(phone) / "runs").glob("*"))


def play(edge_export, bundle, *options: object, where: str = "app"):
    return edge_export("device", "run", bundle, "--on", where, "--prompt", "a", "--seconds", "0.5", *options)


def test_sound_and_record_come_back_and_the_next_step_is_named(edge_export, demo, bundle, tmp_path):
    wav, record = tmp_path / "x.wav", tmp_path / "run.json"
    result = play(edge_export, bundle, "--out", wav, "--record", record)
    assert result.code == 0, result.err
    assert wav.read_bytes().startswith(b"RIFF")
    assert read_record(record).run.label == "app:PIXEL8"
    assert f"edge-export compare {record} {bundle}" in " ".join(result.out.split("\n"))
    assert "Played on app:PIXEL8 (bundle " in result.out
    assert runs(demo) == []


def test_the_bundle_lies_under_its_manifests_hash_and_nothing_else_travels(edge_export, demo, given, copy_of, bundle):
    copy = copy_of(bundle)
    (copy / "secret.txt").write_text("not the bundle's")
    assert play(edge_export, copy).code == 0
    (folder,) = (files(demo) / "bundles").iterdir()
    assert folder.name == sha256_of(copy / "manifest.json")[:32]
    assert set(given()["bundle"]) == {spec.file for spec in load_manifest(copy).files} | {"manifest.json"}
    assert set(demo.pushed) == set(given()["bundle"])


def test_the_second_run_pushes_nothing_and_an_altered_file_is_pushed_again(edge_export, demo, bundle):
    assert play(edge_export, bundle).code == 0
    demo.forget()
    assert play(edge_export, bundle).code == 0
    assert demo.pushed == []
    (altered,) = (files(demo) / "bundles").glob("*/dit.pte")
    altered.write_bytes(b"altered")
    assert play(edge_export, bundle).code == 0
    assert demo.pushed == ["dit.pte"]


def test_the_app_gets_the_whole_request(edge_export, demo, bundle):
    result = play(edge_export, bundle, "--seed", 7, "--steps", 2, "--threads", 3, "--keep")
    (kept,) = (files(demo) / "runs").iterdir()
    assert json.loads((kept / "request.json").read_text()) == {
        "bundle": sha256_of(bundle / "manifest.json")[:32],
        "request": {"prompt": "a", "seconds": 0.5, "seed": 7, "steps": 2},
        "threads": 3,
        "label": "app:PIXEL8",
    }
    assert (kept / "record.json").is_file()
    assert f"Kept {app.RUNS}/{kept.name} on app:PIXEL8" in result.out


def test_what_was_not_given_is_the_bundles_own(edge_export, demo, bundle):
    assert edge_export("device", "run", bundle, "--on", "app", "--prompt", "a", "--keep").code == 0
    (kept,) = (files(demo) / "runs").iterdir()
    asked, spec = json.loads((kept / "request.json").read_text()), load_manifest(bundle).generation
    steps = spec.sampler.steps
    assert asked["request"] == {"prompt": "a", "seconds": default_seconds(spec), "seed": 0, "steps": steps}
    assert asked["threads"] is None


@pytest.mark.parametrize("prompt", [NASTY[1], NASTY[6], NASTY[7]])
def test_any_prompt_reaches_the_app_as_it_was_typed(edge_export, demo, given, bundle, prompt):
    assert edge_export("device", "run", bundle, "--on", "app", "--prompt", prompt, "--seconds", "0.5").code == 0
    assert given()["options"]["prompt"] == prompt
    assert not list(demo.root.rglob("pwned"))


def test_each_piece_of_work_is_shown_once_and_whole(edge_export, demo, bundle):
    lines = play(edge_export, bundle).err.splitlines()
    pieces = [line.partition("app:PIXEL8: ")[2] for line in lines if "app:PIXEL8: " in line]
    assert pieces == ["conditioner 1 of 1", "dit 1 of 4", "decoder 1 of 1"]


@pytest.mark.parametrize("option", app.REFUSES)
def test_what_the_app_does_not_know_is_refused_before_it_is_looked_at(edge_export, demo, bundle, option):
    result = edge_export("device", "run", bundle, "--on", "app", "--prompt", "a", option)
    assert result.code == 2
    assert f"{option} is not known to --on app" in result.error
    assert demo.commands == []


def test_a_bundle_that_the_app_does_not_play_is_refused(edge_export, demo, bundle, monkeypatch):
    from edge_export.device import runners

    monkeypatch.delitem(runners.RUNNERS["executorch"], "app")
    result = play(edge_export, bundle)
    assert (result.code, "executorch bundles cannot be played on app yet" in result.error) == (2, True)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("no-app", "app:PIXEL8: the app dev.edgeexport.demo is not installed: `make android` builds it, `adb install"),
        ("old-app", "app:PIXEL8: the app there is of version 0.0.9, expected 0.1: `make android` builds it"),
        ("32-bit", "is armv8l, the app is for aarch64 and x86_64"),
        ("full", "app:PIXEL8 has 1 MB free in /sdcard/Android/data/dev.edgeexport.demo/files/bundles"),
        ("full-while-pushing", "app:PIXEL8 is full"),
        ("damage", "arrived damaged on app:PIXEL8"),
        ("vanish-while-pushing", "app:PIXEL8 vanished while pushing"),
        ("vanish-while-running", "app:PIXEL8 vanished while playing"),
        ("vanish-while-pulling", "app:PIXEL8 vanished while bringing done.json back"),
    ],
)
def test_what_goes_wrong_with_the_device_is_one_line_and_writes_nothing(
    edge_export, demo, bundle, tmp_path, mode, message
):
    demo.mode(mode)
    wav = tmp_path / "x.wav"
    result = play(edge_export, bundle, "--out", wav)
    assert result.code == 11
    assert message in result.error
    assert not wav.exists()


def test_an_emulator_of_a_pc_is_taken(edge_export, demo, bundle):
    demo.mode("x86")
    assert play(edge_export, bundle).code == 0


def test_a_cpu_feature_that_lacks_is_named_before_anything_is_pushed(edge_export, demo, bundle, monkeypatch):
    from dataclasses import replace

    from edge_export.device import run

    opened = run.open_bundle(bundle)
    target = replace(opened.manifest.target, cpu_features=("asimddp",))
    monkeypatch.setattr(run, "open_bundle", lambda _: replace(opened, manifest=replace(opened.manifest, target=target)))
    demo.mode("weak")
    result = play(edge_export, bundle)
    assert (result.code, "the CPU of app:PIXEL8 lacks asimddp" in result.error) == (11, True)
    assert demo.pushed == []


@pytest.mark.parametrize(
    ("mode", "code", "message"),
    [
        ("absent", 11, "app:PIXEL8 does not start the app: Error: Activity class {dev.edgeexport.demo/.HeadlessActiv"),
        ("denied", 11, "app:PIXEL8 does not start the app: java.lang.SecurityException: Permission Denial"),
        ("dies", 11, "the app ended on app:PIXEL8 after dit 1 of 4, most likely for want of memory"),
        ("refuses", 4, "edge-export: error: schema_version: is 4; build it again"),
        ("defect", 11, "the app failed on app:PIXEL8: index 7"),
        ("odd", 11, "the app failed on app:PIXEL8: it does not say why"),
        ("done-half", 11, "done.json from app:PIXEL8 is no JSON"),
        ("done-strange", 11, "done.json from app:PIXEL8 is not made of code and message"),
        ("done-text", 11, "done.json from app:PIXEL8 is not made of a code and a text"),
    ],
)
def test_what_goes_wrong_with_the_app_is_one_line_and_leaves_nothing_there(
    edge_export, demo, bundle, tmp_path, monkeypatch, mode, code, message
):
    monkeypatch.setenv("STAND_IN_APP", mode)
    wav = tmp_path / "x.wav"
    result = play(edge_export, bundle, "--out", wav)
    assert result.code == code
    assert message in result.error
    assert not wav.exists()
    assert runs(demo) == []


def test_an_app_that_gets_no_further_is_stopped(edge_export, demo, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_APP", "hangs")
    monkeypatch.setenv("STAND_IN_STARTED", str(tmp_path / "started"))
    monkeypatch.setattr(app, "STALLED_SECONDS", 1.0)
    result = play(edge_export, bundle)
    assert result.code == 11
    assert "the app on app:PIXEL8 got no further in 1 s after dit 1 of 4, and was stopped" in result.error
    wait_for_end(wait_for(tmp_path / "started"))
    assert (demo.root / "stopped").exists()
    assert runs(demo) == []


def test_an_app_that_is_done_is_not_stopped(edge_export, demo, bundle):
    assert play(edge_export, bundle).code == 0
    assert not (demo.root / "stopped").exists()


@pytest.mark.parametrize("mode", ["half", "other-version", "other-wav", "other-bundle", "other-label"])
def test_a_record_that_does_not_hold_is_not_written(edge_export, demo, bundle, tmp_path, monkeypatch, mode):
    monkeypatch.setenv("STAND_IN_RUNNER", mode)
    wav, record = tmp_path / "x.wav", tmp_path / "run.json"
    result = play(edge_export, bundle, "--out", wav, "--record", record)
    assert result.code == 11
    assert "install this version of the app" in result.error or mode == "other-wav"
    assert not wav.exists()
    assert not record.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ending_the_command_ends_the_app(demo, bundle, tmp_path, monkeypatch, number):
    monkeypatch.setenv("STAND_IN_APP", "hangs")
    monkeypatch.setenv("STAND_IN_STARTED", str(tmp_path / "started"))
    argv = [sys.executable, "-m", "edge_export", "device", "run", str(bundle), "--on", "app", "--prompt", "a"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        try:
            started = wait_for(tmp_path / "started")
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()  # else leaving `with` waits for ever where the signal is ignored
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert runs(demo) == []
    wait_for_end(started)


def test_the_list_says_where_the_app_is(edge_export, demo):
    demo.devices("PIXEL8 device model:Pixel_8", "TAB unauthorized")
    places = {place["where"]: place for place in json.loads(edge_export("device", "list", "--json").out)}
    assert places["app:PIXEL8"] == {
        "where": "app:PIXEL8", "what": "the demo app, Pixel 8", "lacks": [], "ready": True,
    }  # fmt: skip
    assert any("allow USB debugging" in lack for lack in places["app:TAB"]["lacks"])
    demo.mode("no-app")
    places = {place["where"]: place for place in json.loads(edge_export("device", "list", "--json").out)}
    assert any("is not installed" in lack for lack in places["app:PIXEL8"]["lacks"])


def test_setup_needs_adb_alone_and_says_how_the_app_is_installed(edge_export, demo):
    result = edge_export("device", "setup", "--on", "app")
    assert result.code == 0, result.err
    assert "`make android` builds it" in result.err
    assert "--on app" in result.out


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b'{"code": 0, "message": "", "more": 1}', b'{"code": true, "message": ""}',
     b'{"code": 256, "message": ""}', b'{"code": -1, "message": ""}', b'{"code": 0, "message": null}',
     b'{"code": 0, "code": 1, "message": ""}', b"[" * 100_000],
)  # fmt: skip
def test_a_done_json_that_is_none_is_refused(data):
    with pytest.raises(DeviceError, match=r"done\.json from app:X is"):
        read_done(data, "app:X")


def test_a_done_json_is_read():
    assert read_done(b'{"code": 10, "message": " no memory "}', "app:X") == (10, "no memory")
