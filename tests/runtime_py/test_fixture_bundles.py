"""The tiny bundles that runtimes of all languages read: they open, prove themselves, and give the committed sound."""

from pathlib import Path

import numpy as np
import pytest

from edge_export.verify import verify
from runtime_py import load
from runtime_py.audio import read_wav
from runtime_py.bundle import open_bundle
from runtime_py.metrics import snr_db
from tests.fixtures.make_bundles import FOLDER, RECIPES, REQUEST, WAV

pytestmark = pytest.mark.slow

SAME_ARITHMETIC_DB = 100.0
each = pytest.mark.parametrize("recipe", RECIPES)


@each
def test_it_is_small_and_of_this_contract(recipe: str) -> None:
    bundle = open_bundle(FOLDER / recipe / "bundle", check=True)
    assert bundle.manifest.recipe.name == recipe
    assert [notice.file for notice in bundle.manifest.notices] == ["LICENSE"]
    assert bundle.manifest.generation.window < bundle.manifest.generation.latent.length
    assert sum(file.bytes for file in bundle.manifest.files) < 3e6


@each
def test_it_proves_itself(recipe: str) -> None:
    assert all(check.passed for check in verify(open_bundle(FOLDER / recipe / "bundle")))


@each
def test_it_gives_the_committed_sound(recipe: str, tmp_path: Path) -> None:
    """To the order of sums in fp32; in int8 as near as its recipe asks of its least exact program."""
    with load(FOLDER / recipe / "bundle") as generator:
        clip = generator.generate(REQUEST)
        again = generator.generate(REQUEST)
    assert np.array_equal(clip.audio, again.audio)
    expected, _ = read_wav(FOLDER / recipe / WAV)
    thresholds = open_bundle(FOLDER / recipe / "bundle").manifest.recipe.thresholds
    needed = SAME_ARITHMETIC_DB if recipe == "fp32" else min(thresholds.values())
    assert snr_db(expected, clip.audio) >= needed
