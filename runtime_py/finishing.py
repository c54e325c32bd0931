"""The last touches to a sound before it is written: its cut end faded, its level raised. It does not know files.

Every sample is multiplied in float64 and rounded to float32 once, so that every language gives the same bytes.
"""

from dataclasses import dataclass

import numpy as np

FADE_SECONDS = 0.005
PEAK = 0.8912509381337456
"""-1 dBFS: 10 ** (-1 / 20)."""


@dataclass(frozen=True, kw_only=True)
class Finishing:
    """What is done. normalize: raise, or lower, the peak to -1 dBFS. fade: where the end was cut, let it fall to 0."""

    normalize: bool = False
    fade: bool = True


UNTOUCHED = Finishing(fade=False)


def finished(audio: np.ndarray, sample_rate: int, finishing: Finishing, *, cut: bool) -> np.ndarray:
    """A new array, float32 [channels, samples], of `audio` at `sample_rate` Hz. cut: it ends before the model's clip.

    First the fade, where `cut`: of the last n = min(samples, round(0.005 * sample_rate)) samples, half to even, number
    k from 0 is multiplied by (n - 1 - k) / n, so that the last is 0. Then the level: with peak the largest magnitude,
    where it is above 0, every sample is multiplied by 0.8912509381337456 / peak.
    """
    made = audio.astype(np.float32)
    count = min(audio.shape[1], round(FADE_SECONDS * sample_rate))
    if finishing.fade and cut and count:
        made[:, -count:] = made[:, -count:].astype(np.float64) * (np.arange(count - 1, -1, -1) / count)
    peak = float(np.abs(made).max(initial=0.0))
    if finishing.normalize and peak > 0:
        made = (made.astype(np.float64) * (PEAK / peak)).astype(np.float32)
    return made
