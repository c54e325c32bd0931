"""edge-run plays a bundle as runtime_py does, and records it by the same contract."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from runtime_py import __main__ as python
from runtime_py import load
from runtime_py.bundle import open_bundle, sha256_of
from runtime_py.golden import read_golden, tensors_of
from runtime_py.machine import fast_cores, this_machine
from runtime_py.manifest import sealed
from runtime_py.metrics import snr_db
from runtime_py.receipt import identity, write_receipt
from runtime_py.record import Record, check_record, read_record
from runtime_py.request import Request
from runtime_py.tags import read_tags
from tests.fixtures.make_bundles import FOLDER, RECIPES, WAV
from tests.fixtures.make_bundles import REQUEST as TINY_REQUEST
from tests.runtime_native.conftest import BUILD, Runner

REQUEST = Request(prompt="warm arpeggios on house beats", seconds=0.5, seed=3, steps=3)
WORDS = ("--prompt", REQUEST.prompt, "--seconds", REQUEST.seconds, "--seed", REQUEST.seed, "--steps", REQUEST.steps)
SAME_ARITHMETIC_DB = 100.0
ASKED_FOR_MORE_THAN_THERE_IS = 1 << 44


@pytest.fixture(scope="session")
def bundle() -> Path:
    return FOLDER / "fp32" / "bundle"


@pytest.fixture
def played(edge_run: Runner, bundle: Path, tmp_path: Path) -> Callable[..., tuple[str, Record]]:
    """What edge-run prints in the end, and the record it writes."""

    def played(*words: object) -> tuple[str, Record]:
        done = edge_run("--bundle", bundle, "--record", tmp_path / "run.json", "--threads", 1, *words)
        assert done.returncode == 0, done.stderr
        record = read_record(tmp_path / "run.json")
        check_record(record, open_bundle(bundle))
        return done.stdout, record

    return played


def refused(edge_run: Runner, *words: object) -> tuple[int, str]:
    """The exit code and the one line of a refusal."""
    done = edge_run(*words)
    assert (done.stdout, done.stderr.count("\n"), done.stderr.startswith("edge-run: error: ")) == ("", 1, True)
    return done.returncode, done.stderr.removeprefix("edge-run: error: ").rstrip("\n")


def test_every_tensor_is_what_python_makes_of_the_same_request(played, bundle):
    _, record = played(*WORDS)
    with load(bundle, threads=1) as generator:
        events = list(generator.events(REQUEST))
        expected = tensors_of(generator.spec, REQUEST, generator.encode(REQUEST), events)
    assert record.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(record.tensors[name], tensor), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_bundle_of_the_fixtures_gives_pythons_file_and_the_committed_sound(edge_run, tmp_path, recipe):
    """Windows included. Byte for byte on this machine; to the order of sums, or the recipe's threshold, elsewhere."""
    folder, request = FOLDER / recipe / "bundle", TINY_REQUEST
    words = ("--prompt", request.prompt, "--seconds", request.seconds, "--seed", request.seed, "--steps", request.steps)
    done = edge_run(
        "--bundle", folder, *words, "--threads", 1, "--float", "--no-fade", "--out", tmp_path / "native.wav"
    )
    assert done.returncode == 0, done.stderr
    with load(folder, threads=1) as generator:
        generator.generate(request).save(tmp_path / "python.wav", float32=True, fade=False)
    assert (tmp_path / "native.wav").read_bytes() == (tmp_path / "python.wav").read_bytes()
    expected, _ = soundfile.read(FOLDER / recipe / WAV)
    made, _ = soundfile.read(tmp_path / "native.wav")
    thresholds = open_bundle(folder).manifest.recipe.thresholds
    assert snr_db(expected, made) >= (SAME_ARITHMETIC_DB if recipe == "fp32" else min(thresholds.values()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which cores a process may run on")
def test_threads_by_default_are_the_fast_cores_that_it_may_run_on(edge_run, bundle, tmp_path):
    allowed = os.sched_getaffinity(0)
    try:
        for cores in (allowed, {min(allowed)}):
            os.sched_setaffinity(0, cores)
            done = edge_run("--bundle", bundle, "--record", tmp_path / "run.json", *WORDS)
            assert done.returncode == 0, done.stderr
            assert read_record(tmp_path / "run.json").run.threads == fast_cores()
    finally:
        os.sched_setaffinity(0, allowed)
    assert fast_cores(allowed={min(allowed)}) == 1


def test_the_record_says_what_was_run_and_where(played, bundle, tmp_path):
    _, record = played(*WORDS, "--label", "bench", "--out", tmp_path / "x.wav")
    run = record.run
    assert (run.label, run.threads, run.inputs, run.request) == ("bench", 1, "own", REQUEST)
    assert run.machine == this_machine()
    assert run.bundle.manifest_sha256 == sha256_of(bundle / "manifest.json")
    stages = [(stage.stage, stage.index, stage.count) for stage in run.stages]
    steps, tiles = [("dit", step, 3) for step in (1, 2, 3)], [("decoder", 1, 2), ("decoder", 2, 2)]
    assert stages == [("conditioner", 1, 1), *steps, *tiles]
    assert all(stage.peak_rss_mb > 1 for stage in run.stages)
    assert [stage.load > 0 for stage in run.stages] == [True, True, False, False, True, False]
    assert record.wav is not None and record.wav.sha256 == sha256_of(tmp_path / "x.wav")
    samples, rate = soundfile.read(tmp_path / "x.wav")
    assert (samples.shape, rate) == ((record.wav.samples, record.wav.channels), record.wav.sample_rate)


def test_opening_is_measured_and_said(played):
    line, record = played(*WORDS)
    said = re.fullmatch(r"Played 0\.500 s, opened in (\d+\.\d\d) s, first audio after \d+\.\d\d s\n", line)
    assert said is not None
    assert 0 < record.run.open_seconds < 60
    assert float(said[1]) == pytest.approx(record.run.open_seconds, abs=0.006)


def test_what_is_left_open_is_the_bundles_own(played, bundle):
    _, record = played("--prompt", "rain")
    spec = open_bundle(bundle).manifest.generation
    expected = Request(prompt="rain", seconds=spec.seconds_limit, seed=0, steps=spec.sampler.steps)
    assert record.run.request == expected


def test_golden_replays_the_references_inputs(played, bundle):
    opened = open_bundle(bundle)
    golden = read_golden(opened)
    _, record = played("--golden")
    assert (record.run.inputs, record.run.request) == ("golden", opened.manifest.golden.request)
    for name in ("input_ids", "seconds", "noise", "sigmas", "step_latent", "latent"):
        assert np.array_equal(record.tensors[name], golden[name]), name
    thresholds = opened.manifest.recipe.thresholds
    assert snr_db(golden["step_velocity"], record.tensors["step_velocity"]) > thresholds["dit"]
    assert snr_db(golden["audio"], record.tensors["audio"]) > thresholds["decoder"]


def test_check_hashes_what_a_receipt_vouches_for(edge_run, bundle, copy_of, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = copy_of(bundle)
    golden = folder / "golden.safetensors"
    golden.write_bytes(golden.read_bytes()[:-1] + b"\x55")
    found = {spec.file: identity((folder / spec.file).lstat()) for spec in open_files(bundle)}
    write_receipt(folder, sha256_of(folder / "manifest.json"), found, begun_ns=1 << 62)
    words = ("--bundle", folder, *WORDS, "--out", tmp_path / "x.wav")
    assert edge_run(*words).returncode == 0
    code, line = refused(edge_run, *words, "--check")
    assert (code, "golden.safetensors was altered" in line) == (4, True)


def open_files(bundle: Path) -> tuple:
    return open_bundle(bundle).manifest.files


def test_too_little_memory_is_refused_in_one_line_unless_forced(edge_run, bundle, copy_of, tmp_path):
    folder = copy_of(bundle)
    document = json.loads((folder / "manifest.json").read_text())
    document["programs"]["dit"]["memory"]["working_bytes"] = ASKED_FOR_MORE_THAN_THERE_IS
    (folder / "manifest.json").write_text(sealed(json.dumps({**document, "seal": ""})))
    words = ("--bundle", folder, *WORDS, "--out", tmp_path / "x.wav")
    code, line = refused(edge_run, *words)
    assert code == 10
    assert re.match(r"this needs 1759\d{4} MB of memory, \d+ MB are free; .*fewer seconds.*--force$", line)
    assert not (tmp_path / "x.wav").exists()
    assert edge_run(*words, "--force").returncode == 0
    assert (tmp_path / "x.wav").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--steps", 0), "steps is 0, expected 1 to 1000"),
        (("--seed", -1), "seed is -1, expected 0 to 4294967295"),
        (("--seconds", 0), "seconds is 0, expected a number above 0 and up to 1.207"),
        (("--seconds", "nan"), "seconds is nan, expected a number above 0 and up to 1.207"),
        (("--prompt", " "), "the prompt is empty; say what to play"),
        (("--prompt", "\u200b\u200b"), "the prompt holds only spaces and control characters"),
    ],
)
def test_a_request_out_of_range_is_refused(edge_run, bundle, tmp_path, words, message):
    given = ("--prompt", "rain") if words[0] != "--prompt" else ()
    code, line = refused(edge_run, "--bundle", bundle, *given, *words, "--out", tmp_path / "x.wav")
    assert code == 2
    assert line.startswith(message)
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.parametrize("option", ["--out", "--record", "--dump"])
def test_what_it_writes_lies_outside_of_the_bundle(edge_run, bundle, copy_of, option):
    folder = copy_of(bundle)
    before = (folder / "dit.pte").read_bytes()
    code, line = refused(edge_run, "--bundle", folder, *WORDS, option, folder / "dit.pte")
    assert code == 6
    assert line == f"{folder / 'dit.pte'} lies inside the bundle, which must stay as it is; write elsewhere"
    assert (folder / "dit.pte").read_bytes() == before


def test_a_bundle_of_another_backend_is_refused(edge_run, bundle, copy_of, tmp_path):
    folder = copy_of(bundle)
    document = json.loads((folder / "manifest.json").read_text())
    text = sealed(json.dumps({**document, "backend": "litert", "seal": ""}))
    (folder / "manifest.json").write_text(text)
    code, line = refused(edge_run, "--bundle", folder, *WORDS, "--out", tmp_path / "x.wav")
    assert (code, "is a litert bundle" in line) == (4, True)


PLAY = ("--prompt", "rain", "--seconds", 0.1, "--steps", 1, "--threads", 1)


@pytest.fixture
def shell(edge_run: Runner, bundle: Path, tmp_path: Path) -> Callable[[str], tuple[int, str]]:
    """Runs a line of bash in `tmp_path`, where `play` plays the bundle; its exit code and standard error."""
    words = shlex.join(map(str, (BUILD / "edge-run", "--bundle", bundle, *PLAY)))

    def shell(line: str) -> tuple[int, str]:
        script = f'set -o pipefail; play() {{ {words} "$@"; }}; {line}'
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, timeout=60, check=False)
        return done.returncode, done.stderr.decode()

    return shell


