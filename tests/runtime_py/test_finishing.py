"""A sound's last touches: formulas, bounds, and what stays as it was."""

import numpy as np
import pytest

from runtime_py.finishing import UNTOUCHED, Finishing, finished

RATE = 44_100
FADED = 220  # 0.005 * 44 100 = 220.5, half to even


def ones(samples: int, value: float = 0.5) -> np.ndarray:
    return np.full((2, samples), value, np.float32)


def test_the_end_of_a_cut_clip_falls_to_silence():
    made = finished(ones(1000), RATE, Finishing(), cut=True)
    expected = (0.5 * (np.arange(FADED - 1, -1, -1) / FADED)).astype(np.float32)
    assert made.dtype == np.float32
    assert np.array_equal(made[:, :-FADED], ones(1000 - FADED))
    assert np.array_equal(made[:, -FADED:], np.stack([expected, expected]))
    assert not made[:, -1].any()


@pytest.mark.parametrize(("finishing", "cut"), [(Finishing(), False), (UNTOUCHED, True)])
def test_a_whole_clip_or_one_that_is_not_to_be_faded_stays(finishing, cut):
    audio = ones(1000)
    made = finished(audio, RATE, finishing, cut=cut)
    assert np.array_equal(made, audio)
    assert made is not audio and not np.shares_memory(made, audio)


@pytest.mark.parametrize("samples", [0, 1, 2, 219])
def test_a_clip_shorter_than_the_fade_is_all_fade(samples):
    audio = ones(samples)
    made = finished(audio, RATE, Finishing(), cut=True)
    assert np.array_equal(made[0], [np.float32(0.5 * ((samples - 1 - k) / samples)) for k in range(samples)])
    assert np.array_equal(audio, ones(samples))


@pytest.mark.parametrize("value", [0.001, -0.5, 3.0, np.float32(1e-45)])
def test_the_peak_comes_to_one_decibel_below_full_scale(value):
    audio = np.array([[value, 0.0, value / 3]], np.float32)
    made = finished(audio, RATE, Finishing(normalize=True), cut=False)
    assert np.abs(made).max() == np.float32(10 ** (-1 / 20))
    assert np.sign(made[0, 0]) == np.sign(np.float32(value))


def test_silence_stays_silence():
    assert not finished(ones(10, 0.0), RATE, Finishing(normalize=True), cut=True).any()


def test_the_level_is_taken_after_the_fade():
    audio = np.array([[0.25, 1.0]], np.float32)
    made = finished(audio, RATE, Finishing(normalize=True), cut=True)
    assert made.tolist() == [[float(np.float32(0.8912509381337456)), 0.0]]
