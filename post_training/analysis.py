"""What a latent says: the principal components of a stretch's compressed spectra, fitted once to a run's clips.

The autoencoder is taught to find them in audio and to play them; the flow is trained on them. They need no network,
so that the stages that are trained on them do not wait for each other. It knows no captions.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.errors import UsageError
from post_training.clips import Clips, write_whole
from post_training.config import HOP, RATE
from runtime_py.metrics import mel_filters

ANALYSIS_FILE = "analysis.safetensors"
LATENT_CHANNELS = 64
FRAMES = 2  # of mel bands in one latent
WINDOW, BANDS = 2048, 64
SIDES = 8  # groups of bands whose balance is told
POWER = 0.15  # of a band's power: between loudness, which has no floor, and level, which is all floor
SMALLEST = 1e-10  # power: -100 dB of full scale
TONE_WINDOW, TONES, LOWEST_TONE = 4096, 48, 110.0  # semitones from 110 Hz to 1.7 kHz
TONE_WEIGHT = 0.7
SMALLEST_SHARE = 1e-4  # of the first component's variance: what a component is taken to have at least
FITTED_TO, AT_ONCE = 512, 16  # clips


class Analysis(nn.Module):
    """Audio to latents, by spectra alone.

    Of every 2048 samples: 64 mel bands of both channels' mean power in each half of them, what 8 groups of bands have
    more of on the right, and 48 semitones of a longer window, all to the power 0.15; then the 64 principal components,
    each divided by the root of its standard deviation, so that the strong ones stay the stronger, and all by one number
    that makes their mean square 1.

    Args of forward: audio float32 [batch, 2, samples], a multiple of 2048. Returns [batch, 64, samples / 2048].
    """

    def __init__(self) -> None:
        super().__init__()
        count = FRAMES * (BANDS + SIDES) + TONES
        for name, filters, window in (
            ("mel", mel_filters(RATE, WINDOW, BANDS), WINDOW),
            ("tone", _tone_filters(), TONE_WINDOW),
        ):
            hann = torch.hann_window(window)
            self.register_buffer(f"{name}_window", hann * (2 / hann.sum()), persistent=False)
            self.register_buffer(f"{name}_filters", torch.from_numpy(filters.T).float(), persistent=False)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("basis", torch.zeros(count, LATENT_CHANNELS))
        self.mean: Tensor
        self.basis: Tensor

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            return ((self.features(audio) - self.mean) @ self.basis).transpose(1, 2)

    def features(self, audio: Tensor) -> Tensor:
        """[batch, 2, samples] -> [batch, samples / 2048, features], before they are turned into components."""
        bands = self._bands("mel", audio, HOP // FRAMES)
        middle = _compressed(bands.mean(1))
        left, right = _compressed(bands.unflatten(-1, (SIDES, -1)).mean(-1)).unbind(1)
        often = torch.cat([middle, right - left], dim=-1).unflatten(1, (-1, FRAMES)).flatten(2)
        tones = _compressed(self._bands("tone", audio.mean(1, keepdim=True), HOP)[:, 0])
        return torch.cat([often, TONE_WEIGHT * tones], dim=-1)

    def _bands(self, name: str, audio: Tensor, hop: int) -> Tensor:
        """[batch, channels, samples] -> powers [batch, channels, samples / hop, bands], each around a hop."""
        window, filters = self.get_buffer(f"{name}_window"), self.get_buffer(f"{name}_filters")
        around = (len(window) - hop) // 2
        frames = F.pad(audio.float(), (around, around)).unfold(-1, len(window), hop)
        return torch.fft.rfft(frames * window).abs().square() @ filters

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Find mean and components of features [stretches, features]."""
        features = features.double()
        mean = features.mean(0)
        variances, directions = torch.linalg.eigh(torch.cov((features - mean).T))
        variances, directions = variances.flip(0)[:LATENT_CHANNELS], directions.flip(1)[:, :LATENT_CHANNELS]
        # Few clips span few directions; what they do not span is not blown up.
        variances = variances.clamp(min=max(float(variances[0]) * SMALLEST_SHARE, 1e-12))
        basis = directions / variances.pow(0.25)
        self.mean.copy_(mean)
        self.basis.copy_(basis / variances.sqrt().mean().sqrt())


def _tone_filters() -> np.ndarray:
    """Triangles over a semitone to either side, [semitones, bins]."""
    bins = np.maximum(np.fft.rfftfreq(TONE_WINDOW, 1 / RATE), 1.0)
    centres = LOWEST_TONE * 2 ** (np.arange(TONES)[:, None] / 12)
    return np.clip(1 - np.abs(12 * np.log2(bins / centres)), 0, None)


def _compressed(power: Tensor) -> Tensor:
    return (power + SMALLEST).pow(POWER)


def fitted(path: Path, clips: Clips) -> Analysis:
    """The analysis that lies at `path`, fitted to the first of `clips` when it is first asked for.

    Raises:
        UsageError: the file is damaged, or of another version. OutputError: it cannot be written.
    """
    analysis = Analysis()
    if not path.exists():
        starts = range(0, min(FITTED_TO, len(clips)), AT_ONCE)
        analysis.fit(torch.cat([_features_of(analysis, clips, start) for start in starts]))
        write_whole(path, save(analysis.state_dict()))
    try:
        analysis.load_state_dict(load(path.read_bytes()))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"{path} is no analysis of this version ({reason}); choose another --run") from error
    return analysis.eval()


def _features_of(analysis: Analysis, clips: Clips, start: int) -> Tensor:
    """Of the stretches in which clips from `start` on sound, [stretches, features]."""
    indices = range(start, min(start + AT_ONCE, FITTED_TO, len(clips)))
    features = analysis.features(torch.from_numpy(np.stack([clips.read(index) for index in indices])))
    lengths = [-(-round(clips.seconds[index] * RATE) // HOP) for index in indices]
    return torch.cat([each[:length] for each, length in zip(features, lengths)])
