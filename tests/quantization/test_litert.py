"""A recipe in litert-quantizer's form: which layers get an entry, and what an entry reaches."""

import re

import pytest

from quantization.litert import Layer, litert_recipe
from quantization.recipe import Recipe, Rule
from quantization.recipes import recipe_for
from runtime_py.errors import UsageError

INT8 = {"weights": "int8-channel", "activations": "int8-dynamic"}


def recipe(*rules: Rule) -> Recipe:
    return Recipe(name="test", summary="", rules=rules, thresholds={})


def layer(name: str, operator: str = "linear", op: str = "FULLY_CONNECTED") -> Layer:
    return Layer(name=name, operator=operator, op=op, scope=f"model/{name};1")


def scopes_reached(entries, *layers: Layer) -> list[str]:
    """As litert-quantizer does it: an entry's regex is searched for in a scope with a semicolon at its end."""
    return [layer.name for layer in layers if any(re.search(entry["regex"], f"{layer.scope};") for entry in entries)]


def test_fp32_asks_for_nothing():
    assert litert_recipe(recipe_for("fp32"), "dit", [layer("a"), layer("b")]) == []


def test_the_first_rule_that_matches_a_layer_decides():
    layers = [layer("blocks.0.q"), layer("blocks.1.q"), layer("blocks.1.k")]
    entries = litert_recipe(recipe(Rule(pattern="*.1.q"), Rule(operator="linear", **INT8)), "dit", layers)
    assert scopes_reached(entries, *layers) == ["blocks.0.q", "blocks.1.k"]


def test_a_rule_for_another_submodule_or_operator_does_not_reach_a_layer():
    rules = recipe(Rule(submodule="dit", operator="conv", **INT8), Rule(submodule="decoder", **INT8))
    assert litert_recipe(rules, "dit", [layer("a")]) == []


def test_an_entry_reaches_its_own_layer_and_no_other_that_begins_or_ends_alike():
    wanted, longer, other = (
        layer("a"),
        Layer(name="b", operator="linear", op="FULLY_CONNECTED", scope="model/a;12"),
        layer("xa"),
    )
    assert scopes_reached(litert_recipe(recipe(Rule(**INT8)), "dit", [wanted]), wanted, longer, other) == ["a"]


def test_weights_become_int8_per_channel_and_are_multiplied_in_int8():
    (entry,) = litert_recipe(recipe(Rule(**INT8)), "dit", [layer("a")])
    assert entry["operation"] == "FULLY_CONNECTED"
    assert entry["op_config"]["weight_tensor_config"] == {
        "num_bits": 8,
        "symmetric": True,
        "granularity": "CHANNELWISE",
        "dtype": "INT",
    }
    assert entry["op_config"]["compute_precision"] == "INTEGER"
    assert entry["op_config"]["explicit_dequantize"] is False


def test_a_transposed_convolution_has_the_name_litert_quantizer_gives_it():
    (entry,) = litert_recipe(recipe(Rule(**INT8)), "decoder", [layer("up", "conv", "TRANSPOSE_CONV")])
    assert entry["operation"] == "CONV_2D_TRANSPOSE"


@pytest.mark.parametrize(("weights", "activations"), [("int8-channel", "float32"), ("float32", "int8-dynamic")])
def test_what_the_kernels_cannot_compute_is_refused(weights, activations):
    with pytest.raises(UsageError, match=r"blocks\.0\.q"):
        litert_recipe(recipe(Rule(weights=weights, activations=activations)), "dit", [layer("blocks.0.q")])
