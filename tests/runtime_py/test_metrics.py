"""Each metric against numbers worked out by hand."""

import math
from functools import partial

import numpy as np
import pytest

from runtime_py.metrics import BANDS, WINDOW, log_mel, log_mel_distance, max_error, mel_filters, snr_db

RATE = 44_100
ONES = np.ones((2, 50), np.float32)


def sine(hz: float, amplitude: float = 1.0, samples: int = WINDOW) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz / RATE * np.arange(samples)))[None].astype(np.float32)


@pytest.mark.parametrize(
    ("reference", "actual", "wanted"),
    [
        ([3, 4], [3, 4.5], 20.0),  # 25 / 0.25
        ([1, 1], [1.1, 0.9], 20.0),  # 2 / 0.02
        ([1, 0], [0, 0], 0.0),
        ([1, 0], [0, 3], -10.0),  # 1 / 10
        ([1, -1], [-1, 1], 10 * math.log10(1 / 4)),
    ],
)
def test_snr_is_signal_over_noise_in_decibels(reference, actual, wanted):
    assert snr_db(np.array(reference, np.float64), np.array(actual, np.float64)) == pytest.approx(wanted, abs=1e-9)


def test_snr_is_measured_against_the_reference():
    small, large = np.full(4, 1.0, np.float32), np.full(4, 2.0, np.float32)
    assert snr_db(small, large) == pytest.approx(0)
    assert snr_db(large, small) == pytest.approx(10 * math.log10(4))


def test_snr_of_equal_arrays_is_infinite_even_in_silence():
    assert snr_db(ONES, ONES.copy()) == snr_db(0 * ONES, 0 * ONES) == math.inf


def test_snr_against_silence_is_the_worst():
    assert snr_db(0 * ONES, ONES) == -math.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_the_worst(bad):
    broken = ONES.copy()
    broken[1, 3] = bad
    for reference, actual in ((ONES, broken), (broken, ONES), (broken, broken)):
        assert snr_db(reference, actual) == -math.inf
        assert math.isnan(max_error(reference, actual))


def test_snr_of_huge_float32_and_of_float16_does_not_overflow():
    assert snr_db(1e30 * ONES, 0.9e30 * ONES) == pytest.approx(20, abs=1e-4)
    assert snr_db(np.full(9, 6e4, np.float16), np.full(9, 5.4e4, np.float16)) == pytest.approx(20, abs=0.1)


def test_max_error_is_the_largest_difference_of_either_sign():
    assert max_error(np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 0.0])) == 3
    assert max_error(np.array([-1.0, 5.0]), np.array([1.0, 5.0])) == 2
    assert max_error(ONES, ONES) == 0


def test_max_error_of_integers_does_not_wrap_round():
    assert max_error(np.array([-120], np.int8), np.array([120], np.int8)) == 240


def test_nothing_is_compared_with_nothing():
    empty = np.zeros((1, 0), np.float32)
    assert max_error(empty, empty) == 0 and snr_db(empty, empty) == math.inf


@pytest.mark.parametrize("measure", [snr_db, max_error, partial(log_mel_distance, sample_rate=RATE)])
def test_arrays_of_two_shapes_are_never_compared(measure):
    with pytest.raises(ValueError, match="cannot compare shape"):
        measure(np.ones((2, 3)), np.ones((1, 3)))


def test_a_full_scale_sine_on_a_bin_is_nought_decibels_and_half_of_it_six_less():
    hz = 200 * RATE / WINDOW  # in the middle of bin 200
    loud, half = (log_mel(sine(hz, amplitude), RATE) for amplitude in (1.0, 0.5))
    band = loud[0, 0].argmax()
    share = mel_filters(RATE)[band, 199:202] @ [0.25, 1, 0.25]  # a Hann window leaks a quarter to each side
    assert loud[0, 0, band] == pytest.approx(10 * math.log10(share), abs=1e-3)
    assert loud[0, 0, band] - half[0, 0, band] == pytest.approx(20 * math.log10(2), abs=1e-3)


@pytest.mark.parametrize("hz", [100, 440, 2000, 9000])
def test_a_sine_is_loudest_in_the_band_around_it(hz):
    lowest, highest, mel = (2595 * math.log10(1 + f / 700) for f in (30, RATE / 2, hz))
    wanted = (mel - lowest) / (highest - lowest) * (BANDS + 1) - 1  # in bands, 0 the first band's centre
    assert abs(log_mel(sine(hz), RATE)[0, 0].argmax() - wanted) < 1.5


def test_halving_the_level_is_six_decibels_in_every_band():
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 8192)).astype(np.float32)
    assert log_mel_distance(noise, noise / 2, RATE) == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert log_mel_distance(noise, noise, RATE) == 0


def test_below_a_hundred_decibels_all_is_silence():
    hz = 200 * RATE / WINDOW
    assert log_mel_distance(sine(hz, 1e-6), sine(hz, 0), RATE) == 0
    np.testing.assert_array_equal(log_mel(sine(hz, 0), RATE), -100)


def test_shape_tells_little_but_level_tells_much():
    """Noise of another seed is as far as can be by signal-to-noise ratio, and near by ear."""
    one, two = (np.random.default_rng(seed).uniform(-0.5, 0.5, (1, 65536)) for seed in (1, 2))
    assert snr_db(one, two) < 0 and log_mel_distance(one, two, RATE) < log_mel_distance(one, one / 10, RATE) / 2


@pytest.mark.parametrize(("samples", "frames"), [(0, 1), (1, 1), (2048, 1), (2049, 2), (2560, 2), (2561, 3), (4096, 5)])
def test_there_is_a_frame_for_every_512_samples_and_the_last_is_filled_up(samples, frames):
    assert log_mel(np.zeros((2, samples), np.float32), RATE).shape == (2, frames, BANDS)


@pytest.mark.parametrize("samples", [WINDOW + 1, WINDOW + 513, 2 * WINDOW])
def test_the_end_of_a_clip_counts(samples):
    silence = np.zeros((1, samples), np.float32)
    click = silence.copy()
    click[:, max(WINDOW, samples - 256) :] = 1
    assert log_mel_distance(silence, click, RATE) > 1


def test_a_distance_from_no_number_is_no_number():
    broken = sine(440)
    broken[0, 100] = np.nan
    assert math.isnan(log_mel_distance(sine(440), broken, RATE))


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_the_filters_are_triangles_with_one_peak(rate):
    filters = mel_filters(rate)
    assert filters.shape == (BANDS, WINDOW // 2 + 1)
    assert filters.min() == 0 and filters.max() <= 1
    assert (np.diff(filters.argmax(axis=1)[10:]) > 0).all()
    wide = filters[-1]  # many bins: its peak is sampled closely
    assert wide.max() > 0.97 and (np.diff(np.sign(np.diff(wide[wide > 0]))) != 0).sum() == 1
