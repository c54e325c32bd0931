"""How far two arrays are apart: signal-to-noise ratio, largest error, and distance of log-mel spectra."""

import numpy as np

WINDOW, HOP, BANDS = 2048, 512, 64
LOWEST_HZ = 30.0
FLOOR_DB = -100.0


def snr_db(reference: np.ndarray, actual: np.ndarray) -> float:
    """10 log10(sum reference^2 / sum (actual - reference)^2): inf when equal, -inf when not finite."""
    reference, actual = reference.astype(np.float64), actual.astype(np.float64)
    noise = float(np.square(actual - reference).sum())
    if not np.isfinite(noise):
        return -np.inf
    if noise == 0:
        return np.inf
    signal = float(np.square(reference).sum())
    return float(10 * np.log10(signal / noise)) if signal > 0 else -np.inf


def max_error(reference: np.ndarray, actual: np.ndarray) -> float:
    """The largest absolute difference; NaN when one is not finite."""
    return float(np.abs(actual.astype(np.float64) - reference.astype(np.float64)).max(initial=0.0))


def log_mel_distance(reference: np.ndarray, actual: np.ndarray, sample_rate: int) -> float:
    """Mean absolute difference in dB of two log-mel spectrograms; both [channels, samples], full scale -1..1.

    64 bands on the HTK mel scale (2595 log10(1 + f / 700)) from 30 Hz to half the sample rate, Hann windows
    of 2048 every 512 samples; levels below -100 dB of full scale count as -100 dB.
    """
    return float(np.mean(np.abs(log_mel(reference, sample_rate) - log_mel(actual, sample_rate))))


def log_mel(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Log-mel spectrogram in dB of full scale, [channels, frames, bands]; short clips are padded to one window."""
    padded = np.pad(audio, ((0, 0), (0, max(0, WINDOW - audio.shape[1]))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1)[:, ::HOP]
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    filters = mel_filters(sample_rate)
    scale = np.float32(2 / window.sum())
    power = [np.square(np.abs(np.fft.rfft(channel * window)) * scale) @ filters.T for channel in frames]
    return np.maximum(10 * np.log10(np.stack(power) + 1e-30), FLOOR_DB)


def mel_filters(sample_rate: int) -> np.ndarray:
    """Triangular filters, [bands, WINDOW / 2 + 1], each of height 1 at its centre."""
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST_HZ, sample_rate / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / sample_rate)
    low, centre, high = (edges[start : start + BANDS, None] for start in range(3))
    return np.clip(np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)), 0, None)