@pytest.fixture
def sound(shell: Callable[[str], tuple[int, str]], tmp_path: Path) -> bytes:
    assert shell("play --out sound.wav")[0] == 0
    return (tmp_path / "sound.wav").read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "play --out - > x.wav",
        "play --out /dev/stdout > x.wav",
        "ln -s /proc/self/fd/1 out; play --out out > x.wav; test -L out",
        "exec 7> x.wav; play --out /dev/fd/7",
        "mkfifo pipe; cat pipe > x.wav & play --out pipe && wait && test -p pipe",
        "ln -s x.wav link; ln -s link second; play --out second; test -L link -a -L second",
        "echo before > x.wav; ln -s x.wav link; play --out link; test -L link",
        "play --out x.wav <&- >&- 2>&-",
        "play --out x.wav > /dev/full 2> /dev/full",
        "play --out x.wav 2>&1 | true",
    ],
)
def test_the_sound_arrives_wherever_an_output_leads(shell, sound, tmp_path, line):
    assert shell(line)[0] == 0
    assert (tmp_path / "x.wav").read_bytes() == sound
    assert not (tmp_path / "x.wav").is_symlink()
    assert not list(tmp_path.glob(".edge-run-*"))


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("play --out /dev/full", 6, "cannot write /dev/full: No space left on device; free some space"),
        ("play --out - >&-", 6, "cannot write -: Bad file descriptor; write elsewhere"),
        ("play --out - | true", 141, ""),
        (
            "play --version > /dev/full",
            6,
            "cannot write to standard output: No space left on device; send it elsewhere",
        ),
    ],
)
def test_a_sound_that_cannot_be_written_is_an_error(shell, line, code, said):
    left, text = shell(line)
    errors = [line.removeprefix("edge-run: error: ") for line in text.splitlines() if "error" in line]
    assert (left, errors) == (code, [said] if said else [])


