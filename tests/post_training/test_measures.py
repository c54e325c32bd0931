"""Measures held against cases worked out by hand, and against sounds whose facts are known."""

import math

import numpy as np
import pytest

from post_training import measures
from post_training.measures import Features, Gaussian, Trait

RATE = 44100


def sine(hertz: float, seconds: float = 2.0, level: float = 0.5) -> np.ndarray:
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([wave, wave]).astype(np.float32)


def clicks(bpm: float, seconds: float = 7.0) -> np.ndarray:
    """Short noise bursts, one each beat."""
    audio = np.zeros((2, round(seconds * RATE)), np.float32)
    burst = np.random.default_rng(0).standard_normal(2000) * np.exp(-np.arange(2000) / 300)
    for beat in np.arange(0.1, seconds - 0.1, 60 / bpm):
        start = round(beat * RATE)
        audio[:, start : start + 2000] += 0.3 * burst.astype(np.float32)
    return audio


def features_of(audio: np.ndarray) -> Features:
    return measures.features(audio, measures.spectrum_of(audio, RATE))


def test_a_full_scale_sine_has_power_one_in_its_bin():
    bin_hertz = RATE / measures.WINDOW
    power = measures.spectrum_of(sine(40 * bin_hertz, level=1.0), RATE).power
    assert power.shape[0] == 2 and power.shape[2] == 1025
    assert power[0, 5].argmax() == 40
    assert power[0, 5, 40] == pytest.approx(1.0, rel=1e-3)


def test_log_mel_is_the_runtimes_formula():
    from runtime_py.metrics import log_mel

    audio = clicks(120, 1.0)
    ours = measures.log_mel(measures.spectrum_of(audio, RATE))
    assert np.abs(ours - log_mel(audio[:1], RATE)[0]).max() < 0.01


@pytest.mark.parametrize("hertz", [440.0, 3520.0])
def test_the_centroid_and_the_pitch_of_a_sine_are_its_frequency(hertz):
    found = features_of(sine(hertz))
    assert found.brightness == pytest.approx(math.log2(hertz), abs=0.15)
    assert found.pitch == pytest.approx(math.log2(hertz), abs=0.05)


def test_balance_is_the_ratio_of_powers():
    audio = sine(440)
    audio[0] *= 0.1  # a hundredth of the power
    assert features_of(audio).balance == pytest.approx(20.0, abs=1e-3)
    assert features_of(sine(440)).balance == pytest.approx(0.0, abs=1e-6)
    assert features_of(sine(440)[:1]).balance == 0.0


def test_width_is_one_less_the_correlation():
    audio = sine(441)
    assert features_of(audio).width == pytest.approx(0.0, abs=1e-6)
    assert features_of(audio * np.array([[1], [-1]], np.float32)).width == pytest.approx(2.0, abs=1e-6)


def test_duration_counts_what_is_loud():
    audio = np.concatenate([sine(440, 1.5), np.zeros((2, 3 * RATE), np.float32)], axis=1)
    assert features_of(audio).duration == pytest.approx(1.5, abs=0.06)


def test_a_longer_decay_lasts_longer():
    time = np.arange(4 * RATE) / RATE
    # exp(-t / tau) falls by 20 dB in ln(10) tau
    found = [features_of((sine(440, 4.0) * np.exp(-time / tau)).astype(np.float32)).duration for tau in (0.2, 0.6)]
    assert found == [pytest.approx(0.2 * math.log(10), abs=0.06), pytest.approx(0.6 * math.log(10), abs=0.06)]


def test_silence_between_sounds_is_not_counted():
    burst, gap = sine(440, 0.5), np.zeros((2, RATE), np.float32)
    assert features_of(np.concatenate([burst, gap, burst], axis=1)).duration == pytest.approx(1.0, abs=0.1)


def test_onsets_are_counted():
    envelope = np.zeros(100)
    envelope[[10, 30, 31, 60]] = [1.0, 0.9, 0.5, 0.1]  # 31 is too near, 60 too low
    assert measures.onsets(envelope) == 2
    assert measures.onsets(np.zeros(10)) == 0


def test_pace_is_onsets_per_second_of_the_clip():
    assert features_of(clicks(120, 4.0)).pace == pytest.approx(8 / 4, rel=0.05)


