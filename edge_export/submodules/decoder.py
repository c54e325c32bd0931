"""The decoder as a program: a window of the clean latent to audio. Or as two, of which the second takes tiles."""

from edge_export.model.config import ModelConfig, OobleckConfig
from edge_export.model.decoder_parts import DecoderCut, DecoderHead, DecoderTail
from edge_export.model.receptive_field import decoder_window
from edge_export.rewrites.convolution import decoder_in_two_dimensions
from edge_export.rewrites.transposed_convolution import transposed_convolution_by_phases
from edge_export.submodules.submodule import Port, Rewrite, Submodule


def _latent(config: ModelConfig, length: int) -> tuple[Port, ...]:
    return (Port(name="latent", dtype="float32", shape=(1, config.dit.io_channels, length)),)


def _audio(config: ModelConfig, samples: int) -> tuple[Port, ...]:
    return (Port(name="audio", dtype="float32", shape=(1, config.decoder.audio_channels, samples)),)


def audio_layers(config: OobleckConfig) -> tuple[str, ...]:
    """Patterns of the layers that give as many channels as the audio has: the last, and last blocks as narrow."""
    blocks = range(1, len(config.widths))
    narrow = [block for block in blocks if config.widths[-1 - block] <= config.audio_channels]
    return (*(f"layers.{block}.*" for block in narrow), f"layers.{blocks.stop + 1}")


REWRITES = (
    # In this order: each works on what the one before it made.
    Rewrite(name="decoder in two dimensions", apply=decoder_in_two_dimensions),
    # ExecuTorch's XNNPACK fails on the reshape in int8, and takes the transposed form.
    Rewrite(name="transposed convolution by phases", apply=transposed_convolution_by_phases, backends=("litert",)),
)

DECODER = Submodule(
    name="decoder",
    load=lambda checkpoint: checkpoint.decoder(),
    inputs=lambda config: _latent(config, decoder_window(config)),
    outputs=lambda config: _audio(config, decoder_window(config) * config.decoder.hop),
    rewrites=REWRITES,
)


def decoder_parts(cut: DecoderCut) -> tuple[Submodule, ...]:
    """The same as two programs, which take turns: the tail runs once for each tile of a window's features."""

    def features(length: int) -> tuple[Port, ...]:
        return (Port(name="features", dtype="float32", shape=(1, cut.channels, length)),)

    head = Submodule(
        name="decoder",
        load=lambda checkpoint: DecoderHead(checkpoint.decoder(), cut),
        inputs=DECODER.inputs,
        outputs=lambda config: features(decoder_window(config) * cut.rate),
        rewrites=REWRITES,
    )
    tail = Submodule(
        name="decoder_tail",
        load=lambda checkpoint: DecoderTail(checkpoint.decoder(), cut),
        inputs=lambda _config: features(cut.tile),
        outputs=lambda config: _audio(config, cut.tile * (config.decoder.hop // cut.rate)),
        rewrites=REWRITES,
        part_of="decoder",
    )
    return head, tail


PUBLISHED_DECODER = Submodule(
    name="decoder",
    load=lambda checkpoint: checkpoint.decoder(),
    inputs=lambda config: _latent(config, config.latent_length),
    outputs=lambda config: _audio(config, config.latent_length * config.decoder.hop),
)
