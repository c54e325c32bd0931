"""Recipes by name and from a file: what they say is what there is to quantize, and a wrong file is told in one line."""

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_export.backends import BACKENDS
from edge_export.model.autoencoder import Decoder
from edge_export.model.conditioner import Conditioner
from edge_export.model.dit import Dit
from edge_export.submodules import rewrite, submodules_for
from edge_export.submodules.decoder import audio_layers
from quantization.layers import OPERATORS, layers_of
from quantization.recipe import FLOAT, INT8_DYNAMIC, Recipe, Rule
from quantization.recipes import MAX_RECIPE_BYTES, RECIPES, dump_recipe, keeping, read_recipe, recipe_for
from runtime_py.errors import UsageError
from tests.edge_export.networks import CONFIG

SMALL = SimpleNamespace(
    config=CONFIG,
    conditioner=lambda: Conditioner(CONFIG.conditioner),
    dit=lambda only=None: Dit(CONFIG.dit),
    decoder=lambda: Decoder(CONFIG.decoder),
)
MINE: dict[str, Any] = {
    "name": "mine",
    "summary": "the dit's linears, but for one",
    "rules": [
        {"submodule": "dit", "pattern": "*.to_out"},
        {"submodule": "dit", "operator": "linear", "weights": "int8-channel", "activations": "int8-dynamic"},
    ],
    "thresholds": {"conditioner": 80, "dit": 20.5, "decoder": 80},
    "float16": ["decoder"],
    "as_published": True,
}
BARE = {"name": "bare", "summary": "", "thresholds": {}}


def written(folder: Path, document: Any) -> Path:
    path = folder / "mine.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def layers(recipe: Recipe, backend: str) -> list[tuple[str, str, str]]:
    """(submodule, operator, name) of the small network's layers, cut and rewritten as the recipe wants."""
    parts = {
        name: rewrite(submodule, submodule.load(SMALL), CONFIG, backend)
        for name, submodule in submodules_for(as_published=recipe.as_published).items()
    }
    return [
        (name, OPERATORS[type(layer[0])], path)
        for name, part in parts.items()
        for path, layer in layers_of(part.module).items()
    ]


# What a file says


def test_a_file_is_read_as_it_is_written(tmp_path):
    assert recipe_for(str(written(tmp_path, MINE))) == Recipe(
        name="mine",
        summary="the dit's linears, but for one",
        rules=(
            Rule(submodule="dit", pattern="*.to_out"),
            Rule(submodule="dit", operator="linear", weights="int8-channel", activations="int8-dynamic"),
        ),
        thresholds={"conditioner": 80.0, "dit": 20.5, "decoder": 80.0},
        float16=("decoder",),
        as_published=True,
    )


