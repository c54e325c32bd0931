"""The Oobleck autoencoder: audio to latents and back, convolutions and snakes only.

Weight norm is already folded here: `edge_export.checkpoint` does that while loading.
"""

from torch import Tensor, nn

from edge_export.model.config import OobleckConfig
from edge_export.model.layers import SnakeBeta

DILATIONS = (1, 3, 9)


def activation(config: OobleckConfig, channels: int) -> nn.Module:
    return SnakeBeta(channels) if config.use_snake else nn.ELU()


class ResidualUnit(nn.Module):
    """Width 7 dilated, then width 1, added to the input; [batch, channels, time] keeps its shape."""

    def __init__(self, config: OobleckConfig, channels: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            activation(config, channels),
            nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation),
            activation(config, channels),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def residual_units(config: OobleckConfig, channels: int) -> list[nn.Module]:
    return [ResidualUnit(config, channels, dilation) for dilation in DILATIONS]


class EncoderBlock(nn.Module):
    """time -> time / stride."""

    def __init__(self, config: OobleckConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *residual_units(config, inputs),
            activation(config, inputs),
            nn.Conv1d(inputs, outputs, 2 * stride, stride=stride, padding=stride // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DecoderBlock(nn.Module):
    """time -> time * stride."""

    def __init__(self, config: OobleckConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            activation(config, inputs),
            nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride=stride, padding=stride // 2),
            *residual_units(config, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Encoder(nn.Module):
    """Audio [batch, audio_channels, samples] -> mean and scale [batch, latent_dim / 2, samples / hop] each.

    The scale is as the network gives it; the published sampling is mean + (softplus(scale) + 1e-4) * noise.
    """

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        widths = config.widths
        blocks = [EncoderBlock(config, *sizes) for sizes in zip(widths, widths[1:], config.strides)]
        self.layers = nn.Sequential(
            nn.Conv1d(config.audio_channels, widths[0], 7, padding=3),
            *blocks,
            activation(config, widths[-1]),
            nn.Conv1d(widths[-1], config.latent_dim, 3, padding=1),
        )

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.layers(audio).chunk(2, dim=1)
        return mean, scale


class Decoder(nn.Module):
    """Latent [batch, latent_dim, length] -> audio [batch, audio_channels, length * hop], full scale -1..1.

    `latent_scale` is the pretransform's own factor (1 in the published model).
    """

    def __init__(self, config: OobleckConfig, latent_scale: float = 1.0) -> None:
        super().__init__()
        self.latent_scale = latent_scale
        widths = config.widths[::-1]
        blocks = [DecoderBlock(config, *sizes) for sizes in zip(widths, widths[1:], config.strides[::-1])]
        self.layers = nn.Sequential(
            nn.Conv1d(config.latent_dim, widths[0], 7, padding=3),
            *blocks,
            activation(config, widths[-1]),
            nn.Conv1d(widths[-1], config.audio_channels, 7, padding=3, bias=False),
            nn.Tanh() if config.final_tanh else nn.Identity(),
        )

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent if self.latent_scale == 1.0 else latent * self.latent_scale)
