"""The decoder as a program: a window of the clean latent to audio."""

from edge_export.model.config import ModelConfig, OobleckConfig
from edge_export.model.receptive_field import decoder_window
from edge_export.rewrites.convolution import decoder_in_two_dimensions
from edge_export.rewrites.tiling import decoder_tail_in_tiles
from edge_export.rewrites.transposed_convolution import transposed_convolution_by_phases
from edge_export.submodules.submodule import Port, Rewrite, Submodule


def _latent(config: ModelConfig, length: int) -> tuple[Port, ...]:
    return (Port(name="latent", dtype="float32", shape=(1, config.dit.io_channels, length)),)


def _audio(config: ModelConfig, length: int) -> tuple[Port, ...]:
    shape = (1, config.decoder.audio_channels, length * config.decoder.hop)
    return (Port(name="audio", dtype="float32", shape=shape),)


def audio_layers(config: OobleckConfig) -> tuple[str, ...]:
    """Patterns of the layers that give as many channels as the audio has: the last, and last blocks as narrow."""
    blocks = range(1, len(config.widths))
    narrow = [block for block in blocks if config.widths[-1 - block] <= config.audio_channels]
    return (*(f"layers.{block}.*" for block in narrow), f"layers.{blocks.stop + 1}")


DECODER = Submodule(
    name="decoder",
    load=lambda checkpoint: checkpoint.decoder(),
    inputs=lambda config: _latent(config, decoder_window(config)),
    outputs=lambda config: _audio(config, decoder_window(config)),
    rewrites=(
        # In this order: each works on what the one before it made.
        Rewrite(name="decoder in two dimensions", apply=decoder_in_two_dimensions),
        Rewrite(name="decoder tail in tiles", apply=decoder_tail_in_tiles),
        # ExecuTorch's XNNPACK fails on the reshape in int8, and takes the transposed form.
        Rewrite(name="transposed convolution by phases", apply=transposed_convolution_by_phases, backends=("litert",)),
    ),
)

PUBLISHED_DECODER = Submodule(
    name="decoder",
    load=lambda checkpoint: checkpoint.decoder(),
    inputs=lambda config: _latent(config, config.latent_length),
    outputs=lambda config: _audio(config, config.latent_length),
)
