"""How far two arrays are apart: signal-to-noise ratio, largest error, and distance of log-mel spectra.

It knows no thresholds: those are the recipe's.
"""

import numpy as np

WINDOW, HOP, BANDS = 2048, 512, 64
LOWEST_HZ = 30.0
FLOOR_DB = -100.0


def snr_db(reference: np.ndarray, actual: np.ndarray) -> float:
    """10 log10(sum reference^2 / sum (actual - reference)^2).

    inf when equal; -inf when either holds NaN or infinity, or when the reference is silent and `actual` is not.

    Raises:
        ValueError: the shapes differ.
    """
    error = _difference(reference, actual)
    noise = float(np.square(error).sum())
    if not np.isfinite(noise):
        return -np.inf
    if noise == 0:
        return np.inf
    signal = float(np.square(reference.astype(np.float64)).sum())
    return float(10 * np.log10(signal / noise)) if signal > 0 else -np.inf


def max_error(reference: np.ndarray, actual: np.ndarray) -> float:
    """The largest absolute difference; NaN when either holds NaN or infinity.

    Raises:
        ValueError: the shapes differ.
    """
    largest = float(np.abs(_difference(reference, actual)).max(initial=0.0))
    return largest if np.isfinite(largest) else np.nan


def _difference(reference: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """actual - reference in float64; never broadcast, which would compare what does not belong together."""
    if reference.shape != actual.shape:
        raise ValueError(f"cannot compare shape {reference.shape} with {actual.shape}")
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return np.subtract(actual, reference, dtype=np.float64)


def log_mel_distance(reference: np.ndarray, actual: np.ndarray, sample_rate: int) -> float:
    """Mean absolute difference in dB of two log-mel spectrograms; both [channels, samples], full scale -1..1.

    Level = 10 log10(power) of 64 bands on the HTK mel scale, 2595 log10(1 + f / 700), from 30 Hz to half the
    sample rate; Hann windows of 2048 every 512 samples, scaled so that a sine at full scale is 0 dB in its
    bin; levels below -100 dB count as -100 dB. NaN when `actual` holds NaN or infinity.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != actual.shape:
        raise ValueError(f"cannot compare shape {reference.shape} with {actual.shape}")
    return float(np.mean(np.abs(log_mel(reference, sample_rate) - log_mel(actual, sample_rate))))


def log_mel(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Log-mel spectrogram in dB of full scale, [channels, frames, bands]; zeros fill up the last window."""
    frames = 1 + -(-max(0, audio.shape[1] - WINDOW) // HOP)
    padded = np.pad(audio, ((0, 0), (0, WINDOW + HOP * (frames - 1) - audio.shape[1])))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1)[:, ::HOP]
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    filters = mel_filters(sample_rate)
    scale = np.float32(2 / hann.sum())
    with np.errstate(invalid="ignore"):
        power = [np.square(np.abs(np.fft.rfft(channel * hann)) * scale) @ filters.T for channel in windows]
        return np.maximum(10 * np.log10(np.stack(power) + 1e-30), FLOOR_DB)


def mel_filters(sample_rate: int, window: int = WINDOW, count: int = BANDS) -> np.ndarray:
    """Triangular filters, [count, window / 2 + 1], each of height 1 at its centre."""
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST_HZ, sample_rate / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, count + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(window, 1 / sample_rate)
    low, centre, high = (edges[start : start + count, None] for start in range(3))
    return np.clip(np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)), 0, None)
