"""The command line through its own entry: exit codes, one clear line per error, nothing left behind."""

import dataclasses
import json
import math
import os
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_export.cache import default_folder
from quantization.recipes import RECIPES
from runtime_py.bundle import open_bundle
from runtime_py.manifest import SCHEMA_VERSION, dump_manifest, load_manifest

PROMPT = "warm arpeggios on house beats 120BPM with drums effect"
COMMANDS = (
    *("build", "run", "verify", "bench", "sensitivity", "inspect"),
    *("targets", "recipes", "new-checkpoint", "fetch"),
)


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


@pytest.mark.parametrize(
    ("shell", "typed", "offered"),
    [
        ("bash", "edge-export bu", ["build"]),
        ("bash", "edge-export device l", ["list"]),
        ("bash", "edge-export run --norm", ["--normalize"]),
        ("bash", "edge-export frob", []),
    ],
)
def test_the_shell_completes_what_is_typed(edge_export, monkeypatch, shell, typed, offered):
    monkeypatch.setenv("_EDGE_EXPORT_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    result = edge_export()
    assert (result.code, result.out.split(), result.err) == (0, offered, "")


def test_completion_is_shown_and_installed(tmp_path):
    command = [sys.executable, "-m", "edge_export"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    shown = subprocess.run([*command, "--show-completion", "bash"], env=environment, capture_output=True, check=True)
    assert b"complete -o default -F _edge_export_completion edge-export" in shown.stdout
    assert (shown.stderr, list(tmp_path.iterdir())) == (b"", [])
    subprocess.run([*command, "--install-completion", "bash"], env=environment, capture_output=True, check=True)
    assert "edge-export.sh" in (tmp_path / ".bashrc").read_text(encoding="utf-8")


def test_the_help_of_build_says_where_caches_are(edge_export):
    shown = " ".join(edge_export("build", "--help").out.split())
    assert all(word in shown for word in ("~/.cache/edge-export", "$XDG_CACHE_HOME/edge-export", "Remove any of it"))


def test_version(edge_export):
    assert edge_export("--version").out.startswith("edge-export ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "bundle", "--sed", "3"), "no such option: --sed (Possible options: --seconds, --seed, --steps)"),
        (("verify",), "missing argument 'BUNDLE'; try 'edge-export verify --help'"),
        (("run", "bundle", "--steps", "x"), "invalid value for '--steps': "),
        (
            ("run", "bundle", "--prompt", "a", "--out", "x", "--seed", "x"),
            "seed is 'x', expected a whole number, or random",
        ),
        (("build", "--out"), "option '--out' requires an argument; try 'edge-export --help'"),
        (("frob",), "no such command 'frob'; try 'edge-export --help'"),
        (("device", "frob"), "no such command 'frob'; try 'edge-export device --help'"),
    ],
)
def test_what_the_parser_refuses_is_one_line(edge_export, arguments, message):
    result = edge_export(*arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.error
    assert len(result.err.splitlines()) == 1


def test_without_a_command_the_help_is_shown(edge_export):
    result = edge_export()
    assert (result.code, "Usage: edge-export" in result.out + result.err) == (2, True)
    assert "error" not in result.err


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
        options = ("--prompt", PROMPT, "--seconds", 0.5, "--float", "--no-fade", "--out", out)
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
    assert all(word in shown for word in ("cross_k", "global_cond", "1 x 64 x 16", "delegates", "pingpong", "44100"))
    assert json.loads(edge_export("inspect", bundle, "--json").out)["schema_version"] == SCHEMA_VERSION


def test_a_failed_proof_exits_with_its_own_code(edge_export, bundle, copy_of):
    folder = copy_of(bundle)
    manifest = load_manifest(folder)
    demanding = dataclasses.replace(manifest.recipe, thresholds={**manifest.recipe.thresholds, "dit": 200.0})
    (folder / "manifest.json").write_text(dump_manifest(dataclasses.replace(manifest, recipe=demanding)))
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
        (("--prompt", PROMPT, "--checkpoint", "/nowhere", "--engine", "reference"), 2, "no checkpoint at /nowhere"),
        (("--prompt", PROMPT, "--checkpoint", "/nowhere"), 2, "add --engine reference, or leave --checkpoint out"),
        (("--prompt", PROMPT, "--plot", "x.xyz"), 6, "cannot write the picture x.xyz: its ending is none of ."),
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
        ("a very long prompt " * 550, "the model reads 63: the rest is cut off"),
        ("🎹 drums 🥁", "unknown to the model: "),
        ("drums\0and\x1bbass", None),
        ("bytes of another encoding: \udcff", None),
    ],
)
def test_odd_prompts_are_played_and_what_was_left_out_is_noted(edge_export, bundle, tmp_path, prompt, note):
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


