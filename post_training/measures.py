"""What can be said of a clip and of many clips: tempo, key, adjectives, Frechet distance, diversity.

Plain signal processing and linear algebra in numpy. It knows neither how a clip was made nor who judges its kind.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from runtime_py.metrics import mel_filters

WINDOW, HOP = 2048, 512
CHROMA_WINDOW, CHROMA_HOP = 8192, 4096
CHROMA_HZ = (55.0, 2000.0)
FLOOR_DB = -100.0
SILENCE = 1e-12
ACTIVE_DB = 40.0
FULL_DB = 20.0
ONSET_SHARE = 0.2
TEMPO_RANGE = (60.0, 200.0)
TEMPO_STEP = 0.0025  # of a tempo, from one candidate to the next
TEMPO_TOLERANCE = 0.04
LEVELS = (1, 2, 4)  # beats, eighths and sixteenths; or beats, half bars and bars
OCTAVES = (1.0, 2.0, 0.5, 4.0, 0.25)
KEY_MARGIN = 0.03
SIDE_DB = 2.0

PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLATS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#", "Cb": "B", "Fb": "E", "E#": "F", "B#": "C"}
SCALE = (0, 2, 4, 5, 7, 9, 11)  # a major key's pitch classes from its tonic up


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Power of a clip: float32 [channels, frames, bins], a full-scale sine 1 in its bin; frames every HOP samples."""

    power: np.ndarray
    rate: int

    @property
    def frame_seconds(self) -> float:
        return HOP / self.rate

    @property
    def mono(self) -> np.ndarray:
        """The channels' mean power, [frames, bins]."""
        return self.power.mean(axis=0)


@dataclass(frozen=True, kw_only=True)
class Features:
    """What adjectives are judged by.

    brightness: octaves, log2 of the spectral centroid in Hz.
    balance: dB, the right channel's power over the left's; 0 for mono.
    duration: seconds in frames within 20 dB of the loudest, the silence between them not counted.
    pace: onsets per second of the clip.
    loudness: dB of full scale, the mean power of the frames within 40 dB of the loudest.
    pitch: octaves, log2 of the strongest bin's frequency in Hz.
    width: 1 less the correlation of the two channels: 0 for mono, 1 for strangers, 2 for opposites.
    """

    brightness: float
    balance: float
    duration: float
    pace: float
    loudness: float
    pitch: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Trait:
    """An adjective: which feature it moves, and which way. `least` is how far from the middle, in the feature's unit.

    The middle is the median of the clip's kind, or `middle` where that is a number.
    """

    feature: str
    up: bool
    least: float = 0.0
    middle: float | None = None


TRAITS: dict[str, Trait] = {
    "bright": Trait(feature="brightness", up=True),
    "dark": Trait(feature="brightness", up=False),
    "left": Trait(feature="balance", up=False, least=SIDE_DB, middle=0.0),
    "right": Trait(feature="balance", up=True, least=SIDE_DB, middle=0.0),
    "long": Trait(feature="duration", up=True),
    "short": Trait(feature="duration", up=False),
    "fast": Trait(feature="pace", up=True),
    "slow": Trait(feature="pace", up=False),
    "single": Trait(feature="pace", up=False),
    # A hall fills the gaps between sounds, and where there is none they stay empty.
    "reverberant": Trait(feature="duration", up=True),
    "dry": Trait(feature="duration", up=False),
    "loud": Trait(feature="loudness", up=True),
    "quiet": Trait(feature="loudness", up=False),
    "high": Trait(feature="pitch", up=True),
    "low": Trait(feature="pitch", up=False),
    "wide": Trait(feature="width", up=True),
    "narrow": Trait(feature="width", up=False),
}


def spectrum_of(audio: np.ndarray, rate: int) -> Spectrum:
    """The power spectrogram of audio [channels, samples]: Hann windows of 2048 every 512; zeros fill the last one."""
    return Spectrum(power=_power(audio, WINDOW, HOP), rate=rate)


