"""The recipes there are. To add one, add an entry; everything else reads this table.

A recipe of a user's own is the same in a JSON file.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from quantization.recipe import AUDIO, Recipe, Rule
from runtime_py import strict_json
from runtime_py.errors import UsageError
from runtime_py.schema import read_as

# fp32 differs from the reference only by the order of sums.
FP32_DB = 80.0
MAX_RECIPE_BYTES = 1 << 20

INT8 = {"weights": "int8-channel", "activations": "int8-dynamic"}
INT8_EVERYWHERE = (
    # An eighth of the conditioner's error for a hundredth of its weights: they stay in float.
    Rule(submodule="conditioner", pattern="to_cond_embed.0"),
    Rule(submodule="conditioner", pattern="seconds_total.*"),
    # What is rounded here no later layer smooths: a floor of noise 48 dB below the loudest, where a sound falls silent.
    Rule(submodule="decoder", pattern=AUDIO),
    Rule(submodule="conditioner", operator="embedding", weights="int8-channel"),
    Rule(operator="linear", **INT8),
    Rule(operator="conv", **INT8),
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="fp32",
            summary="float32 throughout: the largest and slowest, equal to the reference",
            rules=(),
            thresholds={"conditioner": FP32_DB, "dit": FP32_DB, "decoder": FP32_DB},
        ),
        Recipe(
            name="int8-dynamic",
            summary="int8 weights per channel, dynamic int8 activations: linears, convolutions and embeddings",
            rules=INT8_EVERYWHERE,
            thresholds={"conditioner": 30.0, "dit": 25.0, "decoder": 28.0},
        ),
        Recipe(
            name="int8-dynamic-f16",
            summary="the same, the rest of dit and decoder in float16: LiteRT, on Arm CPUs that have it (FEAT_FP16)",
            rules=INT8_EVERYWHERE,
            thresholds={"conditioner": 30.0, "dit": 25.0, "decoder": 28.0},
            float16=("dit", "decoder"),
        ),
        Recipe(
            name="int8-dit",
            summary="the public recipe, to compare with: the dit's linears in int8, no rewrites, no windows",
            rules=(Rule(submodule="dit", operator="linear", **INT8),),
            thresholds={"conditioner": FP32_DB, "dit": 25.0, "decoder": FP32_DB},
            as_published=True,
        ),
    )
}


def keeping(kept: Iterable[tuple[str, str, str]], needs: dict[str, float]) -> Recipe:
    """int8-dynamic with the layers `kept` in float: (submodule, operator, name) each.

    Its thresholds stay, but for submodules that need less: what more they reach is a prediction.
    """
    base = RECIPES["int8-dynamic"]
    rules = tuple(Rule(submodule=submodule, operator=operator, pattern=name) for submodule, operator, name in kept)
    return replace(
        base,
        name="int8-dynamic-kept",
        summary=f"int8-dynamic, but {len(rules)} layer{'' if len(rules) == 1 else 's'} in float",
        rules=(*rules, *base.rules),
        thresholds={name: min(least, needs.get(name, least)) for name, least in base.thresholds.items()},
    )


def dump_recipe(recipe: Recipe) -> str:
    """The JSON text of `recipe`, as `read_recipe` reads it."""
    return json.dumps(asdict(recipe), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def recipe_for(name: str) -> Recipe:
    """The recipe called `name`, or the one in the file `name` if that ends in .json.

    Raises:
        UsageError: there is none; the message lists the choices, or says what is wrong with the file.
    """
    if name.endswith(".json"):
        return read_recipe(Path(name))
    if name not in RECIPES:
        raise UsageError(f"no recipe called {name!r}; choose from {', '.join(RECIPES)}, or name a .json file")
    return RECIPES[name]


def read_recipe(path: Path) -> Recipe:
    """A recipe in the form that `edge-export recipes --json` prints; what may be left out has its default.

    Raises:
        UsageError: the file cannot be read, or is no recipe.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no plain file")
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise ValueError(f"it is larger than {MAX_RECIPE_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            raise ValueError("it is empty")
        document = strict_json.parse(text)
        json.dumps(document, ensure_ascii=False).encode()  # ValueError: half a character, which no manifest can hold
        return read_as(Recipe, document, defaults=True)
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}; name a file, or a known recipe") from error
    except ValueError as error:
        raise UsageError(f"{path} is no recipe: {error}; see `edge-export recipes --json`") from error