@pytest.mark.parametrize(
    ("how", "code", "what"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_stopping_a_build_leaves_nothing_and_says_so(built_small, small, tmp_path, tmp_path_factory, how, code, what):
    """While it compiles the second program; the first is in the cache."""
    built_small("executorch", "fp32")
    scratch = tmp_path_factory.mktemp("scratch")
    recipe = own_recipe(tmp_path_factory.mktemp("recipe"))
    command = [sys.executable, "-m", "edge_export", "build", "--checkpoint", str(small), "--recipe", str(recipe)]
    command += ["--out", str(tmp_path / "x")]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for line in process.stderr or ():
            if "compiling the dit" in line:
                break
        assert [path.name for path in tmp_path.iterdir()] != ["x"]
        process.send_signal(how)
        rest = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert rest.count("edge-export: error: ") == 1
    assert rest.splitlines()[-1] == f"edge-export: error: {what}; nothing half-written was left behind"
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())
    assert not list(scratch.glob("edge-export-*"))


def test_a_missing_package_is_named(edge_export, bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch.runtime", None)
    result = edge_export("run", bundle, "--prompt", PROMPT, "--seconds", 0.1, "--out", tmp_path / "a.wav")
    assert result.code == 8
    assert "pip install 'edge-export[executorch]'" in result.error


def notes(result) -> list[str]:
    return [line for line in result.err.splitlines() if line.startswith("edge-export: note: ")]


@pytest.mark.parametrize("command", ["run", "verify", "bench"])
@pytest.mark.parametrize("threads", [0, 10_000])
def test_threads_out_of_range_are_refused_before_anything_is_played(edge_export, bundle, tmp_path, command, threads):
    needed = ("--prompt", PROMPT, "--out", tmp_path / "a.wav") if command == "run" else ()
    result = edge_export(command, bundle, "--threads", threads, *needed)
    assert (result.code, result.out) == (2, "")
    assert f"threads is {threads}, expected 1 to 256" in result.error
    assert len(result.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["run", "verify", "inspect", "bench", "sensitivity"])
def test_a_bundle_of_the_first_schema_is_to_be_built_again(edge_export, bundle, copy_of, tmp_path, command):
    folder = copy_of(bundle)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 1}))
    needed = ("--prompt", PROMPT, "--out", tmp_path / "a.wav") if command == "run" else ()
    result = edge_export(command, folder, *needed)
    assert (result.code, result.out) == (4, "")
    assert "schema_version: is 1" in result.error
    assert "build it again" in result.error
    assert not (tmp_path / "a.wav").exists()


def test_without_its_golden_vectors_a_bundle_plays_and_is_not_proven(edge_export, bundle, copy_of, tmp_path):
    folder = copy_of(bundle)
    (folder / "golden.safetensors").unlink()
    verified = edge_export("verify", folder)
    assert (verified.code, verified.out) == (4, "")
    assert "golden.safetensors was left out" in verified.error
    out = tmp_path / "a.wav"
    assert edge_export("run", folder, "--prompt", PROMPT, "--seconds", 0.1, "--out", out).code == 0
    assert soundfile.info(out).frames == 4410
    (folder / "tokenizer.json").unlink()
    result = edge_export("run", folder, "--prompt", PROMPT, "--out", tmp_path / "b.wav")
    assert (result.code, "tokenizer.json is missing" in result.error) == (4, True)


