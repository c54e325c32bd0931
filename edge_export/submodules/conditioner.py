"""The conditioner as a program: token ids, their mask and seconds to all that the dit attends to."""

from edge_export.model.config import ModelConfig
from edge_export.rewrites.attention import attention_in_three_dimensions
from edge_export.rewrites.cross_keys import KEYS, ConditionerToKeys, keys_shape
from edge_export.rewrites.embeddings import embeddings_as_linears
from edge_export.rewrites.gelu import gelu_by_sigmoid
from edge_export.rewrites.layer_norm import layer_norm_as_linear
from edge_export.submodules.submodule import Port, Rewrite, Submodule


def _inputs(config: ModelConfig) -> tuple[Port, ...]:
    tokens = config.conditioner.tokens
    return (
        Port(name="input_ids", dtype="int32", shape=(1, tokens), plain=True),
        Port(name="prompt_mask", dtype="float32", shape=(1, tokens), plain=True),
        Port(name="seconds", dtype="float32", shape=(1,)),
    )


def outputs(config: ModelConfig) -> tuple[Port, ...]:
    """What the conditioner hands to the dit, by the names of the dit's inputs."""
    keys = keys_shape(config.dit, config.conditioner.cross_tokens)
    return (
        Port(name="cross_k", dtype="float32", shape=keys),
        Port(name="cross_v", dtype="float32", shape=keys),
        Port(name="global_cond", dtype="float32", shape=(1, config.conditioner.dim)),
    )


def published_outputs(config: ModelConfig) -> tuple[Port, ...]:
    """The same as published: the dit projects its keys and values itself."""
    conditioner = config.conditioner
    return (
        Port(name="cross_attn_cond", dtype="float32", shape=(1, conditioner.cross_tokens, conditioner.dim)),
        Port(name="global_cond", dtype="float32", shape=(1, conditioner.dim)),
    )


CONDITIONER = Submodule(
    name="conditioner",
    load=lambda checkpoint: ConditionerToKeys(checkpoint.conditioner(), checkpoint.dit(KEYS)),
    inputs=_inputs,
    outputs=outputs,
    rewrites=(
        # First: it reads the position bias from T5's own attention, which the next one replaces.
        Rewrite(name="embeddings as linears", apply=embeddings_as_linears),
        Rewrite(name="attention in three dimensions", apply=attention_in_three_dimensions),
        # These two touch what no other does, and could stand anywhere. LiteRT has the tanh form itself.
        Rewrite(name="gelu by sigmoid", apply=gelu_by_sigmoid, backends=("executorch",)),
        Rewrite(name="layer norm as linear", apply=layer_norm_as_linear),
    ),
)

PUBLISHED_CONDITIONER = Submodule(
    name="conditioner", load=lambda checkpoint: checkpoint.conditioner(), inputs=_inputs, outputs=published_outputs
)