def test_what_is_left_out_has_its_default(tmp_path):
    assert read_recipe(written(tmp_path, BARE)) == Recipe(name="bare", summary="", rules=(), thresholds={})
    assert read_recipe(written(tmp_path, BARE | {"rules": [{}]})).rules == (Rule(),)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_there_is_can_be_written_to_a_file_and_read_again(tmp_path, recipe):
    assert read_recipe(written(tmp_path, dataclasses.asdict(recipe))) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"novel": 1}, "novel: is not a key"),
        (
            {"rules": [{}, {"weight": "int8-channel"}]},
            "rules[1].weight: is not a key of this schema; did you mean 'weights'?",
        ),
        ({"ruels": []}, "ruels: is not a key of this schema; did you mean 'rules'?"),
        ({"name": ...}, "name: is missing"),
        ({"summary": ...}, "summary: is missing"),
        ({"thresholds": ...}, "thresholds: is missing"),
        ({"name": 3}, "name: expected str, found int"),
        ({"rules": {}}, "rules: expected a list, found dict"),
        ({"rules": None}, "rules: expected a list, found null"),
        ({"rules": ["dit"]}, "rules[0]: expected an object, found str"),
        ({"rules": [{"operator": 1}]}, "rules[0].operator: expected str"),
        (
            {"rules": [{"submodule": "dit", "weights": "int4"}]},
            "rules[0]: the rule for dit * *: weights is 'int4'; choose from float32, int8-channel;",
        ),
        ({"rules": [{"activations": "int8"}]}, "activations is 'int8'; choose from float32, int8-dynamic"),
        ({"thresholds": {"dit": "25"}}, "thresholds.dit: expected float, found str"),
        ({"thresholds": {"dit": True}}, "thresholds.dit: expected float, found bool"),
        ({"thresholds": {"dit": 10**30}}, "thresholds.dit: is too large to be true"),
        ({"float16": "dit"}, "float16: expected a list, found str"),
        ({"as_published": 1}, "as_published: expected bool, found int"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(tmp_path, change, message):
    document = {key: value for key, value in {**MINE, **change}.items() if value is not ...}
    answer = refused(written(tmp_path, document))
    assert message in answer
    assert "is no recipe" in answer
    assert answer.endswith("; see `edge-export recipes --json`")
    assert "manifest" not in answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"mine"',
        '{"name": "a", "name": "b"}',
        '{"name": "a", "summary": "", "thresholds": {"dit": NaN}}',
        '{"name": "a", "summary": "", "thresholds": {"dit": 1e999}}',
        '{"name": "a", "summary": "", "thresholds": {"dit": -1e999}}',
        '{"name": "\\ud800", "summary": "", "thresholds": {}}',
        '{"thresholds": ' + "9" * 5000 + "}",
        "[" * 100_000,
    ],
    ids=lambda text: text[:60],
)
def test_what_is_no_recipe_is_refused(tmp_path, text):
    assert "is no recipe" in refused(written(tmp_path, text))


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_is_called_that(tmp_path, text):
    assert "is no recipe: it is empty; see" in refused(written(tmp_path, text))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"submodule": "dti"},
            "the rule for dti * *: no submodule is 'dti'; did you mean 'dit'? choose from dit, decoder",
        ),
        ({"submodule": "x*"}, "no submodule is 'x*'; choose from dit, decoder"),
        ({"operator": "liner"}, "no operator is 'liner'; did you mean 'linear'? choose from linear, conv"),
    ],
)
def test_a_rule_for_an_unknown_submodule_or_operator_lists_them(rule, message):
    there = [("dit", "linear", "layers.0.to_q"), ("decoder", "conv", "layers.0")]
    with pytest.raises(UsageError) as caught:
        Recipe(name="mine", summary="", rules=(Rule(**rule),), thresholds={}).check_layers(there)
    assert message in str(caught.value)


def test_what_is_no_text_or_too_much_of_it_is_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert "is no recipe" in refused(path)
    with path.open("wb") as file:
        file.truncate(MAX_RECIPE_BYTES + 1)
    assert "larger than 1 MiB" in refused(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    assert "cannot read the recipe" in refused(tmp_path / "missing.json")
    (tmp_path / "folder.json").mkdir()
    assert "no plain file" in refused(tmp_path / "folder.json")
    os.mkfifo(tmp_path / "pipe.json")
    assert "no plain file" in refused(tmp_path / "pipe.json")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from([*MINE, "novel"]), value=VALUES)
def test_any_value_anywhere_is_read_or_refused_but_never_crashes(tmp_path_factory, key, value):
    path = written(tmp_path_factory.mktemp("any"), {**MINE, key: value})
    try:
        recipe = read_recipe(path)
    except UsageError as error:
        assert "mine.json is no recipe: " in str(error)
    else:
        json.dumps(dataclasses.asdict(recipe), allow_nan=False, ensure_ascii=False).encode("utf-8")