def test_a_signal_while_a_file_is_written_leaves_it_whole_and_nothing_else(shell, sound, tmp_path):
    (tmp_path / "stop.cpp").write_text('#include <csignal>\nextern "C" int fsync(int) { return raise(SIGTERM); }\n')
    code, said = shell("c++ -shared -fPIC -o stop.so stop.cpp && LD_PRELOAD=$PWD/stop.so play --out x.wav")
    assert (code, "error" in said) == (128 + 15, False)
    assert (tmp_path / "x.wav").read_bytes() == sound
    assert not list(tmp_path.glob(".edge-run-*"))


OUTPUTS = (
    (("--out", "no/such/x.wav"),),
    (("--out", "."),),
    (("--out", "loop"),),
    (("--out", "link"), ("--record", "x.wav")),
    (("--out", "-"), ("--record", "stdout")),
    (("--out", "/dev/fd/321"),),
    (("--out", "x.wav"), ("--record", "inside")),
    (("--dump", "inside"),),
)


@pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
def test_outputs_that_would_spoil_something_are_refused_in_pythons_words(
    edge_run, bundle, tmp_path, monkeypatch, capsys, outputs
):
    for link, target in (("loop", "loop"), ("link", "x.wav"), ("stdout", "/dev/stdout"), ("inside", bundle / "new")):
        (tmp_path / link).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    words = ("--bundle", str(bundle), "--prompt", "rain", *(word for output in outputs for word in output))
    code, line = refused(edge_run, *words)
    assert python.main(list(words)) == code
    assert capsys.readouterr().err == f"runtime_py: error: {line}\n"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("words", [(), ("--normalize",), ("--no-fade", "--float"), ("--normalize", "--no-tags")])
