"""A recipe is data: the first rule that matches decides, and a wrong rule cannot be made."""

import pytest

from edge_export.submodules import SUBMODULES
from quantization.recipe import AUDIO, FLOAT, OPERATORS, Recipe, Rule
from quantization.recipes import RECIPES, recipe_for
from runtime_py.errors import UsageError

INT8 = Rule(submodule="dit", operator="linear", weights="int8-channel", activations="int8-dynamic")


def recipe(*rules: Rule) -> Recipe:
    return Recipe(name="test", summary="", rules=rules, thresholds={})


def test_the_first_match_wins():
    exception = Rule(submodule="dit", pattern="*.to_out")
    first, second = recipe(exception, INT8), recipe(INT8, exception)
    assert first.rule_for("dit", "linear", "layers.0.to_out") is exception
    assert first.rule_for("dit", "linear", "layers.0.to_q") is INT8
    assert second.rule_for("dit", "linear", "layers.0.to_out") is INT8


def test_audio_is_spelled_out_as_one_rule_for_each_name():
    kept, whole = Rule(submodule="decoder", pattern=AUDIO), Rule(operator="conv", pattern="*")
    assert recipe(INT8, kept, whole).spelled_out(("layers.3.*", "layers.5")).rules == (
        INT8,
        Rule(submodule="decoder", pattern="layers.3.*"),
        Rule(submodule="decoder", pattern="layers.5"),
        whole,
    )
    assert recipe(INT8, whole).spelled_out(("layers.5",)) == recipe(INT8, whole)


@pytest.mark.parametrize("asked", [("decoder", "linear", "a"), ("dit", "conv", "a")])
def test_what_no_rule_matches_is_float(asked):
    assert recipe(INT8).rule_for(*asked) is FLOAT
    assert recipe().rule_for("dit", "linear", "a") is FLOAT
    assert (FLOAT.weights, FLOAT.activations) == ("float32", "float32")


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "transformer.layers.0.to_q", True),
        ("transformer.*", "transformer.layers.0.to_q", True),
        ("layers.0", "layers.0.to_q", False),
        ("*.TO_Q", "layers.0.to_q", False),
        ("layers.[12].*", "layers.2.to_q", True),
    ],
)
def test_patterns_are_those_of_a_shell_and_cover_the_whole_name(pattern, name, matches):
    assert Rule(pattern=pattern).matches("dit", "linear", name) is matches


@pytest.mark.parametrize("wrong", [{"weights": "int4"}, {"activations": "int8"}, {"weights": "int8-dynamic"}])
def test_an_unknown_kind_of_number_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        Rule(**wrong)


@pytest.mark.parametrize("entry", RECIPES.values(), ids=lambda entry: entry.name)
def test_every_recipe_holds_each_stage_to_a_threshold_and_names_none_else(entry):
    assert RECIPES[entry.name] is entry
    assert set(entry.thresholds) == set(SUBMODULES)
    assert min(entry.thresholds.values()) >= 20
    assert {rule.submodule for rule in entry.rules} <= {*SUBMODULES, "*"}
    assert {rule.operator for rule in entry.rules} <= {*OPERATORS, "*"}
    assert entry.summary


def test_a_stage_left_in_float_is_held_to_more():
    """Only where the recipe quantizes may the threshold be lower than that of fp32."""
    fp32 = RECIPES["fp32"].thresholds
    for entry in RECIPES.values():
        for stage in SUBMODULES:
            rules = [entry.rule_for(stage, operator, "any") for operator in OPERATORS]
            if all(rule.weights == "float32" for rule in rules):
                assert entry.thresholds[stage] == fp32[stage]


def test_an_unknown_recipe_lists_the_choices():
    with pytest.raises(UsageError, match=r"no recipe called 'int4'; choose from fp32, int8-dynamic"):
        recipe_for("int4")
    assert recipe_for("fp32") is RECIPES["fp32"]