# What there is to quantize


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_rule_there_is_matches_a_layer_of_the_network(recipe, backend):
    recipe.spelled_out(audio_layers(CONFIG.decoder)).check_layers(layers(recipe, backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_int8_reaches_every_layer_but_the_smallest_of_the_conditioner_and_what_gives_audio(backend):
    recipe = RECIPES["int8-dynamic"].spelled_out(audio_layers(CONFIG.decoder))
    left = [layer[2] for layer in layers(recipe, backend) if recipe.rule_for(*layer).weights == "float32"]
    assert "to_cond_embed.0" in left
    assert CONFIG.decoder.audio_channels == 2
    assert audio_layers(CONFIG.decoder)[-1] in left
    small = ("to_cond_embed.0", "seconds_total.", *audio_layers(CONFIG.decoder))
    assert all(name.startswith(small) for name in left)


def test_a_rule_that_matches_nothing_is_told_with_what_is_nearest():
    there = [("dit", "linear", "layers.0.to_q"), ("decoder", "conv", "layers.0")]
    recipe = Recipe(name="mine", summary="", rules=(Rule(pattern="layers.0.toq", submodule="dit"),), thresholds={})
    with pytest.raises(UsageError) as caught:
        recipe.check_layers(there)
    answer = str(caught.value)
    assert answer.startswith("recipe mine: no layer is 'dit * layers.0.toq' (submodule, operator, pattern); nearest: ")
    assert "nearest: dit linear layers.0.to_q;" in answer
    assert "\n" not in answer


def test_a_typing_error_in_audio_is_told():
    recipe = Recipe(name="mine", summary="", rules=(Rule(pattern="@adio"),), thresholds={})
    with pytest.raises(UsageError, match=r"no layers are called '@adio' together; '@audio' is"):
        recipe.check_layers([("decoder", "conv", "layers.0")])


@pytest.mark.parametrize(
    "wrong",
    [{"submodule": "encoder"}, {"operator": "embedding"}, {"pattern": "0"}, {"submodule": "dit", "operator": "conv"}],
    ids=str,
)
def test_one_rule_that_matches_nothing_is_enough(wrong):
    there = iter([("dit", "linear", "layers.0.to_q"), ("decoder", "conv", "layers.0")])
    recipe = Recipe(name="mine", summary="", rules=(Rule(submodule="dit"), Rule(**wrong)), thresholds={})
    with pytest.raises(UsageError, match=r"no (layer|submodule|operator) is"):
        recipe.check_layers(there)


def test_rules_match_in_any_order():
    there = iter([("dit", "linear", "layers.0.to_q"), ("decoder", "conv", "layers.0")])
    rules = (Rule(submodule="decoder"), Rule(operator="linear"), Rule(pattern="layers.*"))
    Recipe(name="mine", summary="", rules=rules, thresholds={}).check_layers(there)


def test_without_layers_or_without_rules_there_is_nothing_to_compare():
    Recipe(name="", summary="", rules=(), thresholds={}).check_layers([])
    with pytest.raises(UsageError, match="nearest: none"):
        Recipe(name="", summary="", rules=(Rule(),), thresholds={}).check_layers([])


def test_a_recipe_that_keeps_layers_is_int8_dynamic_but_for_them(tmp_path):
    made = keeping([("dit", "linear", "to_out"), ("decoder", "conv", "layers.0")], {"dit": 20.0, "decoder": 50.0})
    assert made.rule_for("dit", "linear", "to_out").formats == FLOAT.formats
    assert made.rule_for("decoder", "linear", "layers.0").formats == INT8_DYNAMIC
    assert made.rule_for("dit", "conv", "to_out").formats == INT8_DYNAMIC
    assert made.thresholds == {**RECIPES["int8-dynamic"].thresholds, "dit": 20.0}
    assert read_recipe(written(tmp_path, dump_recipe(made))) == made


def test_the_recipe_in_the_documents_is_one_and_its_first_rule_wins(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    recipe = read_recipe(written(tmp_path, text.split("```json")[1].split("```")[0]))
    assert recipe.rule_for("dit", "linear", "layers.0.to_out").formats == FLOAT.formats
    assert recipe.rule_for("dit", "linear", "layers.0.to_q").formats == INT8_DYNAMIC
    assert all(f"| `{field.name}` |" in text for field in dataclasses.fields(Rule))
