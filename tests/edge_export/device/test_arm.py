"""The native runner on emulated Arm CPUs: every tier and recipe passes `compare`, and what is broken is noticed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_export.device.build import build_runner
from edge_export.device.native_runner import native_runner
from edge_export.device.places import PLACES
from edge_export.device.qemu import CPUS, command
from edge_export.progress import silent
from runtime_py.manifest import load_manifest
from runtime_py.record import read_record
from tests.fixtures.make_bundles import FOLDER

TIERS = {"max": "i8mm", "cortex-a76": "asimddp", "cortex-a72": "asimd"}
REQUEST = ("--prompt", "birds in the rain", "--seconds", "0.4", "--seed", "3", "--threads", "2")
FP32_WAV_LSB = 2
"""How far a 16-bit sample made in float32 on Arm may be from one made here."""


@pytest.fixture
def played(edge_export, built, oracle, arm, tmp_path) -> Callable[..., tuple[Path, Path]]:
    """Plays a bundle of a recipe on an emulated CPU: WAV and record."""

    def play(folder: Path, cpu: str = "max", *options: str) -> tuple[Path, Path]:
        wav, record = tmp_path / "x.wav", tmp_path / "run.json"
        done = edge_export(
            "device", "run", folder, "--on", f"qemu:{cpu}", "--out", wav, "--record", record, *(options or REQUEST)
        )
        assert done.code == 0, done.err
        return wav, record

    return play


@pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic"])
@pytest.mark.parametrize("cpu", TIERS)
def test_a_run_on_arm_passes_compare(edge_export, built, oracle, played, tmp_path, cpu, recipe):
    folder = built("executorch", recipe)
    wav, record = played(folder, cpu)
    run = read_record(record).run
    assert (run.label, run.machine.architecture) == (f"qemu:{cpu}", "aarch64")
    assert TIERS[cpu] in run.machine.cpu_features
    assert ("asimddp" in run.machine.cpu_features) == (cpu != "cortex-a72")
    for against in (("reference", "--checkpoint", oracle), ("bundle",)):
        done = edge_export("compare", record, folder, "--json", "--against", *against)
        assert done.code == 0, done.err
        result = json.loads(done.out)
        assert (result["passed"], result["recipe"]) == (True, recipe)
    here = tmp_path / "here.wav"
    assert edge_export("run", folder, *REQUEST, "--out", here).code == 0
    ours, _ = soundfile.read(here, dtype="int16")
    theirs, _ = soundfile.read(wav, dtype="int16")
    assert ours.shape == theirs.shape
    if recipe == "fp32":
        assert np.abs(ours.astype(int) - theirs).max() <= FP32_WAV_LSB


def test_the_runner_is_small_enough_to_travel(arm):
    folder = build_runner("linux-arm64").folder
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6


@pytest.mark.parametrize("cpu", ["max", "cortex-a72"])
def test_packed_weights_that_are_kept_give_the_same_bytes(arm, tmp_path, cpu):
    def sound(*options: object) -> bytes:
        out = tmp_path / "x.wav"
        done = edge_run(FOLDER / "int8-dynamic" / "bundle", *REQUEST, "--steps", 1, "--out", out, *options, cpu=cpu)
        assert done.returncode == 0, done.stderr
        return out.read_bytes()

    expected = sound("--no-cache")
    for _ in range(2):
        assert sound("--cache", tmp_path / "cache") == expected
        assert len(list((tmp_path / "cache").iterdir())) == 4


def test_nothing_is_kept_on_a_device(arm):
    assert native_runner(PLACES["qemu"], silent).words[-1] == "--no-cache"


# What is broken


def edge_run(folder: Path, *options: object, cpu: str = "max") -> subprocess.CompletedProcess[str]:
    """The runner by itself: nothing here looks at the bundle first."""
    runner = build_runner("linux-arm64").folder
    start = [*command(CPUS[cpu]), runner / "ld-linux-aarch64.so.1", "--library-path", runner, runner / "edge-run"]
    argv = [*map(str, start), "--bundle", str(folder), *map(str, options)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def refused(folder: Path, out: Path) -> str:
    """The one line with which the runner refuses a bundle."""
    done = edge_run(folder, *REQUEST, "--out", out)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert (done.returncode, line.startswith("edge-run: error: ")) == (4, True)
    assert not out.exists()
    return line


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_one_byte_is_noticed_by_runner_and_compare(edge_export, copy_of, played, tmp_path):
    folder = copy_of(FOLDER / "int8-dynamic" / "bundle")
    _, record = played(folder)
    for file in ("conditioner.pte", "dit.pte", "decoder.pte", "tokenizer.json", "manifest.json"):
        middle = (folder / file).stat().st_size // 2
        flip(folder / file, middle)
        assert file in refused(folder, tmp_path / "no.wav")
        done = edge_export("compare", record, folder)
        assert (done.code, file in done.error) == (4, True)
        flip(folder / file, middle)


def test_a_truncated_program_is_noticed_by_the_runner(copy_of, arm, tmp_path):
    folder = copy_of(FOLDER / "int8-dynamic" / "bundle")
    path = folder / "dit.pte"
    path.write_bytes(path.read_bytes()[:-100])
    assert "dit.pte" in refused(folder, tmp_path / "no.wav")


def test_a_sigma_or_a_swap_is_noticed_by_the_seal(copy_of, arm, tmp_path):
    folder = copy_of(FOLDER / "int8-dynamic" / "bundle")
    path = folder / "manifest.json"
    text = path.read_text()
    sigma = str(load_manifest(folder).generation.sampler.sigmas[1])
    assert sigma in text
    for altered in (
        text.replace(sigma, sigma[:-1] + ("1" if sigma[-1] != "1" else "2")),
        text.replace('"cross_k"', '"cross_x"').replace('"cross_v"', '"cross_k"').replace('"cross_x"', '"cross_v"'),
    ):
        assert altered != text
        path.write_text(altered)
        assert "seal" in refused(folder, tmp_path / "no.wav")


def test_a_sigma_under_a_true_seal_is_noticed_by_the_runner(copy_of, reseal, arm, tmp_path):
    folder = copy_of(FOLDER / "int8-dynamic" / "bundle")
    sigma = load_manifest(folder).generation.sampler.sigmas[1]
    reseal(folder)
    path = folder / "manifest.json"
    assert edge_run(folder, *REQUEST, "--out", tmp_path / "yes.wav").returncode == 0
    text = path.read_text()
    path.write_text(sealed_anew(text.replace(str(sigma), str(sigma * 0.999))))
    assert "sigmas" in refused(folder, tmp_path / "no.wav")


def sealed_anew(text: str) -> str:
    from runtime_py.manifest import sealed

    return sealed(json.dumps({**json.loads(text), "seal": ""}))


@pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic"])
def test_inputs_swapped_under_a_true_seal_are_noticed_by_golden_replay(
    edge_export, copy_of, swap_inputs, played, recipe
):
    folder = copy_of(FOLDER / recipe / "bundle")
    swap_inputs(folder)
    _, record = played(folder, "max", "--golden")
    done = edge_export("compare", record, folder)
    assert (done.code, "dit velocity" in done.error, "conditioner" in done.error) == (5, True, False)


def test_one_weight_under_a_true_hash_is_noticed_by_golden_replay(edge_export, copy_of, change_weight, played):
    folder = copy_of(FOLDER / "fp32" / "bundle")
    change_weight(folder, "decoder")
    _, record = played(folder, "max", "--golden")
    done = edge_export("compare", record, folder)
    assert (done.code, "decoder audio" in done.error, "dit" in done.error) == (5, True, False)
