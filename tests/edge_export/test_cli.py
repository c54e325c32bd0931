"""The command line through its own entry: exit codes, one clear line per error, nothing left behind."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_export import cli

PROMPT = "warm arpeggios on house beats 120BPM with drums effect"
COMMANDS = ("build", "run", "verify", "inspect", "targets", "recipes", "new-checkpoint", "fetch")


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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(edge_export, command):
    result = edge_export(command, "--help")
    assert result.code == 0
    assert f"Example: edge-export {command}" in result.out


def test_help_lists_every_command_and_is_quick():
    start = time.perf_counter()
    shown = subprocess.run([sys.executable, "-m", "edge_export", "--help"], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    assert all(command in shown.stdout for command in COMMANDS)
    assert seconds < 2  # half a second on an idle machine; this one may be busy


def test_version(edge_export):
    assert edge_export("--version").out.startswith("edge-export ")


def test_targets_and_recipes_for_people_and_machines(edge_export):
    assert "android-arm64" in edge_export("targets").out
    assert "int8-dynamic" in edge_export("recipes").out
    assert {target["name"] for target in json.loads(edge_export("targets", "--json").out)} >= {"android-arm64", "host"}
    assert json.loads(edge_export("recipes", "--json").out)[0]["thresholds"]


def test_run_writes_exactly_the_seconds_asked_for(edge_export, bundle, tmp_path):
    out = tmp_path / "a.wav"
    result = edge_export("run", bundle, "--prompt", PROMPT, "--seconds", 0.5, "--seed", 7, "--out", out)
    assert result.code == 0
    audio, rate = soundfile.read(out, dtype="int16")
    assert (audio.shape, rate) == ((22050, 2), 44100)
    assert audio.any()
    assert "dit, step 1 of 4" in result.err


def test_run_twice_gives_the_same_bytes(edge_export, bundle, tmp_path):
    clips = []
    for name in ("a.wav", "b.wav"):
        edge_export("run", bundle, "--prompt", PROMPT, "--seconds", 0.5, "--seed", 7, "--out", tmp_path / name)
        clips.append((tmp_path / name).read_bytes())
    assert clips[0] == clips[1]


def test_run_as_json_with_float_samples_a_picture_and_other_steps(edge_export, bundle, tmp_path):
    out, picture = tmp_path / "a.wav", tmp_path / "a.png"
    result = edge_export(
        *("run", bundle, "--prompt", PROMPT, "--seconds", 0.25, "--steps", 2),
        *("--out", out, "--float", "--plot", picture, "--threads", 1, "--json"),
    )
    record = json.loads(result.out)
    assert record["samples"] == 11025
    assert len(record["sigmas"]) == 3
    assert len(record["times"]["dit"]["runs"]) == 2
    assert soundfile.info(out).subtype == "FLOAT"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_reference_engine_plays_nearly_the_same(edge_export, built, oracle, tmp_path):
    clips = []
    for name, more in (("bundle", ()), ("reference", ("--engine", "reference", "--checkpoint", oracle))):
        out = tmp_path / f"{name}.wav"
        options = ("--prompt", PROMPT, "--seconds", 0.5, "--float", "--out", out)
        assert edge_export("run", built("executorch", "fp32"), *options, *more).code == 0
        clips.append(soundfile.read(out)[0])
    assert np.abs(clips[0] - clips[1]).max() < 1e-4


def test_verify_and_inspect(edge_export, bundle):
    verified = edge_export("verify", bundle)
    assert (verified.code, "velocity" in verified.out) == (0, True)
    record = json.loads(edge_export("verify", bundle, "--json").out)
    assert record["passed"]
    assert {check["stage"] for check in record["checks"]} >= {"tokenizer", "conditioner", "dit", "decoder"}
    shown = edge_export("inspect", bundle).out
    assert all(word in shown for word in ("cross_attn_cond", "1 x 64 x 16", "delegates", "pingpong", "44100"))
    assert json.loads(edge_export("inspect", bundle, "--json").out)["schema_version"] == 1


def test_a_failed_proof_exits_with_its_own_code(edge_export, bundle, copy_of):
    folder = copy_of(bundle)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"]["thresholds"]["dit"] = 200.0
    path.write_text(json.dumps(manifest))
    result = edge_export("verify", folder, "--json")
    assert result.code == 5
    assert "dit velocity" in result.error
    assert not json.loads(result.out)["passed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "toaster"), "no target called 'toaster'; choose from android-arm64"),
        (("--backend", "onnx"), "no backend called 'onnx'; choose from executorch, litert"),
        (("--recipe", "int2"), "no recipe called 'int2'; choose from fp32, int8-dynamic"),
        (("--steps", "0"), "steps is 0, expected 1 to 1000"),
    ],
)
def test_build_lists_the_choices(edge_export, tmp_path, oracle, options, message):
    result = edge_export("build", "--checkpoint", oracle, "--out", tmp_path / "x", *options)
    assert result.code == 2
    assert message in result.error
    assert not list(tmp_path.iterdir())


def test_build_refuses_what_is_no_checkpoint(edge_export, tmp_path):
    result = edge_export("build", "--checkpoint", tmp_path / "none", "--out", tmp_path / "x")
    assert result.code == 3
    assert "no checkpoint at" in result.error


def test_build_leaves_an_existing_output_alone(edge_export, tmp_path, oracle):
    (tmp_path / "x").write_text("mine")
    result = edge_export("build", "--checkpoint", oracle, "--out", tmp_path / "x")
    assert result.code == 6
    assert "exists" in result.error
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--prompt", ""), 2, "the prompt is empty"),
        (("--prompt", "\x01\x02 \t"), 2, "the prompt"),
        (("--prompt", PROMPT, "--seconds", "0"), 2, "seconds is 0, expected a number above 0"),
        (("--prompt", PROMPT, "--seconds", "-1"), 2, "seconds is -1"),
        (("--prompt", PROMPT, "--seconds", "nan"), 2, "seconds is nan"),
        (("--prompt", PROMPT, "--seconds", "1e9"), 2, "seconds is 1e+09, this model makes at most 0.743"),
        (("--prompt", PROMPT, "--seconds", "0.75"), 2, "at most 0.743"),
        (("--prompt", PROMPT, "--steps", "0"), 2, "steps is 0, expected 1 to 1000"),
        (("--prompt", PROMPT, "--seed", "-1"), 2, "seed is -1, expected 0 to 4294967295"),
        (("--prompt", PROMPT, "--threads", "0"), 2, "threads is 0, expected 1 to 256"),
        (("--prompt", PROMPT, "--threads", "10000"), 2, "threads is 10000"),
        (("--prompt", PROMPT, "--engine", "warp"), 2, "no engine 'warp' for this bundle; choose from"),
        (("--prompt", PROMPT, "--checkpoint", "/nowhere", "--engine", "reference"), 2, "--checkpoint DIR"),
    ],
)
def test_run_refuses_what_makes_no_sound(edge_export, bundle, tmp_path, options, code, message):
    result = edge_export("run", bundle, "--out", tmp_path / "a.wav", *options)
    assert result.code == code
    assert message in result.error
    assert "dit" not in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("prompt", "note"),
    [
        ("a very long prompt " * 550, "the model reads 63: the rest is not heard"),
        ("🎹 drums 🥁", "unknown to the model: "),
        ("drums\0and\x1bbass", None),
        ("bytes of another encoding: \udcff", None),
    ],
)
def test_odd_prompts_are_played_and_what_was_not_heard_is_said(edge_export, bundle, tmp_path, prompt, note):
    outputs = ("--out", tmp_path / "a.wav", "--plot", tmp_path / "a.png", "--json")
    result = edge_export("run", bundle, "--prompt", prompt, "--seconds", 0.1, *outputs)
    assert result.code == 0
    assert json.loads(result.out)["samples"] == 4410
    assert soundfile.info(tmp_path / "a.wav").frames == 4410
    assert note is None or note in result.err


@pytest.mark.parametrize("out", ["folder", "missing/a.wav"])
def test_run_refuses_an_output_it_could_not_write_before_it_plays(edge_export, bundle, tmp_path, out):
    (tmp_path / "folder").mkdir()
    result = edge_export("run", bundle, "--prompt", PROMPT, "--out", tmp_path / out)
    assert result.code == 6
    assert "step 1" not in result.err


def test_run_does_not_write_into_its_bundle_nor_two_things_into_one_file(edge_export, built, copy_of, tmp_path):
    folder = copy_of(built("executorch", "int8-dynamic"))
    manifest = (folder / "manifest.json").read_bytes()
    result = edge_export("run", folder, "--prompt", PROMPT, "--out", folder / "manifest.json")
    assert (result.code, "inside the bundle" in result.error) == (6, True)
    assert (folder / "manifest.json").read_bytes() == manifest
    same = tmp_path / "a.wav"
    result = edge_export("run", folder, "--prompt", PROMPT, "--out", same, "--plot", same)
    assert (result.code, "name two files" in result.error) == (2, True)
    assert not same.exists()


def test_run_refuses_what_is_no_bundle(edge_export, tmp_path):
    (tmp_path / "empty").mkdir()
    result = edge_export("run", tmp_path / "empty", "--prompt", PROMPT, "--out", tmp_path / "a.wav")
    assert result.code == 4
    assert "edge-export build" in result.error


def test_an_altered_bundle_is_not_played(edge_export, bundle, copy_of, tmp_path):
    folder = copy_of(bundle)
    with (folder / "dit.pte").open("r+b") as file:
        file.seek(5000)
        file.write(struct.pack("<I", 0xDEADBEEF))
    result = edge_export("run", folder, "--prompt", PROMPT, "--out", tmp_path / "a.wav")
    assert result.code == 4
    assert "dit.pte was altered" in result.error


def test_a_full_disk_leaves_no_half_a_wav(edge_export, bundle, tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = edge_export("run", bundle, "--prompt", PROMPT, "--seconds", 0.1, "--out", tmp_path / "a.wav")
    assert result.code == 6
    assert "No space left" in result.error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_a_build_leaves_nothing(tmp_path, oracle, how, code):
    command = [sys.executable, "-m", "edge_export", "build", "--checkpoint", str(oracle), "--out", str(tmp_path / "x")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "compiling the dit" in line:
                break
        assert [path.name for path in tmp_path.iterdir()] != ["x"]
        process.send_signal(how)
        rest = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(edge_export, bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch.runtime", None)
    result = edge_export("run", bundle, "--prompt", PROMPT, "--seconds", 0.1, "--out", tmp_path / "a.wav")
    assert result.code == 8
    assert "pip install 'edge-export[executorch]'" in result.error