def test_silence_has_no_features_but_numbers():
    found = features_of(np.zeros((2, RATE), np.float32))
    assert (found.brightness, found.duration, found.pace, found.balance) == (0, 0, 0, 0)
    assert found.loudness == measures.FLOOR_DB


@pytest.mark.parametrize("bpm", [72.0, 96.0, 120.0, 143.0])
def test_the_tempo_of_clicks(bpm):
    spectrum = measures.spectrum_of(clicks(bpm), RATE)
    found = measures.tempo(measures.onset_envelope(spectrum), spectrum.frame_seconds)
    assert measures.tempo_matches(found, bpm), found
    assert min(abs(found / bpm - ratio) for ratio in measures.OCTAVES) < 0.02
    assert not measures.tempo_matches(found, bpm * 1.25)


def test_what_does_not_repeat_has_no_tempo():
    assert measures.tempo(np.zeros(600), 0.0116) == 0.0
    assert measures.tempo(np.ones(5), 0.0116) == 0.0


def test_tempo_by_hand():
    envelope = np.zeros(640)
    envelope[::50] = 1.0  # every half second, at 100 frames a second
    assert measures.tempo(envelope, 0.01) == pytest.approx(120, rel=0.01)


def test_four_percent_is_the_limit_and_octaves_count():
    assert measures.tempo_matches(124.7, 120) and not measures.tempo_matches(125, 120)
    assert measures.tempo_matches(60, 120) and measures.tempo_matches(480, 120)
    assert measures.tempo_matches(30, 120) and not measures.tempo_matches(40, 120)
    assert not measures.tempo_matches(90, 120) and not measures.tempo_matches(0, 120)


def test_the_chroma_of_a_sine_is_its_note():
    classes = measures.chroma(sine(440.0), RATE)
    assert classes.sum() == pytest.approx(1.0)
    assert measures.note_matches(classes, "A") and not measures.note_matches(classes, "A#")
    assert classes[9] > 0.95


def test_the_chroma_of_a_low_note_falls_into_the_right_class():
    for semitone in range(12):
        classes = measures.chroma(sine(65.406 * 2 ** (semitone / 12)), RATE)
        assert int(classes.argmax()) == semitone


def notes(*played: int) -> np.ndarray:
    classes = np.zeros(12)
    classes[list(played)] = 1 / len(played)
    return classes


def test_the_scale_that_holds_all_notes():
    held = measures.scales(notes(0, 2, 4, 5, 7, 9, 11))
    assert held[0] == pytest.approx(1.0)
    assert held[7] == held[5] == pytest.approx(6 / 7)  # a fifth up has F# for F, a fifth down Bb for B
    assert held.argmax() == 0 and held[6] == pytest.approx(2 / 7)


def test_a_key_matches_itself_and_its_relative_only():
    classes = notes(0, 2, 4, 5, 7, 9, 11)
    assert measures.key_matches(classes, "A minor") and measures.key_matches(classes, "C major")
    assert not measures.key_matches(classes, "A major") and not measures.key_matches(classes, "E minor")
    assert not measures.key_matches(np.zeros(12), "A minor")


def test_every_key_is_known_by_its_notes():
    for tonic, name in enumerate(measures.PITCHES):
        for mode, steps in (("major", (0, 2, 4, 5, 7, 9, 11)), ("minor", (0, 2, 3, 5, 7, 8, 10))):
            classes = notes(*((tonic + step) % 12 for step in steps))
            matching = [other for other in measures.PITCHES if measures.key_matches(classes, f"{other} {mode}")]
            assert matching == [name]


def test_a_note_out_of_the_scale_may_be_faint():
    classes = 0.98 * notes(0, 2, 4, 5, 7, 9, 11) + 0.02 * notes(6)
    assert measures.key_matches(classes, "C major")
    # With F as loud as F sharp, C major and G major hold as much.
    classes = notes(0, 2, 4, 5, 6, 7, 9, 11)
    assert measures.key_matches(classes, "C major") and measures.key_matches(classes, "G major")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("A minor", (9, True)),
        ("f# Major", (6, False)),
        ("Bbm", (10, True)),
        ("C", (0, False)),
        ("Eb major", (3, False)),
    ],
)
def test_names_of_keys(name, key):
    assert measures.parse_key(name) == key


