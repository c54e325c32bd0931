"""The conditioner as a program: token ids, their mask and seconds to the dit's conditioning."""

from edge_export.model.config import ModelConfig
from edge_export.submodules.submodule import Port, Submodule


def _inputs(config: ModelConfig) -> tuple[Port, ...]:
    tokens = config.conditioner.tokens
    return (
        Port(name="input_ids", dtype="int32", shape=(1, tokens), plain=True),
        Port(name="prompt_mask", dtype="float32", shape=(1, tokens), plain=True),
        Port(name="seconds", dtype="float32", shape=(1,)),
    )


def outputs(config: ModelConfig) -> tuple[Port, ...]:
    """What the conditioner hands to the dit, by the names of the dit's inputs."""
    conditioner = config.conditioner
    return (
        Port(name="cross_attn_cond", dtype="float32", shape=(1, conditioner.cross_tokens, conditioner.dim)),
        Port(name="global_cond", dtype="float32", shape=(1, conditioner.dim)),
    )


CONDITIONER = Submodule(
    name="conditioner",
    load=lambda checkpoint: checkpoint.conditioner(),
    inputs=_inputs,
    outputs=outputs,
)
