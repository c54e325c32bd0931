"""The dit as a program: one evaluation, latent and sigma and conditioning to velocity."""

from edge_export.model.config import ModelConfig
from edge_export.rewrites.attention import attention_in_three_dimensions
from edge_export.rewrites.cross_keys import DitFromKeys
from edge_export.rewrites.embeddings import embeddings_as_linears
from edge_export.rewrites.feed_forward import split_gated_linear
from edge_export.rewrites.layer_norm import layer_norm_as_linear
from edge_export.rewrites.pointwise import fold_pointwise_convolutions
from edge_export.submodules import conditioner
from edge_export.submodules.submodule import Port, Rewrite, Submodule


def _noisy(config: ModelConfig) -> tuple[Port, ...]:
    return (
        Port(name="latent", dtype="float32", shape=(1, *config.latent_shape)),
        Port(name="sigma", dtype="float32", shape=(1,)),
    )


def _outputs(config: ModelConfig) -> tuple[Port, ...]:
    return (Port(name="velocity", dtype="float32", shape=(1, *config.latent_shape)),)


DIT = Submodule(
    name="dit",
    load=lambda checkpoint: DitFromKeys(checkpoint.dit()),
    inputs=lambda config: (*_noisy(config), *conditioner.outputs(config)),
    outputs=_outputs,
    rewrites=(
        Rewrite(name="fold pointwise convolutions", apply=fold_pointwise_convolutions),
        Rewrite(name="embeddings as linears", apply=embeddings_as_linears),
        Rewrite(name="split gated linear", apply=split_gated_linear),
        Rewrite(name="attention in three dimensions", apply=attention_in_three_dimensions),
        # Last: attention keeps the norms it finds, whatever they are.
        Rewrite(name="layer norm as linear", apply=layer_norm_as_linear),
    ),
)

PUBLISHED_DIT = Submodule(
    name="dit",
    load=lambda checkpoint: checkpoint.dit(),
    inputs=lambda config: (*_noisy(config), *conditioner.published_outputs(config)),
    outputs=_outputs,
)
