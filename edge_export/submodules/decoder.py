"""The decoder as a program: the clean latent to audio."""

from edge_export.model.config import ModelConfig
from edge_export.rewrites.convolution import decoder_in_two_dimensions
from edge_export.submodules.submodule import Port, Rewrite, Submodule


def _inputs(config: ModelConfig) -> tuple[Port, ...]:
    return (Port(name="latent", dtype="float32", shape=(1, *config.latent_shape)),)


def _outputs(config: ModelConfig) -> tuple[Port, ...]:
    samples = config.latent_length * config.decoder.hop
    return (Port(name="audio", dtype="float32", shape=(1, config.decoder.audio_channels, samples)),)


DECODER = Submodule(
    name="decoder",
    load=lambda checkpoint: checkpoint.decoder(),
    inputs=_inputs,
    outputs=_outputs,
    rewrites=(Rewrite(name="decoder in two dimensions", apply=decoder_in_two_dimensions),),
)
