"""What the autoencoder is trained by: spectra, the latents it should give, and a discriminator of spectrograms.

It knows no training loop; every loss is a number to make smaller.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from post_training.config import FAINTEST, RATE
from runtime_py.metrics import mel_filters

MASKED = 0.01
"""Of a frame's loudest band: 40 dB below it others weigh little, as ears have it (simultaneous masking)."""

LOUDNESS = 0.3  # power of a level: where only two bands of a hundred sound, they weigh more than two hundredths

PURITY = 1.0  # weight of how pure bands sound against how loud

SMALLEST_POWER = 1e-10  # of a band: where a root begins to be too steep

Features = list[Tensor]


class StftLoss(nn.Module):
    """STFT loss of left, right, sum and difference, at one resolution, by the levels of mel bands.

    It adds spectral convergence |S - S'| / |S| of each clip (arXiv 1910.11480, equation 4) and the mean absolute
    difference of levels' logarithms (equation 5; in bands as in arXiv 2306.06546), by how loud they are in their frame;
    sum and difference as in arXiv 2010.10291, with left and right besides as in Stable Audio Open's autoencoder (arXiv
    2407.14358). Not by bins: where in a band a tone lies latents do not say, and a tone a little beside its place would
    cost more than none. How pure a band sounds is told from the spectral flatness of its bins, else noise would be
    played as a comb of tones.

    The hop is a quarter of the window. Several resolutions are trained on in turns.

    bands: mel bands; those that hold no bin are left away.
    Args of forward: made and real, float32 [batch, 2, samples]. Returns a number.
    """

    def __init__(self, fft_size: int, bands: int = 96) -> None:
        super().__init__()
        self._terms: Callable[[Tensor, Tensor, Tensor, float], Tensor] = spectral_terms
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        self.register_buffer("filters", _mel_means(fft_size, bands), persistent=False)
        self._faintest = FAINTEST * float(self.window.square().sum().sqrt())
        self.window: Tensor
        self.filters: Tensor

    def compile_terms(self) -> None:
        """Have all but the transforms compiled where it is first used."""
        self._terms = torch.compile(spectral_terms, dynamic=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        made, real = (_spectra(audio.float(), self.window) for audio in (made, real))
        return self._terms(made, real, self.filters, self._faintest)


def _spectra(audio: Tensor, window: Tensor) -> Tensor:
    """[batch, 2, samples] -> [batch, 2, bins, frames, 2], the last axis real and imaginary."""
    size = len(window)
    made = torch.stft(audio.flatten(0, 1), size, size // 4, window=window, return_complex=True)
    return torch.view_as_real(made).unflatten(0, (-1, 2))


def spectral_terms(made: Tensor, real: Tensor, filters: Tensor, faintest: float) -> Tensor:
    """Of one resolution's spectra, and its mel filters [bands, bins]."""
    made, real = _powers(made), _powers(real)
    made_levels, real_levels = band_levels(made, filters), band_levels(real, filters)
    floor = faintest + MASKED * real_levels.amax(dim=(0, 2), keepdim=True)
    louder = torch.maximum(made_levels.detach(), real_levels)
    weight = ((louder + floor) / (louder.amax(dim=(0, 2), keepdim=True) + floor)) ** LOUDNESS
    levels = (made_levels + floor).log() - (real_levels + floor).log()
    purity = log_flatness(made, made_levels, filters, floor) - log_flatness(real, real_levels, filters, floor)
    off, loud = (each.square().mean(dim=(0, 2, 3)) for each in (made_levels - real_levels, real_levels))
    convergence = (off / (loud + (2 * faintest) ** 2) + SMALLEST_POWER).sqrt().mean()
    return 2 * (convergence + (weight * (levels.abs() + PURITY * purity.abs())).sum() / weight.sum())


def _powers(spectra: Tensor) -> Tensor:
    """[4, batch, bins, frames] of left, right, sum and difference: a spectrum is linear."""
    left, right = spectra[:, 0], spectra[:, 1]
    four = (left, right, left + right, left - right)
    return torch.stack([s[..., 0].square() + s[..., 1].square() for s in four])


def band_levels(powers: Tensor, filters: Tensor) -> Tensor:
    """Root mean squares [4, batch, bands, frames] over the bins of each band."""
    return (filters @ powers + SMALLEST_POWER).sqrt()


def log_flatness(powers: Tensor, levels: Tensor, filters: Tensor, floor: Tensor) -> Tensor:
    """Logarithm of the bins' geometric mean through their root mean square, [4, batch, bands, frames]: 0 where all are
    alike, -0.3 of noise, far below of a tone, wherever in the band it lies.
    """
    geometric = filters @ (powers + floor.square()).log() / 2
    return geometric - (levels.square() + floor.square()).log() / 2


def _mel_means(fft_size: int, bands: int) -> Tensor:
    """Filters [bands', bins] whose every row adds up to 1."""
    filters = torch.from_numpy(mel_filters(RATE, fft_size, bands)).float()
    filters = filters[filters.sum(1) > 0]
    return filters / filters.sum(1, keepdim=True)


def kl(target: Tensor, noise: float, mean: Tensor, std: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, std^2) from N(target, noise^2), in nats per number, averaged:
    log(std / noise) + (noise^2 + (target - mean)^2) / (2 std^2) - 1/2 (as arXiv 1312.6114, appendix B, of two).
    """
    return (std.log() - math.log(noise) + (noise**2 + (target - mean).square()) / (2 * std.square()) - 0.5).mean()


def hinge_discriminator(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """mean of max(0, 1 - D(real)) + max(0, 1 + D(made)) (arXiv 1705.02894, section 3), averaged over scales."""
    return _mean([F.relu(1 - r).mean() + F.relu(1 + m).mean() for r, m in zip(real, made, strict=True)])


def hinge_generator(made: Sequence[Tensor]) -> Tensor:
    """mean of -D(made) (arXiv 1705.02894, section 3), averaged over scales."""
    return _mean([-m.mean() for m in made])


def feature_matching(real: Sequence[Features], made: Sequence[Features]) -> Tensor:
    """mean |f - f'| / mean |f| over the discriminator's inner features (arXiv 2210.13438, equation 2)."""
    pairs = [(r.detach(), m) for rs, ms in zip(real, made, strict=True) for r, m in zip(rs, ms, strict=True)]
    return _mean([(r - m).abs().mean() / r.abs().mean().clamp(min=1e-8) for r, m in pairs])


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


class StftDiscriminator(nn.Module):
    """Convolutions over complex spectrograms of several sizes, both channels at once (arXiv 2210.13438, section 3.4).

    Args of forward: audio [batch, 2, samples].
    Returns: for each size the scores [batch, 1, frames, bins'], and the inner features.
    """

    def __init__(self, fft_sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList([_Scale(size, channels) for size in fft_sizes])

    def forward(self, audio: Tensor) -> tuple[list[Tensor], list[Features]]:
        outputs = [scale(audio) for scale in self.scales]
        return [scores for scores, _ in outputs], [features for _, features in outputs]


class _Scale(nn.Module):
    """One size: (3, 9) convolutions, dilated 1, 2, 4 in time and halving the bins."""

    def __init__(self, fft_size: int, channels: int) -> None:
        super().__init__()
        self.fft_size = fft_size
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        self.window: Tensor
        self.convolutions = nn.ModuleList(
            [
                _normed(4, channels, (3, 9), padding=(1, 4)),
                *(
                    _normed(channels, channels, (3, 9), stride=(1, 2), dilation=(d, 1), padding=(d, 4))
                    for d in (1, 2, 4)
                ),
                _normed(channels, channels, (3, 3), padding=(1, 1)),
            ]
        )
        self.last = _normed(channels, 1, (3, 3), padding=(1, 1))

    def forward(self, audio: Tensor) -> tuple[Tensor, Features]:
        x = self.spectrogram(audio)
        features: Features = []
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
            features.append(x)
        return self.last(x), features

    def spectrogram(self, audio: Tensor) -> Tensor:
        """[batch, 2, samples] -> [batch, 4, frames, bins]: left and right, real and imaginary."""
        with torch.autocast(audio.device.type, enabled=False):
            flat = audio.float().flatten(0, 1)
            size = self.fft_size
            spectra = torch.stft(flat, size, size // 4, window=self.window, normalized=True, return_complex=True)
        parts = torch.view_as_real(spectra).unflatten(0, (-1, 2))  # batch, channel, bins, frames, part
        return parts.permute(0, 1, 4, 3, 2).flatten(1, 2)


def _normed(inputs: int, outputs: int, size: tuple[int, int], **settings: tuple[int, int]) -> nn.Module:
    return parametrizations.weight_norm(nn.Conv2d(inputs, outputs, size, **settings))  # type: ignore[arg-type]