@pytest.mark.parametrize("name", ["", "H minor", "A lydian", "A b c"])
def test_what_is_no_key(name):
    with pytest.raises(ValueError, match="is no"):
        measures.parse_key(name)


def test_notes_with_octaves():
    assert [measures.pitch_class(name) for name in ("C4", "Db3", "a", "G#-1", "B")] == [0, 1, 9, 8, 11]


def test_adjectives_are_held_against_the_median_or_a_fixed_middle():
    found = Features(brightness=10.0, balance=-3.0, duration=2.0, pace=4.0, loudness=-20.0, pitch=9.0, width=0.1)
    medians = {"brightness": 9.5, "balance": -6.0, "duration": 2.0}
    assert measures.adjective_holds(measures.TRAITS["bright"], found, medians)
    assert not measures.adjective_holds(measures.TRAITS["dark"], found, medians)
    assert measures.adjective_holds(measures.TRAITS["left"], found, medians)  # the middle is 0, not the median
    assert not measures.adjective_holds(measures.TRAITS["right"], found, medians)
    assert not measures.adjective_holds(measures.TRAITS["long"], found, medians)  # the median itself is neither
    assert not measures.adjective_holds(Trait(feature="brightness", up=True, least=0.5), found, medians)


def test_the_frechet_distance_of_diagonal_gaussians():
    # (3 - 0)^2 + (4 - 0)^2 + sum (sqrt a - sqrt b)^2 = 25 + (2 - 1)^2 + (3 - 5)^2
    one = Gaussian(mean=np.zeros(2), covariance=np.diag([4.0, 9.0]))
    other = Gaussian(mean=np.array([3.0, 4.0]), covariance=np.diag([1.0, 25.0]))
    assert measures.frechet(one, other) == pytest.approx(30.0)
    assert measures.frechet(other, one) == pytest.approx(30.0)


def test_the_frechet_distance_of_covariances_that_do_not_commute():
    one = np.array([[2.0, 1.0], [1.0, 2.0]])
    other = np.diag([1.0, 4.0])
    # tr (AB)^(1/2) of 2 x 2: sqrt(tr AB + 2 sqrt(det AB)) = sqrt(10 + 2 sqrt 12)
    expected = 4 + 5 - 2 * math.sqrt(10 + 2 * math.sqrt(12))
    mean = np.zeros(2)
    assert measures.frechet(
        Gaussian(mean=mean, covariance=one), Gaussian(mean=mean, covariance=other)
    ) == pytest.approx(expected)


def test_fewer_clips_than_dimensions_make_no_nan():
    random = np.random.default_rng(0)
    few, many = (measures.gaussian(random.standard_normal((count, 64))) for count in (3, 500))
    assert measures.frechet(few, few) == pytest.approx(0.0, abs=1e-9)
    assert 0 < measures.frechet(few, many) < 200


def test_a_gaussian_is_mean_and_covariance():
    made = measures.gaussian(np.array([[0.0, 0.0], [2.0, 4.0]]))
    assert made.mean.tolist() == [1.0, 2.0]
    assert made.covariance.tolist() == [[2.0, 4.0], [4.0, 8.0]]
    with pytest.raises(ValueError, match="two embeddings"):
        measures.gaussian(np.zeros((1, 2)))


def test_diversity_is_the_mean_distance_of_pairs():
    assert measures.diversity(np.array([[1.0, 0.0], [0.0, 2.0]])) == pytest.approx(1.0)
    assert measures.diversity(np.array([[1.0, 0.0], [5.0, 0.0]])) == pytest.approx(0.0)
    # pairs at 90, 90 and 180 degrees: (1 + 1 + 2) / 3
    assert measures.diversity(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])) == pytest.approx(4 / 3)
    assert measures.diversity(np.ones((1, 3))) == 0.0


def test_si_sdr_by_hand():
    real = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    # a = 1 / 2; the kept part has power 1/2, the error 1/2
    assert measures.si_sdr_db(real, np.array([[1.0, 0.0], [0.0, 0.0]])) == pytest.approx(0.0, abs=1e-9)
    assert measures.si_sdr_db(real, -3 * real) > 200
    assert measures.si_sdr_db(real, np.zeros((2, 2))) == pytest.approx(0.0)
    assert measures.si_sdr_db(real, np.array([[0.0, 1.0], [1.0, 0.0]])) < -200
