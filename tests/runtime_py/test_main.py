"""`python -m runtime_py`: what it writes, what it says, and how it fails, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_export.compare import compare
from runtime_py import __main__ as command
from runtime_py import __version__
from runtime_py import bundle as bundles
from runtime_py.audio import read_wav
from runtime_py.bundle import open_bundle
from runtime_py.golden import read_golden
from runtime_py.machine import this_machine
from runtime_py.manifest import TargetSpec
from runtime_py.record import read_record
from runtime_py.request import Request
from tests.fixtures.make_bundles import FOLDER
from tests.shared import Result

ROOT = Path(__file__).parents[2]
TINY = FOLDER / "int8-dynamic" / "bundle"
PROMPT = "warm arpeggios on house beats"


@pytest.fixture
def played():
    """Runs the command in a process of its own."""

    def run(*words: object) -> Result:
        argv = [sys.executable, "-m", "runtime_py", *map(str, words)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return Result(program="runtime_py", code=done.returncode, out=done.stdout, err=done.stderr)

    return run


@pytest.fixture
def refused(capsys):
    """Runs the command in this process: for what fails before an engine is loaded."""

    def run(*words: object) -> Result:
        code = command.main([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(program="runtime_py", code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def bundle(built) -> Path:
    return built("litert", "int8-dynamic")


@pytest.mark.parametrize("backend", ["litert", "executorch"])
def test_a_prompt_becomes_a_wav_and_a_record_that_passes(played, built, tmp_path, backend):
    folder, wav, record = built(backend, "int8-dynamic"), tmp_path / "x.wav", tmp_path / "run.json"
    result = played(
        f"--bundle={folder}", "--prompt", PROMPT, "--seconds", 0.3, "--seed=7", "--steps", 2, "--threads", 1,
        "--out", wav, "--record", record, "--label", "here",
    )  # fmt: skip
    assert result.code == 0, result.err
    line = r"Played 0\.300 s, opened in \d+\.\d\d s, first audio after \d+\.\d\d s; wrote (.*)\n"
    found = re.fullmatch(line, result.out)
    assert found is not None and found[1] == str(wav)
    steps = [line.partition(":")[0] for line in result.err.splitlines()]
    assert steps == ["[1/4] conditioner 1 of 1", "[2/4] dit 1 of 2", "[3/4] dit 2 of 2", "[4/4] decoder 1 of 1"]
    made = read_record(record)
    assert (made.run.label, made.run.threads, made.run.inputs) == ("here", 1, "own")
    assert (made.run.runtime.name, made.run.runtime.version) == ("runtime_py", __version__)
    assert made.run.request == Request(prompt=PROMPT, seconds=0.3, seed=7, steps=2)
    assert made.run.machine == this_machine()
    assert 0 < made.run.open_seconds < 60
    peaks = [stage.peak_rss_mb for stage in made.run.stages]
    assert all(10 < peak < made.run.machine.memory_bytes / 1e6 for peak in peaks)
    assert made.wav is not None
    assert made.wav.samples == read_wav(wav)[0].shape[1] == round(0.3 * made.wav.sample_rate)
    assert compare(made, open_bundle(folder), "bundle").passed


def test_the_golden_request_is_replayed_on_its_own_inputs(played, bundle, tmp_path):
    result = played("--bundle", bundle, "--golden", "--record", tmp_path / "run.json", "--dump", tmp_path / "dump")
    assert result.code == 0, result.err
    manifest, record = open_bundle(bundle).manifest, read_record(tmp_path / "run.json")
    assert record.run.inputs == "golden"
    assert record.wav is None
    assert record.run.request.prompt == manifest.golden.request.prompt
    assert record.tensors["audio"].shape[1] == manifest.generation.latent.samples
    assert compare(record, open_bundle(bundle), "golden").passed
    golden = read_golden(open_bundle(bundle))
    made = {name for name, array in record.tensors.items() if not np.array_equal(array, golden[name])}
    assert {"cross_k", "step_velocity", "audio"} <= made  # int8's own, and the inputs are the reference's
    assert not made & {"noise", "step_latent", "latent", "input_ids"}
    assert {path.stem for path in (tmp_path / "dump").iterdir()} == set(record.tensors)
    for name, array in record.tensors.items():
        np.testing.assert_array_equal(np.load(tmp_path / "dump" / f"{name}.npy"), array)


def test_float_samples_are_kept_as_they_are(played, bundle, tmp_path):
    wav, record = tmp_path / "x.wav", tmp_path / "run.json"
    result = played("--bundle", bundle, "--prompt", PROMPT, "--steps", 1, "--float", "--out", wav, "--record", record)
    assert result.code == 0, result.err
    np.testing.assert_array_equal(read_wav(wav)[0], read_record(record).tensors["audio"])


ASKED = ("--prompt", "a", "--record", "run.json")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--prompt", "a"], 2, "nothing to write: give --out x.wav, --record run.json or --dump DIR"),
        (["--out", "x.wav"], 2, "--prompt is missing"),
        (["--golden", "--seed", "1", "--out", "x.wav"], 2, "--seed and --golden exclude each other"),
        (["--golden", "--seed", "0", "--out", "x.wav"], 2, "--seed and --golden exclude each other"),
        (["--prompt", "a", "--out", "x", "--record", "./x"], 2, "x and x are one file; name two files"),
        (["--prompt", " ", "--out", "x.wav"], 2, "the prompt is empty"),
        ([*ASKED, "--threads", "0"], 2, "threads is 0, expected 1 to 256"),
        ([*ASKED, "--seconds", "nan"], 2, "seconds is nan"),
        ([*ASKED, "--seconds", "1e9"], 2, "ask for less"),
        ([*ASKED, "--seconds", "long"], 2, "invalid float value: 'long'; see python -m runtime_py --help"),
        ([*ASKED, "--steps", "0"], 2, "steps is 0"),
        ([*ASKED, "--seed", "-1"], 2, "seed is -1"),
        ([*ASKED, "--see", "1"], 2, "unrecognized arguments: --see"),
        (["--prompt", "a", "--out", "no/such/x.wav"], 6, "there is no folder"),
    ],
)
def test_what_makes_no_sense_is_one_line(refused, bundle, tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    result = refused("--bundle", bundle, *words)
    assert result.code == code
    assert said in result.error
    assert not list(tmp_path.iterdir())


def test_check_hashes_what_is_known_to_be_right(refused, copy_of, bundle, monkeypatch, tmp_path):
    hashed, sha256_of = [], bundles.sha256_of
    copy = copy_of(bundle)
    monkeypatch.setattr(bundles, "sha256_of", lambda path: hashed.append(path.name) or sha256_of(path))
    later = SimpleNamespace(time_ns=lambda: time.time_ns() + 10**10)
    monkeypatch.setattr(bundles, "time", later)
    words = ("--bundle", copy, "--prompt", "a", "--steps", "0", "--out", tmp_path / "x.wav")
    for more, count in (((), 7), ((), 1), (("--check",), 7), ((), 1)):
        hashed.clear()
        assert refused(*words, *more).code == 2
        assert len(hashed) == count, hashed


def test_an_altered_bundle_is_refused(refused, copy_of, bundle, tmp_path):
    copy = copy_of(bundle)
    data = bytearray((copy / "dit.tflite").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "dit.tflite").write_bytes(data)
    result = refused("--bundle", copy, "--prompt", "a", "--out", tmp_path / "x.wav")
    assert result.code == 4
    assert "dit.tflite was altered" in result.error


def test_golden_vectors_that_were_left_out_cannot_be_replayed(refused, copy_of, bundle, tmp_path):
    copy = copy_of(bundle)
    (copy / "golden.safetensors").unlink()
    result = refused("--bundle", copy, "--golden", "--out", tmp_path / "x.wav")
    assert result.code == 4
    assert "was left out of this bundle" in result.error


def test_an_arm_cpu_that_lacks_a_feature_is_named(refused, bundle, tmp_path, monkeypatch):
    here, require_cpu = command.this_machine(), command.require_cpu
    target = TargetSpec(name="new", cpu_features=("asimd", "i8mm"))
    monkeypatch.setattr(command, "this_machine", lambda: replace(here, architecture="aarch64", cpu_features=("asimd",)))
    monkeypatch.setattr(command, "require_cpu", lambda _: require_cpu(target))
    result = refused("--bundle", bundle, "--prompt", "a", "--out", tmp_path / "x.wav")
    assert result.code == 11
    assert "this CPU lacks what target new needs: i8mm" in result.error


def test_another_cpu_than_arm_is_not_held_to_arms_names(monkeypatch):
    here = command.this_machine()
    monkeypatch.setattr(command, "this_machine", lambda: replace(here, architecture="x86_64", cpu_features=()))
    command.require_cpu(TargetSpec(name="new", cpu_features=("i8mm",)))


def test_the_bytes_of_a_shell_are_a_prompt(played, bundle, tmp_path):
    argv = [sys.executable, "-m", "runtime_py", "--bundle", str(bundle), "--steps=1", "--prompt", b"caf\xe9"]
    argv += ["--record", str(tmp_path / "run.json")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert read_record(tmp_path / "run.json").run.request.prompt == "caf�"


def test_the_runtime_loads_neither_torch_nor_edge_export(bundle, tmp_path):
    """So that a Python with numpy and LiteRT, and nothing else, can play."""
    code = (
        "import sys; from runtime_py.__main__ import main; code = main(sys.argv[1:]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    argv = [sys.executable, "-c", code, "--bundle", bundle, "--golden", "--record", tmp_path / "run.json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"numpy", "ai_edge_litert"} <= loaded
    assert not loaded & {"edge_export", "torch", "safetensors", "typer", "rich"}


def test_a_signal_ends_with_a_line_and_its_code(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "play", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = refused("--bundle", TINY, "--prompt", "a", "--out", tmp_path / "x.wav")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (result.code, result.out) == (143, "")
    assert result.error == "runtime_py: error: terminated; nothing half-written was left behind"


def test_the_sound_alone_goes_to_standard_output(tmp_path, capfdbinary):
    words = ("--bundle", TINY, "--prompt", "a", "--seconds", 0.1, "--out", "-", "--record", tmp_path / "run.json")
    assert command.main([str(word) for word in words]) == 0
    out, err = capfdbinary.readouterr()
    assert sha256(out).hexdigest() == read_record(tmp_path / "run.json").wav.sha256
    assert err.endswith(b"; wrote -\n")


@pytest.mark.parametrize("redirected", [">/dev/full", ">&- 2>&-"])
def test_help_that_cannot_be_written_is_an_error(redirected):
    argv = [sys.executable, "-m", "runtime_py", "--help"]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirected}', "bash", *argv], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 6
    assert done.stderr.count(b"\n") == (1 if redirected == ">/dev/full" else 0)


def test_the_version_is_the_projects(capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"runtime_py {project['version']}\n"


@pytest.mark.parametrize("option", ["--out", "--record", "--dump"])
def test_what_it_writes_lies_outside_of_the_bundle(refused, copy_of, bundle, option):
    folder = copy_of(bundle)
    before = sorted((path.name, path.stat().st_size) for path in folder.iterdir())
    result = refused("--bundle", folder, "--prompt", "a", option, folder / "dit.pte")
    assert (result.code, "lies inside the bundle" in result.error) == (6, True)
    assert sorted((path.name, path.stat().st_size) for path in folder.iterdir()) == before
