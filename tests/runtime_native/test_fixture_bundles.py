"""The tiny bundles that runtimes of all languages read: edge-run gives what Python gives here, byte for byte."""

from pathlib import Path

import pytest

from runtime_py import load
from runtime_py.audio import read_wav
from runtime_py.bundle import open_bundle
from runtime_py.metrics import snr_db
from tests.fixtures.make_bundles import FOLDER, RECIPES, REQUEST, WAV
from tests.runtime_native.conftest import Runner


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_gives_pythons_bytes_and_the_committed_sound(edge_run: Runner, recipe: str, tmp_path: Path) -> None:
    folder, made, ours = FOLDER / recipe / "bundle", tmp_path / "native.wav", tmp_path / "python.wav"
    words = ["--prompt", REQUEST.prompt, "--seconds", REQUEST.seconds, "--seed", REQUEST.seed, "--steps", REQUEST.steps]
    done = edge_run("--bundle", folder, *words, "--threads", 1, "--float", "--no-fade", "--out", made)
    assert done.returncode == 0, done.stderr
    with load(folder, threads=1) as generator:
        generator.generate(REQUEST).save(ours, float32=True, fade=False)
    assert made.read_bytes() == ours.read_bytes()
    thresholds = open_bundle(folder).manifest.recipe.thresholds
    expected, _ = read_wav(FOLDER / recipe / WAV)
    assert snr_db(expected, read_wav(made)[0]) >= (100.0 if recipe == "fp32" else min(thresholds.values()))
