"""What the autoencoder is trained by: spectra, the width of its latents, and a discriminator of spectrograms.

It knows no training loop; every loss is a number to make smaller.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from post_training.config import RATE

DITHER = 5e-4
"""Noise added to both sides of the STFT loss, about -66 dB: silence, and the side of a mono sound, weigh nothing."""

Features = list[Tensor]


class StftLoss(nn.Module):
    """Multi-resolution STFT loss of sum and difference, and of left and right.

    Each resolution adds spectral convergence |S - S'| / |S| and the mean absolute difference of log magnitudes
    (arXiv 1910.11480, equations 4 to 6), A-weighted if `weighted` (on a CPU that takes
    five times as long as the rest); sum and difference as in arXiv 2010.10291, with left and
    right besides as in Stable Audio Open's autoencoder (arXiv 2407.14358). Hops are a quarter of the windows.

    Args of forward: made and real, float32 [batch, 2, samples]. Returns a number.
    """

    def __init__(self, fft_sizes: Sequence[int], *, weighted: bool = True) -> None:
        super().__init__()
        from auraloss.freq import MultiResolutionSTFTLoss

        self.spectra = MultiResolutionSTFTLoss(
            fft_sizes=list(fft_sizes),
            hop_sizes=[size // 4 for size in fft_sizes],
            win_lengths=list(fft_sizes),
            sample_rate=RATE,
            perceptual_weighting=weighted,
        )

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        dither = torch.randn_like(real) * DITHER
        made, real = made.float() + dither, real + dither
        left_right = self.spectra(made, real)
        sum_difference = self.spectra(_mid_side(made), _mid_side(real))
        return left_right + sum_difference


def _mid_side(audio: Tensor) -> Tensor:
    left, right = audio[:, :1], audio[:, 1:]
    return torch.cat([left + right, left - right], dim=1)


def kl(mean: Tensor, std: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, std^2) from N(0, 1) in nats per latent: summed over channels
    (axis 1), averaged over the rest: 1/2 sum(mean^2 + std^2 - 1 - log std^2) (arXiv 1312.6114, appendix B).
    """
    return 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum(1).mean()


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