@pytest.mark.parametrize(
    ("prompt", "seconds"), [('a "b" \\ früh\x01\n', 0.1), ("rain", 1.0), ("雨", 0.30000000000000004)]
)
def test_a_finished_and_tagged_wav_is_pythons(edge_run, bundle, tmp_path, words, prompt, seconds):
    done = edge_run("--bundle", bundle, "--prompt", prompt, "--seconds", repr(seconds), "--steps", 1, "--threads", 1,
                    "--out", tmp_path / "native.wav", *words)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with load(bundle, threads=1) as generator:
        clip = generator.generate(prompt, seconds=seconds, steps=1)
    flags = {"float32": "--float" in words, "normalize": "--normalize" in words}
    clip.save(tmp_path / "python.wav", fade="--no-fade" not in words, tags="--no-tags" not in words, **flags)
    assert (tmp_path / "native.wav").read_bytes() == (tmp_path / "python.wav").read_bytes()


def test_a_drawn_seed_is_said_and_gives_its_sound_again(edge_run, bundle, tmp_path):
    words = ("--bundle", bundle, "--prompt", "rain", "--seconds", 0.1, "--steps", 1)
    sounds, seeds = [], []
    for name in ("a.wav", "b.wav"):
        done = edge_run(*words, "--seed", "random", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        seeds.append(read_tags(tmp_path / name).request.seed)
        said = f"edge-run: note: seed {seeds[-1]} was drawn: --seed {seeds[-1]} gives this sound again\n"
        assert said in done.stderr
        sounds.append((tmp_path / name).read_bytes())
    assert sounds[0] != sounds[1] and seeds[0] != seeds[1]
    assert edge_run(*words, "--seed", seeds[0], "--out", tmp_path / "c.wav").returncode == 0
    assert (tmp_path / "c.wav").read_bytes() == sounds[0]


@pytest.mark.parametrize("name", ["x.flac", "x.mp3", "x", "x.wav.bak"])
def test_a_name_that_is_no_wav_is_refused(edge_run, bundle, tmp_path, name):
    code, line = refused(edge_run, "--bundle", bundle, *WORDS, "--out", tmp_path / name)
    assert (code, line) == (2, f"{tmp_path / name} names no kind of sound file: end it in .wav")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [-1, 2**32, -(2**63)])
def test_a_seed_out_of_range_is_refused_in_pythons_words(edge_run, bundle, tmp_path, capsys, seed):
    words = ("--bundle", str(bundle), "--prompt", "rain", "--seed", str(seed), "--out", str(tmp_path / "x.wav"))
    code, line = refused(edge_run, *words)
    assert python.main(list(words)) == code == 2
    assert capsys.readouterr().err == f"runtime_py: error: {line}\n"
    assert ("say --seed random" in line) == (seed == -1)
