"""The runtime replays the golden fixtures, which hold for the runtimes in every language."""

import base64
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from runtime_py.audio import wav_bytes
from runtime_py.random import TorchRandom
from runtime_py.sampler import SAMPLERS
from runtime_py.tokenizer import Tokenizer, load_tokenizer

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


def read(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def each(name: str, label: str):
    """One test for each case of a fixture."""
    cases = read(name)["cases"]
    return pytest.mark.parametrize(
        "case", cases, ids=[f"{index}-{str(case[label])[:20]!a}" for index, case in enumerate(cases)]
    )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(GOLDEN / read("tokenizer")["model"])


@each("tokenizer", "text")
def test_text_becomes_sentencepieces_ids(tokenizer, case):
    assert tokenizer.encode(case["text"]) == case["ids"]


@each("noise", "seed")
def test_a_seed_becomes_torchs_noise(case):
    source, tolerance = TorchRandom(case["seed"]), read("noise")["tolerance"]
    for draw in case["draws"]:
        made = source.randn(*draw["shape"]).flatten()
        assert len(made) == math.prod(draw["shape"]) and len(draw["first"]) == len(draw["last"]) == min(8, len(made))
        np.testing.assert_allclose(made[:8], draw["first"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(made[-8:], draw["last"], rtol=0, atol=tolerance)
        assert hashlib.sha256(made.astype("<f4").tobytes()).hexdigest() == draw["sha256"]


@each("sigmas", "steps")
def test_steps_become_torchs_sigmas(case):
    fixture = read("sigmas")
    low, high = fixture["logsnr"]
    made = SAMPLERS["pingpong"].sigmas(case["steps"], {"logsnr_low": low, "logsnr_high": high})
    np.testing.assert_allclose(made, case["sigmas"], rtol=0, atol=fixture["tolerance"])


@each("wav", "float32")
def test_audio_becomes_exactly_these_bytes(case):
    audio = np.array(case["audio"], np.float32).reshape(len(case["audio"]), -1)
    assert wav_bytes(audio, case["sample_rate"], float32=case["float32"]) == base64.b64decode(case["wav"])
