"""A recipe in litert-quantizer's own form. It knows which layers there are only from its caller, and imports nothing.

litert-quantizer takes a list of entries; the last whose `regex` is found in an operator's scope decides, and an
operator that none matches stays in float32. So each layer that the recipe quantizes gets one entry, for exactly
its scope.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from quantization.layers import layer_name
from quantization.recipe import FLOAT, INT8_DYNAMIC, Recipe, Rule
from runtime_py.errors import UsageError

# Operations that litert-quantizer calls otherwise than LiteRT does.
QUANTIZER_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}

Entry = dict[str, object]
"""One entry of a litert-quantizer recipe, as in its JSON form."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A linear or convolution of a compiled program.

    name: the path of the module in the network. operator: as in a rule. op: LiteRT's name for the operation.
    scope: the name of the tensor it writes, which is how litert-quantizer knows the operation.
    """

    name: str
    operator: str
    op: str
    scope: str


def litert_recipe(recipe: Recipe, submodule: str, layers: Iterable[Layer]) -> list[Entry]:
    """What litert-quantizer is to do with `layers` of `submodule`: empty when all of them stay in float32.

    Raises:
        UsageError: a rule asks for what LiteRT's kernels cannot compute.
    """
    rules = ((layer, rule_of(recipe, submodule, layer.operator, layer.name)) for layer in layers)
    return [_entry(layer, rule) for layer, rule in rules if rule is not FLOAT]


def rule_of(recipe: Recipe, submodule: str, operator: str, name: str) -> Rule:
    """The rule for the layer at path `name`; FLOAT itself where its rule leaves it as it is."""
    rule = recipe.rule_for(submodule, operator, layer_name(name))
    return FLOAT if rule.formats == FLOAT.formats else rule


def _entry(layer: Layer, rule: Rule) -> Entry:
    if rule.formats != INT8_DYNAMIC:
        raise UsageError(
            f"LiteRT has no {layer.operator} with {rule.weights} weights and {rule.activations} activations, "
            f"which the recipe gives {layer.name}; choose another recipe"
        )
    weights = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
    return {
        "regex": f"^{re.escape(layer.scope)};$",
        "operation": QUANTIZER_NAMES.get(layer.op, layer.op),
        "algorithm_key": "min_max_uniform_quantize",
        "op_config": {
            "weight_tensor_config": weights,
            # Together: the kernel makes its activations int8 as it runs, and multiplies in int8.
            "compute_precision": "INTEGER",
            "explicit_dequantize": False,
        },
    }