@pytest.mark.parametrize("kept", [(), ("--keep-loaded",)])
def test_several_clips_are_of_one_seed_after_another(edge_export, bundle, tmp_path, monkeypatch, kept):
    import runtime_py.engines.executorch as engine

    loaded, load = [], engine.load
    monkeypatch.setattr(
        engine, "load", lambda path, *args, **options: loaded.append(path) or load(path, *args, **options)
    )
    options = ("--prompt", PROMPT, "--seconds", 0.1, "--steps", 2)
    result = edge_export(
        "run", bundle, *options, "--seed", 7, "--count", 2, "--out", tmp_path / "x.wav", "--json", *kept
    )
    assert result.code == 0
    names = [path.stem for path in loaded]
    assert names == ["conditioner", *(["dit", "decoder", "decoder_tail"] * (1 if kept else 2))]
    records = json.loads(result.out)
    assert [(Path(record["out"]).name, record["seed"]) for record in records] == [("x-1.wav", 7), ("x-2.wav", 8)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1.wav", "x-2.wav"]
    for record, seed in zip(records, (7, 8)):
        alone = tmp_path / "alone.wav"
        assert edge_export("run", bundle, *options, "--seed", seed, "--out", alone).code == 0
        assert Path(record["out"]).read_bytes() == alone.read_bytes()
    assert (tmp_path / "x-1.wav").read_bytes() != (tmp_path / "x-2.wav").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--count", "0"), "count is 0, expected 1 to 1000"),
        (("--count", "1001"), "count is 1001"),
        (
            ("--count", "2", "--seed", "4294967295"),
            "--seed 4294967295 with --count 2 goes beyond the last seed, 4294967295; begin at 4294967294",
        ),
    ],
)
def test_clips_that_cannot_all_be_made_are_refused_before_the_first(edge_export, bundle, tmp_path, options, message):
    result = edge_export("run", bundle, "--prompt", PROMPT, "--out", tmp_path / "a.wav", *options)
    assert result.code == 2
    assert message in result.error
    assert not list(tmp_path.iterdir())


@pytest.fixture
def plain(built_small) -> Path:
    """The small checkpoint in fp32."""
    return built_small("executorch", "fp32")


@pytest.fixture
def build_again(edge_export, small, plain, tmp_path) -> Callable:
    """Builds the same as `plain` to `tmp_path / "x"`, or what the options make of it."""

    def build(*options: object):
        fixed = ("--checkpoint", small, "--backend", "executorch", "--steps", 4, "--out", tmp_path / "x")
        return edge_export("build", *fixed, *(() if "--recipe" in options else ("--recipe", "fp32")), *options)

    return build


def test_a_bundle_of_fewer_latents_plays_shorter_clips(edge_export, build_again, tmp_path):
    assert build_again("--latents", 8).code == 0
    manifest = open_bundle(tmp_path / "x").manifest
    assert (manifest.generation.latent.shape, manifest.generation.window) == ((64, 8), 8)
    wav = tmp_path / "a.wav"
    assert edge_export("run", tmp_path / "x", "--prompt", PROMPT, "--out", wav).code == 0
    assert soundfile.info(wav).frames == 8 * 2048
    longer = edge_export("run", tmp_path / "x", "--prompt", PROMPT, "--seconds", 0.4, "--out", wav)
    assert (longer.code, "at most 0.371;" in longer.error) == (2, True)


@pytest.mark.parametrize(
    ("latents", "expected"), [(0, "expected 1 or more"), (-1, "expected 1 or more"), (17, "expected 1 to 16")]
)
def test_latents_that_the_model_has_not_are_refused(build_again, tmp_path, latents, expected):
    result = build_again("--latents", latents)
    assert result.code == 2
    assert f"latents is {latents}, {expected}" in result.error
    assert ("reading the checkpoint" in result.err) == (latents > 0)
    assert "compiling" not in result.err
    assert not list(tmp_path.iterdir())


VALUES = "transformer.layers.0.self_attn.to_v"


def own_recipe(folder: Path, **changes: object) -> Path:
    """A recipe in a file: the first block of the dit in int8."""
    rule = {
        "submodule": "dit",
        "pattern": "transformer.layers.0.*",
        "weights": "int8-channel",
        "activations": "int8-dynamic",
    }
    thresholds = {"conditioner": 80, "dit": 20.0, "decoder": 80.0}
    recipe = {"name": "mine", "summary": "mine", "rules": [rule], "thresholds": thresholds, **changes}
    path = folder / "my.json"
    path.write_text(json.dumps(recipe))
    return path


