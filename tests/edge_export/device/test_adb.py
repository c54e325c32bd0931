"""A run over a stand-in adb: what is pushed, how words are quoted, and one clear line for all that a device can do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_export.device import android
from edge_export.device.adb import open_adb
from edge_export.device.place import Payload
from edge_export.device.run import DeviceRequest, run_on_device
from edge_export.errors import DeviceError, UsageError
from edge_export.progress import silent
from runtime_py.bundle import sha256_of
from runtime_py.manifest import load_manifest
from runtime_py.record import read_record
from runtime_py.request import default_seconds

NASTY = (
    'it\'s "quoted"',
    "$(touch pwned) `touch pwned` ${HOME}",
    "two\nlines\nexit 3\n",
    "; rm -rf / & # | < > ( ) * ? ~ !",
    "back\\slash \\n %s %d",
    "-dash first --help",
    "emoji 🎹 full-width ＡＢＣ tab\there",
    "'; echo edge-export-exit:0; '",
)


def play(edge_export, bundle, *options: object, where: str = "adb"):
    return edge_export("device", "run", bundle, "--on", where, "--prompt", "a", "--seconds", "0.5", *options)


def test_sound_and_record_come_back_and_the_next_step_is_named(edge_export, phone, stand_in, given, bundle, tmp_path):
    wav, record = tmp_path / "x.wav", tmp_path / "run.json"
    result = play(edge_export, bundle, "--out", wav, "--record", record)
    assert result.code == 0, result.err
    assert wav.read_bytes().startswith(b"RIFF")
    assert given()["options"]["label"] == read_record(record).run.label == "adb:PIXEL8"
    assert f"edge-export compare {record} {bundle}" in " ".join(result.out.split("\n"))
    assert "conditioner" in result.out
    assert "note: 3 samples beyond full scale" in result.err


def test_everything_that_the_manifest_names_travels_and_nothing_else(
    edge_export, phone, stand_in, given, copy_of, bundle
):
    copy = copy_of(bundle)
    (copy / "secret.txt").write_text("not the bundle's")
    result = play(edge_export, copy)
    assert result.code == 0, result.err
    files = {spec.file for spec in load_manifest(copy).files} | {"manifest.json"}
    assert set(given()["bundle"]) == files


def test_the_second_run_pushes_nothing(edge_export, phone, stand_in, bundle):
    assert play(edge_export, bundle).code == 0
    assert len(phone.pushed) == 2 + len(load_manifest(bundle).files) + 1
    phone.forget()
    assert play(edge_export, bundle).code == 0
    assert phone.pushed == []


def test_a_file_altered_over_there_is_pushed_again_and_a_stray_one_goes(edge_export, phone, stand_in, bundle):
    assert play(edge_export, bundle).code == 0
    there = next(phone.folder.glob("bundle-*"))
    (there / "dit.pte").write_bytes(b"altered")
    (there / "old.pte").write_bytes(b"of another version")
    phone.forget()
    assert play(edge_export, bundle).code == 0
    assert phone.pushed == ["dit.pte"]
    assert (there / "dit.pte").read_bytes() == (bundle / "dit.pte").read_bytes()
    assert not (there / "old.pte").exists()


def test_the_run_leaves_its_folder_only_when_asked_to(edge_export, phone, stand_in, bundle):
    assert play(edge_export, bundle).code == 0
    assert not list(phone.folder.glob("run-*"))
    result = play(edge_export, bundle, "--keep")
    (kept,) = phone.folder.glob("kept-*")
    assert (kept / "record.json").is_file()
    assert f"Kept /data/local/tmp/edge-export/{kept.name} on adb:PIXEL8" in result.out


def test_what_a_vanished_device_kept_of_a_run_goes_after_a_day(edge_export, phone, stand_in, bundle):
    old, fresh, kept = (phone.folder / name for name in ("run-old", "run-fresh", "kept-old"))
    for folder in (old, fresh, kept):
        folder.mkdir(parents=True)
        if folder != fresh:
            os.utime(folder, (0, 0))
    assert play(edge_export, bundle).code == 0
    assert [folder.exists() for folder in (old, fresh, kept)] == [False, True, True]


@pytest.mark.parametrize("prompt", NASTY)
def test_any_prompt_reaches_the_runner_as_it_was_typed(phone, runner, given, bundle, prompt):
    run_on_device(DeviceRequest(bundle=bundle, where="adb", prompt=prompt, seconds=0.5), runner=runner)
    assert given()["options"]["prompt"] == prompt
    assert given()["STAND_IN"] == "it's set"
    assert not list(phone.root.rglob("pwned"))


def test_options_reach_the_runner(edge_export, phone, stand_in, given, bundle):
    assert play(edge_export, bundle, "--seed", 7, "--steps", 2, "--threads", 3, "--float", "--force").code == 0
    options = given()["options"]
    assert options.pop("bundle").startswith("../bundle-")
    assert options == {
        "label": "adb:PIXEL8", "record": "record.json", "prompt": "a", "seconds": "0.5", "seed": "7", "steps": "2",
        "threads": "3", "float": "", "force": "",
    }  # fmt: skip


def test_what_was_not_given_reaches_the_runner_as_the_bundle_has_it(edge_export, phone, stand_in, given, bundle):
    spec = load_manifest(bundle).generation
    assert edge_export("device", "run", bundle, "--on", "adb", "--prompt", "a").code == 0
    options = given()["options"]
    assert (float(options["seconds"]), options["seed"]) == (default_seconds(spec), "0")
    assert (
        not {"steps", "threads", "out", "float", "normalize", "no-fade", "no-tags", "golden", "force"} & options.keys()
    )


def test_json_is_the_record_but_its_tensors_and_what_travelled(edge_export, phone, stand_in, bundle, tmp_path):
    record = tmp_path / "run.json"
    result = play(edge_export, bundle, "--record", record, "--json")
    written, shown = json.loads(record.read_text()), json.loads(result.out)
    del written["tensors"]
    assert shown.pop("bundle_bytes") > shown.pop("runner_bytes") > 0
    assert shown.pop("notes") == ["3 samples beyond full scale were clipped (peak 1.20); --float keeps them"]
    assert shown == {**written, "label": "adb:PIXEL8", "kept": None}


def test_golden_gives_the_runner_no_request_of_its_own(edge_export, phone, stand_in, given, bundle):
    result = edge_export("device", "run", bundle, "--on", "adb", "--golden")
    assert result.code == 0, result.err
    assert set(given()["options"]) == {"bundle", "label", "record", "golden"}


@pytest.mark.parametrize(
    ("lines", "where", "message"),
    [
        ([""], "adb", "no device: adb sees nothing"),
        (["PIXEL8 device", "TAB device"], "adb", "2 devices: say which one: --on adb:PIXEL8 or --on adb:TAB"),
        (["PIXEL8 unauthorized usb:1-1"], "adb", "PIXEL8 is unauthorised: unlock its screen"),
        (["PIXEL8 offline"], "adb:PIXEL8", "PIXEL8 is offline"),
        (["PIXEL8 no permissions (user in plugdev group?); see [http://x]"], "adb", "may not be opened by this user"),
        (["PIXEL8 recovery"], "adb", "is in state recovery"),
        (["PIXEL8 device"], "adb:OTHER", "no device OTHER: adb sees adb:PIXEL8"),
    ],
)
def test_a_device_that_cannot_be_used_is_reported_in_one_line(
    edge_export, phone, stand_in, bundle, lines, where, message
):
    phone.devices(*lines)
    result = play(edge_export, bundle, where=where)
    assert result.code == 11
    assert message in result.error
    assert phone.pushed == []


def test_the_only_ready_device_is_taken_among_others(edge_export, phone, stand_in, bundle):
    phone.devices("OLD unauthorized", "PIXEL8 device")
    assert play(edge_export, bundle).code == 0


def test_android_serial_names_the_device(edge_export, phone, stand_in, bundle, monkeypatch):
    phone.devices("PIXEL8 device", "TAB device")
    monkeypatch.setenv("ANDROID_SERIAL", "TAB")
    assert json.loads(play(edge_export, bundle, "--json").out)["label"] == "adb:TAB"
    assert json.loads(play(edge_export, bundle, "--json", where="adb:PIXEL8").out)["label"] == "adb:PIXEL8"


def test_adb_missing_says_how_to_install_it(edge_export, stand_in, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = play(edge_export, bundle)
    assert result.code == 8
    assert "adb is not installed" in result.error
    assert "apt-get install adb" in result.error


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("vanish-while-pushing", "adb:PIXEL8 vanished while pushing"),
        ("vanish-while-running", "adb:PIXEL8 vanished while running"),
        ("vanish-while-pulling", "adb:PIXEL8 vanished while bringing"),
        ("full", "has 1 MB free in /data/local/tmp/edge-export"),
        ("full-while-pushing", "adb:PIXEL8 is full"),
        ("damage", "arrived damaged on adb:PIXEL8"),
        ("x86", "is x86_64, the runner is for 64-bit Arm"),
        ("32-bit", "is armv8l, the runner is for 64-bit Arm"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing_here(
    edge_export, phone, stand_in, bundle, tmp_path, mode, message
):
    phone.mode(mode)
    wav, record = tmp_path / "out" / "x.wav", tmp_path / "out" / "run.json"
    wav.parent.mkdir()
    wav.write_bytes(b"of an earlier run")
    result = play(edge_export, bundle, "--out", wav, "--record", record)
    assert result.code == 11
    assert message in result.error
    assert wav.read_bytes() == b"of an earlier run"
    assert sorted(path.name for path in wav.parent.iterdir()) == ["x.wav"]


def test_a_file_half_pushed_has_no_name_and_the_next_run_mends_it(edge_export, phone, stand_in, bundle):
    phone.mode("vanish-while-pushing")
    assert play(edge_export, bundle).code == 11
    assert [path.suffix for path in phone.folder.rglob("*") if path.is_file()] == [".partial"]
    (phone.root / "gone").unlink()
    phone.mode()
    assert play(edge_export, bundle).code == 0
    assert not list(phone.folder.rglob("*.partial"))


def test_a_cpu_feature_that_lacks_is_named_before_anything_is_pushed(edge_export, phone, stand_in, bundle, monkeypatch):
    from dataclasses import replace

    from edge_export.device import run

    opened = run.open_bundle(bundle)
    target = replace(opened.manifest.target, name="macos-arm64", cpu_features=("asimd", "asimddp"))
    monkeypatch.setattr(run, "open_bundle", lambda _: replace(opened, manifest=replace(opened.manifest, target=target)))
    phone.mode("weak")
    result = play(edge_export, bundle)
    assert result.code == 11
    assert "the CPU of adb:PIXEL8 lacks asimddp, which the target macos-arm64 needs" in result.error
    assert phone.pushed == []


def test_the_runners_own_error_is_passed_on_with_its_code(edge_export, phone, stand_in, bundle, monkeypatch):
    monkeypatch.setenv("STAND_IN_RUNNER", "refuse")
    result = play(edge_export, bundle)
    assert result.code == 4
    assert result.error == "edge-export: error: manifest.json: seal: was altered; copy the bundle again"


@pytest.mark.parametrize(
    ("mode", "message"), [("SIGILL", "met an instruction"), ("SIGKILL", "want of memory"), ("SIGSEGV", "SIGSEGV")]
)
def test_a_runner_that_is_killed_is_reported_by_its_signal(
    edge_export, phone, stand_in, bundle, monkeypatch, mode, message
):
    monkeypatch.setenv("STAND_IN_RUNNER", mode)
    result = play(edge_export, bundle)
    assert result.code == 11
    assert message in result.error


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("half", "a record that cannot be read (it is no JSON"),
        ("other-version", "a record that cannot be read (record_version is"),
        ("other-wav", "is not the one its record tells of"),
        ("other-bundle", "wrote a record of another place or bundle"),
        ("other-label", "wrote a record of another place or bundle"),
    ],
)
def test_a_record_that_does_not_hold_is_not_written(
    edge_export, phone, stand_in, bundle, tmp_path, monkeypatch, mode, message
):
    monkeypatch.setenv("STAND_IN_RUNNER", mode)
    wav, record = tmp_path / "x.wav", tmp_path / "run.json"
    result = play(edge_export, bundle, "--out", wav, "--record", record)
    assert result.code == 11
    assert message in result.error
    assert not wav.exists()
    assert not record.exists()


def test_a_record_that_does_not_name_the_wav_is_noted(edge_export, phone, stand_in, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_RUNNER", "no-wav")
    result = play(edge_export, bundle, "--out", tmp_path / "x.wav", "--record", tmp_path / "run.json")
    assert result.code == 0, result.err
    assert "note: the record does not name the WAV" in result.err


CALL = """
import json, sys
from pathlib import Path
from edge_export import cli
from edge_export.device.place import Payload
from edge_export.device.runner import Runner
from edge_export.device.runners import RUNNERS
folder, files, *words = json.loads(sys.argv.pop(1))
made = Runner(payload=Payload(name="runner", folder=Path(folder), files=files), words=tuple(words))
RUNNERS["executorch"] = dict.fromkeys(("adb", "host"), lambda *_: made)
cli.main()
"""


@pytest.mark.parametrize("where", ["adb", "host"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ending_the_command_ends_the_run_over_there(phone, runner, bundle, tmp_path, monkeypatch, number, where):
    monkeypatch.setenv("STAND_IN_RUNNER", "hang")
    monkeypatch.setenv("STAND_IN_STARTED", str(tmp_path / "started"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    made = json.dumps([str(runner.payload.folder), runner.payload.files, *runner.words])
    argv = [sys.executable, "-c", CALL, made, "device", "run", str(bundle), "--on", where, "--prompt", "a"]
    out = tmp_path / "x.wav"
    with subprocess.Popen([*argv, "--out", str(out)], stderr=subprocess.PIPE, text=True) as process:
        try:
            started = wait_for(tmp_path / "started")
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()  # else leaving `with` waits for ever where the signal is ignored
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert not out.exists()
    assert not list(phone.folder.glob("run-*"))
    assert not list((tmp_path / "temporary").iterdir())
    wait_for_end(started)


def wait_for(path) -> int:
    for _ in range(200):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.1)
    raise AssertionError("the runner did not start")


def wait_for_end(pid: int) -> None:
    for _ in range(50):
        try:
            state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            return
        if "Z" in state:
            return
        time.sleep(0.1)
    raise AssertionError("the runner still runs")


def test_odd_file_names_never_reach_the_shell_over_there(phone, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "a;b").write_text("x")
    payload = Payload(name="odd", folder=folder, files={"a;b": sha256_of(folder / "a;b")})
    with pytest.raises(UsageError, match="no plain file name"):
        open_adb(None).push(payload, silent)


def test_progress_counts_bytes(phone, runner):
    steps: list[tuple[str, int, int]] = []
    open_adb(None).push(runner.payload, lambda *step: steps.append(step))
    assert steps[-1][1] == steps[-1][2] == runner.payload.bytes
    assert any(what.startswith("bringing edge-run") for what, _, _ in steps)


def test_progress_says_how_much_of_a_file_has_arrived(phone, runner, monkeypatch):
    monkeypatch.setattr(android, "LOOK_SECONDS", 0.1)
    phone.mode("slow")
    steps: list[tuple[str, int, int]] = []
    open_adb(None).push(runner.payload, lambda *step: steps.append(step))
    size = (runner.payload.folder / "libstdc++.so.6").stat().st_size
    seen = [done for what, done, _ in steps if what.startswith("bringing libstdc++.so.6")]
    assert seen[0] + size // 2 in seen


def test_an_adb_that_fails_is_reported(phone, tmp_path, monkeypatch):
    (tmp_path / "adb-bin" / "adb").write_text("#!/bin/sh\necho 'cannot connect to daemon' >&2\nexit 1\n")
    with pytest.raises(DeviceError, match="cannot connect to daemon"):
        open_adb(None)
