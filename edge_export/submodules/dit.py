"""The dit as a program: one evaluation, latent and sigma and conditioning to velocity."""

from edge_export.model.config import ModelConfig
from edge_export.submodules import conditioner
from edge_export.submodules.submodule import Port, Submodule


def _inputs(config: ModelConfig) -> tuple[Port, ...]:
    return (
        Port(name="latent", dtype="float32", shape=(1, *config.latent_shape)),
        Port(name="sigma", dtype="float32", shape=(1,)),
        *conditioner.outputs(config),
    )


def _outputs(config: ModelConfig) -> tuple[Port, ...]:
    return (Port(name="velocity", dtype="float32", shape=(1, *config.latent_shape)),)


DIT = Submodule(
    name="dit",
    load=lambda checkpoint: checkpoint.dit(),
    inputs=_inputs,
    outputs=_outputs,
)