def test_a_recipe_of_ones_own_does_what_it_says(edge_export, build_again, plain, tmp_path):
    assert build_again("--recipe", own_recipe(tmp_path)).code == 0
    made, whole = (open_bundle(folder).manifest for folder in (tmp_path / "x", plain))
    assert (made.recipe.name, made.recipe.thresholds["dit"], len(made.recipe.rules)) == ("mine", 20.0, 1)
    changed = [role for role, spec in made.programs.items() if spec.bytes < 0.98 * whole.programs[role].bytes]
    assert changed == ["dit"]
    checks = json.loads(edge_export("verify", tmp_path / "x", "--json").out)["checks"]
    (dit,) = (check for check in checks if check["stage"] == "dit")
    assert 20 < dit["snr_db"] < 80


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rules": [{"submodule": "dit", "pattern": VALUES + "s", "weights": "int8-channel"}]},
            f"no layer is 'dit * {VALUES}s' (submodule, operator, pattern); nearest: dit linear {VALUES};",
        ),
        (
            {"thresholds": {"conditioner": 80, "dit": 20, "decodre": 80}},
            "thresholds are for conditioner, decodre, dit; name each of conditioner, dit, decoder",
        ),
        ({"thresholds": {}}, "thresholds are for nothing"),
        ({"float16": ["dti"]}, "float16 names 'dti'; did you mean 'dit'? choose from conditioner, dit, decoder"),
        ({"rules": [{"weights": "int2"}]}, "rules[0]: the rule for * * *: weights is 'int2'; choose from"),
        ({"ruels": []}, "my.json is no recipe: ruels: is not a key of this schema; did you mean 'rules'?"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_before_anything_is_compiled(build_again, tmp_path, changes, message):
    path = own_recipe(tmp_path, **changes)
    backend = "litert" if "float16" in changes else "executorch"
    result = build_again("--recipe", path, "--backend", backend)
    assert (result.code, result.out) == (2, "")
    assert message in result.error
    assert "compiling" not in result.err
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def kept(plain, tmp_path_factory) -> Path:
    """A cache of its own with the programs of the fp32 bundle, whose conditioner lies in `entry_of(kept)`."""
    folder = tmp_path_factory.mktemp("kept")
    wanted = {path.read_bytes() for path in plain.glob("*.pte")}
    for entry in default_folder().iterdir():
        if (entry / "program").read_bytes() in wanted:
            shutil.copytree(entry, folder / entry.name)
    assert len(list(folder.iterdir())) == 4
    return folder


def entry_of(cache: Path, bundle: Path) -> Path:
    program = (bundle / "conditioner.pte").read_bytes()
    return next(entry for entry in cache.iterdir() if (entry / "program").read_bytes() == program)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": lambda entry: flip(entry / "program", 5000),
    "another format": lambda entry: (entry / "entry.json").write_text('{"format": 999}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_costs_a_note_and_nothing_else(build_again, plain, kept, tmp_path, damage):
    entry = entry_of(kept, plain)
    DAMAGE[damage](entry)
    result = build_again("--cache", kept)
    assert result.code == 0
    (note,) = notes(result)
    assert all(word in note for word in ("conditioner", "is damaged", "compiled again"))
    assert len(list(kept.iterdir())) == 4
    program = (tmp_path / "x" / "conditioner.pte").read_bytes()
    assert (entry / "program").read_bytes() == program
    assert json.loads((entry / "entry.json").read_text())["bytes"] == len(program)


def test_what_another_version_kept_is_neither_used_nor_lost(build_again, plain, kept, tmp_path):
    """Another version's programs lie under other digests."""
    entry = entry_of(kept, plain)
    other = entry.rename(entry.with_name("0" * 64))
    flip(other / "program", 5000)
    was = {path.name: path.read_bytes() for path in other.iterdir()}
    result = build_again("--cache", kept)
    assert (result.code, notes(result)) == (0, [])
    assert {path.name: path.read_bytes() for path in other.iterdir()} == was
    assert (tmp_path / "x" / "conditioner.pte").read_bytes() != was["program"]
    assert entry.is_dir()


def test_a_cached_program_is_not_compiled_again(build_again, kept, tmp_path, monkeypatch):
    from edge_export.backends import executorch

    monkeypatch.setattr(executorch, "compile", lambda *_: pytest.fail("compiled"))
    result = build_again("--cache", kept)
    assert (result.code, notes(result)) == (0, [])
    assert (tmp_path / "x" / "dit.pte").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_that_is_a_file_is_refused(build_again, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    result = build_again("--cache", tmp_path / place)
    assert (result.code, result.out) == (2, "")
    assert "is, or lies below, a file and not a folder" in result.error
    assert len(result.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder that nobody may write in")
def test_a_cache_that_nobody_may_write_in_is_refused_before_the_work(build_again, tmp_path):
    result = build_again("--cache", "/proc/kept")
    assert (result.code, result.out) == (6, "")
    assert "cannot write in /proc/kept: " in result.error
    assert len(result.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_new_checkpoint_onto_a_folder_says_what_to_do(edge_export, tmp_path):
    result = edge_export("new-checkpoint", tmp_path)
    assert (result.code, result.out) == (6, "")
    assert f"the folder {tmp_path} exists; choose another place or remove it" in result.error


def test_a_cache_without_a_cache_is_refused(build_again, tmp_path):
    result = build_again("--no-cache", "--cache", tmp_path / "kept")
    assert (result.code, "exclude each other" in result.error) == (2, True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_without_permission_costs_a_note_and_nothing_else(build_again, plain, kept, tmp_path):
    shutil.rmtree(entry_of(kept, plain))
    kept.chmod(0o500)
    try:
        result = build_again("--cache", kept)
    finally:
        kept.chmod(0o700)
    assert result.code == 0
    (note,) = notes(result)
    assert "are not cached in this build" in note
    assert (tmp_path / "x" / "conditioner.pte").exists()
    assert len(list(kept.iterdir())) == 2


@pytest.fixture
def quick_to_start(built) -> tuple[Path, Path]:
    """An int8 bundle and an fp32 one, of the runtime that is imported in no time."""
    return built("litert", "int8-dynamic"), built("litert", "fp32")


def test_bench_as_json(edge_export, quick_to_start):
    result = edge_export("bench", quick_to_start[0], "--runs", 1, "--seconds", 0.2, "--threads", 1, "--json", "-")
    assert result.code == 0
    record = json.loads(result.out)
    assert (record["seconds"], record["threads"], record["b"], record["ratios"]) == (0.2, 1, None, None)
    (run,) = record["a"]["runs"]
    assert run["stages"].keys() == {"conditioner", "dit", "decoder"}
    assert len(run["stages"]["dit"]["runs"]) == 4
    assert record["a"]["recipe"] == "int8-dynamic"
    assert 0 < record["a"]["quantities"]["seconds_first_audio"]["median"] <= run["seconds_total"]


def test_bench_goes_through_a_list_of_threads(edge_export, quick_to_start, tmp_path):
    file, picture = tmp_path / "bench.json", tmp_path / "threads.svg"
    options = ("--runs", 1, "--seconds", 0.2, "--threads", "1,2", "--json", file, "--plot", picture)
    result = edge_export("bench", quick_to_start[0], *options)
    assert result.code == 0
    assert all(words in result.out for words in ("1 thread ", "2 threads", "dit: steady step, ms"))
    assert [each["threads"] for each in json.loads(file.read_text())["sweep"]] == [1, 2]
    assert "<svg" in picture.read_text()


def test_bench_against_another_bundle_shows_both_and_writes_the_figures(edge_export, quick_to_start, tmp_path):
    bundle, other = quick_to_start
    file = tmp_path / "bench.json"
    result = edge_export("bench", bundle, "--against", other, "--runs", 1, "--seconds", 0.2, "--json", file)
    assert result.code == 0
    assert all(word in result.out for word in ("int8-dynamic", "fp32", "B / A", "peak memory, MB"))
    record = json.loads(file.read_text())
    assert (record["order"], record["b"]["recipe"]) == (["A", "B"], "fp32")
    a, b = (record[side]["runs"][0]["seconds_total"] for side in ("a", "b"))
    assert record["ratios"]["seconds_total"]["median"] == pytest.approx(b / a)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--runs", "0"), 2, "runs is 0, expected 1 to 1000"),
        (("--threads", "1,2,2"), 2, "threads has 2 twice; name each number once"),
        (("--threads", "abc"), 2, "threads is 'abc', expected a number such as 2, or several such as 1,2,4"),
        (("--threads", ""), 2, "threads is '', expected a number"),
        (("--threads", "-1"), 2, "threads is -1, expected 1 to 256"),
        (("--threads", "1,100000"), 2, "threads is 100000, expected 1 to 256"),
        (("--seconds", "1e9"), 2, "at most 0.743"),
        (("--against", "nowhere"), 4, "no bundle at nowhere"),
        (("--against", "nowhere", "--checkpoint", "x"), 2, "add --against reference, or leave --checkpoint out"),
        (("--plot", "a.xyz"), 6, "cannot write the picture a.xyz: its ending is none of ."),
        (("--json", "nowhere/a.json"), 6, "there is no folder"),
        (("--plot", "nowhere/a.png"), 6, "there is no folder"),
    ],
)
def test_bench_refuses_in_one_line_what_it_cannot_measure(edge_export, bundle, options, code, message):
    result = edge_export("bench", bundle, *options)
    assert (result.code, result.out) == (code, "")
    assert message in result.error
    assert len(result.err.splitlines()) == 1


FIRST = ("--submodule", "decoder", "--layers", "layers.1.*")


def test_sensitivity_shows_the_worst_layer_first(edge_export, oracle):
    result = edge_export("sensitivity", oracle, *FIRST, "--json")
    assert result.code == 0
    record = json.loads(result.out)
    errors = [layer["snr_db"] for layer in record["layers"]]
    assert len(errors) > 3
    assert errors == sorted(errors)
    assert math.fsum(layer["share"] for layer in record["layers"]) == pytest.approx(1)
    assert record["predicted_snr_db"].keys() == {"decoder"}
    assert "keep_in_float" not in record
    assert all(layer["name"].startswith("layers.1.") for layer in record["layers"])
    needed = record["predicted_snr_db"]["decoder"] + 3
    kept = json.loads(edge_export("sensitivity", oracle, *FIRST, "--need", needed, "--json").out)["keep_in_float"]
    assert kept == [layer["name"] for layer in record["layers"][: len(kept)]]
    assert 0 < len(kept) < len(errors)


def test_sensitivity_of_a_bundle_finds_its_checkpoint_and_says_what_is_needed(edge_export, bundle):
    result = edge_export("sensitivity", bundle, *FIRST, "--need", 10)
    assert result.code == 0
    assert "layers.1." in result.out
    assert "To reach 10 dB, keep in float: nothing\n" in result.out
    assert "--recipe mine.json" in result.out.splitlines()[-1]


@pytest.mark.build
def test_the_recipe_that_sensitivity_writes_builds_what_it_promised(edge_export, small, tmp_path):
    """The command it prints is run as it stands, in a folder of its own."""
    file, measured = tmp_path / "mine.json", ("sensitivity", small, "--submodule", "dit", "--backend", "executorch")
    bare = json.loads(edge_export(*measured, "--json").out)["predicted_snr_db"]["dit"]
    needed = bare + 3
    result = edge_export(*measured, "--need", needed, "--recipe", file, "--json")
    record, recipe = json.loads(result.out), json.loads(file.read_text())
    assert record["recipe"] == recipe
    assert [rule["pattern"] for rule in recipe["rules"][: len(record["keep_in_float"])]] == record["keep_in_float"]
    assert 0 < len(record["keep_in_float"]) < len(record["layers"])
    assert recipe["thresholds"] == RECIPES["int8-dynamic"].thresholds
    said = edge_export(*measured, "--need", needed, "--recipe", file).out.splitlines()[-1]
    _, command = said.split("edge-export ")
    arguments = [str(tmp_path / "bundle") if word == "bundle" else word for word in shlex.split(command)]
    assert arguments[1:3] == ["--checkpoint", str(small)]
    made = edge_export(*arguments, "--json")
    assert made.code == 0, made.err
    (dit,) = (check for check in json.loads(made.out)["checks"] if check["stage"] == "dit")
    assert bare + 1 < dit["snr_db"] < bare + 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--need", "-5"), "need is -5, expected a number of dB above 0"),
        (("--need", "nan"), "need is nan"),
        (("--recipe", "mine.json"), "add --need DB"),
        (("--need", "30", "--recipe", "nowhere/mine.json"), "there is no folder"),
        (("--plot", "a.xyz"), "its ending is none of ."),
        (("--need", "30", "--recipe", "mine.txt"), "ends in .json"),
    ],
)
def test_sensitivity_refuses_before_it_measures(edge_export, oracle, monkeypatch, options, message):
    monkeypatch.setattr("edge_export.sensitivity.measure_layers", lambda *_: pytest.fail("measured"))
    result = edge_export("sensitivity", oracle, *options)
    assert (result.code, result.out) == (6 if "none of" in message or "no folder" in message else 2, "")
    assert message in result.error
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--submodule", "decodre"), "no submodule called 'decodre'; did you mean 'decoder'?"),
        (("--backend", "onnx"), "no backend called 'onnx'"),
        (("--submodule", "decoder", "--layers", "layers.99"), "no layer of decoder matches 'layers.99'; nearest: "),
        (("--checkpoint", "elsewhere"), "--checkpoint goes with a bundle"),
    ],
)
def test_sensitivity_refuses_what_is_not_there(edge_export, oracle, options, message):
    result = edge_export("sensitivity", oracle, *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.error


def test_sensitivity_of_nothing_is_no_checkpoint(edge_export, tmp_path):
    result = edge_export("sensitivity", tmp_path / "none")
    assert (result.code, "no checkpoint at" in result.error) == (3, True)