def _power(audio: np.ndarray, window: int, hop: int) -> np.ndarray:
    """[channels, frames, bins], in float32."""
    import torch

    frames = 1 + -(-max(0, audio.shape[1] - window) // hop)
    padded = np.pad(audio.astype(np.float32), ((0, 0), (0, window + hop * (frames - 1) - audio.shape[1])))
    hann = torch.hann_window(window)
    made = torch.stft(torch.from_numpy(padded), window, hop, window=hann, center=False, return_complex=True)
    return np.square((made * (2 / hann.sum())).abs().numpy()).swapaxes(1, 2)


def log_mel(spectrum: Spectrum) -> np.ndarray:
    """Levels in dB of full scale, float32 [frames, 64]: the bands of `runtime_py.metrics`, channels' power averaged."""
    return _decibel(spectrum.mono @ _filters(spectrum.rate)).astype(np.float32)


@cache
def _filters(rate: int) -> np.ndarray:
    return mel_filters(rate).T.astype(np.float32)


def _decibel(power: np.ndarray) -> np.ndarray:
    return np.maximum(10 * np.log10(np.maximum(power, 1e-30)), FLOOR_DB)


def features(audio: np.ndarray, spectrum: Spectrum) -> Features:
    """The features of audio [channels, samples], given its spectrum; silence is dark, short and in the middle."""
    mono = spectrum.mono
    power = mono.sum(axis=1)
    level = _decibel(power)
    full = int((level >= level.max() - FULL_DB).sum())
    duration = full * spectrum.frame_seconds if power.max() > SILENCE else 0.0
    magnitude = np.sqrt(mono).sum(axis=0, dtype=np.float64)
    hertz = np.fft.rfftfreq(WINDOW, 1 / spectrum.rate)
    centroid = float(magnitude @ hertz / magnitude.sum()) if magnitude.sum() > SILENCE else 0.0
    strongest = float(hertz[1 + int(mono.sum(axis=0)[1:].argmax())]) if duration else 0.0
    return Features(
        brightness=math.log2(max(centroid, 1.0)),
        balance=_balance(audio),
        duration=duration,
        pace=onsets(onset_envelope(spectrum)) / (len(power) * spectrum.frame_seconds),
        loudness=float(_decibel(power[level >= level.max() - ACTIVE_DB].mean())),
        pitch=math.log2(max(strongest, 1.0)),
        width=_width(audio),
    )


def _balance(audio: np.ndarray) -> float:
    if len(audio) != 2:
        return 0.0
    left, right = np.square(audio.astype(np.float64)).mean(axis=1)
    return float(10 * np.log10((right + SILENCE) / (left + SILENCE)))


def _width(audio: np.ndarray) -> float:
    if len(audio) != 2:
        return 0.0
    left, right = audio.astype(np.float64)
    norm = math.sqrt(float(np.square(left).mean() * np.square(right).mean()))
    return 1 - float((left * right).mean()) / norm if norm > SILENCE else 0.0


def si_sdr_db(real: np.ndarray, made: np.ndarray) -> float:
    """Scale-invariant SDR: 10 log10(|a s|^2 / |a s - s'|^2), a = <s', s> / |s|^2 (arXiv 1811.02508, equation 3).

    Of float32 [channels, samples] each; phases count, so that noise of the same colour is far below 0 dB.
    """
    real, made = real.astype(np.float64).ravel(), made.astype(np.float64).ravel()
    tiny = 1e-30
    kept = real * (made @ real) / max(float(real @ real), tiny)
    error = kept - made
    return float(10 * np.log10(max(float(kept @ kept), tiny) / max(float(error @ error), tiny)))


def onset_envelope(spectrum: Spectrum) -> np.ndarray:
    """How much louder each frame is than the one before it, in dB over all bands, float64 [frames].

    The half-wave rectified difference of log-mel levels (Boeck and Widmer, DAFx 2013, without the vibrato filter),
    of levels within 60 dB of the loudest: what is below is noise.
    """
    levels = log_mel(spectrum).astype(np.float64)
    levels = np.maximum(levels, levels.max() - 60)
    return np.concatenate([[0.0], np.maximum(np.diff(levels, axis=0), 0).mean(axis=1)])


def onsets(envelope: np.ndarray) -> int:
    """The peaks of an onset envelope that reach a fifth of its highest, three frames apart at least."""
    if envelope.max() <= 0:
        return 0
    around = np.lib.stride_tricks.sliding_window_view(np.pad(envelope, 3), 7).max(axis=1)
    return int(((envelope == around) & (envelope >= ONSET_SHARE * envelope.max())).sum())


def tempo(envelope: np.ndarray, frame_seconds: float) -> float:
    """Beats a minute, 60 to 200, by the periodicity of an onset envelope; 0 when nothing repeats.

    For each tempo f the sum of the autocorrelation at 1, 2 and 4 beats, times the sum of the Fourier transform's
    magnitude at f, 2 f and 4 f, of the envelope less its mean: where the one takes multiples of the beat for it, the
    other takes fractions, and the product neither (Peeters, EURASIP J. Advances in Signal Processing 2007, section
    2.2, of the combined function).
    """
    centred = envelope - envelope.mean()
    if len(centred) < 4 or not np.any(centred):
        return 0.0
    low, high = TEMPO_RANGE
    candidates = np.exp(np.arange(math.log(low), math.log(high), TEMPO_STEP))
    size = 2 * len(centred)
    correlation = np.fft.irfft(np.square(np.abs(np.fft.rfft(centred, size))), size)[: len(centred)]
    beat = 60 / candidates / frame_seconds  # in frames
    lags = np.arange(len(centred))
    repeats = sum(np.interp(level * beat, lags, correlation, right=0).clip(min=0) for level in LEVELS)
    waves = sum(np.abs(np.exp(-2j * np.pi * level * np.outer(1 / beat, lags)) @ centred) for level in LEVELS)
    score = repeats * waves
    return float(candidates[int(np.argmax(score))]) if np.max(score) > 0 else 0.0


def tempo_matches(found: float, stated: float) -> bool:
    """Whether a tempo is the stated one to 4 %, or half, double, a quarter or four times of it.

    "Accuracy 2" of Gouyon et al., IEEE TASLP 14 (2006): which of these is the beat, periodicity cannot know.
    """
    return any(abs(found - stated * factor) <= TEMPO_TOLERANCE * stated * factor for factor in OCTAVES)


def chroma(audio: np.ndarray, rate: int) -> np.ndarray:
    """Energy of the twelve pitch classes from C up, float64 [12], sum 1 (zeros for silence).

    Peaks of spectra of 8192 samples between 55 and 2000 Hz, each bin's magnitude given to the nearest equally
    tempered pitch at A = 440 Hz; a bin that is less than its neighbours is no peak and counts nothing.
    """
    magnitude = np.sqrt(_power(audio, CHROMA_WINDOW, CHROMA_HOP).mean(axis=0))
    inner = magnitude[:, 1:-1]
    peaks = np.where((inner >= magnitude[:, :-2]) & (inner >= magnitude[:, 2:]), inner, 0)
    bins = np.fft.rfftfreq(CHROMA_WINDOW, 1 / rate)[1:-1]
    # The lobe of a sine spans four bins: where it peaks between them, a parabola through the logarithms finds it.
    log = np.log(np.maximum(magnitude, 1e-15))
    bend = log[:, :-2] - 2 * log[:, 1:-1] + log[:, 2:]
    shift = np.where(bend < 0, 0.5 * (log[:, :-2] - log[:, 2:]) / np.where(bend < 0, bend, 1), 0)
    hertz = bins + np.clip(shift, -0.5, 0.5) * rate / CHROMA_WINDOW
    audible = (hertz >= CHROMA_HZ[0]) & (hertz <= CHROMA_HZ[1])
    pitch = np.rint(12 * np.log2(np.maximum(hertz, 1) / 440) + 9).astype(int) % 12
    energy = np.bincount(pitch[audible], peaks[audible].astype(np.float64), minlength=12)
    total = energy.sum()
    return energy / total if total > SILENCE else energy


def pitch_class(name: str) -> int:
    """0 to 11 from C for a note such as "F#", "Bb", "a" or "A4"; ValueError for anything else."""
    letter = name.strip().rstrip("-0123456789")
    letter = letter[:1].upper() + letter[1:].replace("♯", "#").replace("♭", "b")
    letter = FLATS.get(letter, letter)
    if letter not in PITCHES:
        raise ValueError(f"{name!r} is no note")
    return PITCHES.index(letter)


def parse_key(name: str) -> tuple[int, bool]:
    """(tonic 0 to 11, whether minor) of "A minor", "F# major", "Am" or "C"; ValueError for anything else."""
    words = name.split()
    if len(words) == 1 and words[0].endswith("m"):
        words = [words[0][:-1], "minor"]
    modes = {"major": False, "minor": True}
    if not 1 <= len(words) <= 2 or (len(words) == 2 and words[1].lower() not in modes):
        raise ValueError(f"{name!r} is no key")
    return pitch_class(words[0]), len(words) == 2 and modes[words[1].lower()]


def scales(classes: np.ndarray) -> np.ndarray:
    """Energy of `classes` [12] in each major scale, by its tonic: float64 [12]."""
    return np.array([classes[[(tonic + step) % 12 for step in SCALE]].sum() for tonic in range(12)])


def key_matches(classes: np.ndarray, stated: str) -> bool:
    """Whether the stated key's scale holds as much of the energy as any other does, to 3 % of all.

    A key and its relative have the same notes, and count as one. Profiles of keys (Krumhansl and Kessler 1982) would
    tell them apart, but only where the tonic is stressed, which no caption promises.
    """
    if not classes.any():
        return False
    tonic, minor = parse_key(stated)
    held = scales(classes)
    return bool(held[(tonic + 3 * minor) % 12] >= held.max() - KEY_MARGIN * classes.sum())


def note_matches(classes: np.ndarray, stated: str) -> bool:
    """Whether the stated pitch class is the strongest."""
    return bool(classes.any()) and int(classes.argmax()) == pitch_class(stated)


def adjective_holds(trait: Trait, found: Features, medians: Mapping[str, float]) -> bool:
    """Whether a clip's feature lies on the trait's side of its kind's median (by feature), `least` away at least."""
    middle = medians[trait.feature] if trait.middle is None else trait.middle
    away = getattr(found, trait.feature) - middle
    return (away if trait.up else -away) > trait.least


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Mean [dim] and covariance [dim, dim] of embeddings, float64."""

    mean: np.ndarray
    covariance: np.ndarray


def gaussian(embeddings: np.ndarray) -> Gaussian:
    """The Gaussian of embeddings [clips, dim], covariance divided by clips - 1; ValueError for fewer than two."""
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise ValueError(f"a covariance needs two embeddings or more, not {embeddings.shape}")
    values = embeddings.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    return Gaussian(mean=mean, covariance=centred.T @ centred / (len(values) - 1))


def frechet(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), never below 0.

    Dowson and Landau, J. Multivariate Analysis 12 (1982); for audio embeddings arXiv 1812.08466, equation 1. The
    trace of the root is the sum of the singular values of R1 R2, R the symmetric root of C by its eigenvalues, the
    negative ones (rounding) taken as 0: no root of a product that is not symmetric, so nothing complex, and a
    covariance may be singular.
    """
    difference = one.mean - other.mean
    shared = np.linalg.svd(_root(one.covariance) @ _root(other.covariance), compute_uv=False).sum()
    apart = difference @ difference + np.trace(one.covariance) + np.trace(other.covariance) - 2 * shared
    return max(0.0, float(apart))


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def diversity(embeddings: np.ndarray) -> float:
    """Mean cosine distance, 0 to 2, of all pairs of one prompt's embeddings [seeds, dim]; 0 for one seed.

    The idea of the CLAP Conditional Diversity Score of arXiv 2505.08175, in another embedding.
    """
    count = len(embeddings)
    if count < 2:
        return 0.0
    values = embeddings.astype(np.float64)
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), SILENCE)
    similar = unit @ unit.T
    return float(1 - (similar.sum() - np.trace(similar)) / (count * (count - 1)))
