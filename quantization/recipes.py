"""The recipes there are. To add one, add an entry; everything else reads this table."""

from quantization.recipe import Recipe, Rule
from runtime_py.errors import UsageError

# fp32 differs from the reference only by the order of sums.
FP32_DB = 80.0

INT8_DYNAMIC = {"weights": "int8-channel", "activations": "int8-dynamic"}

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
            summary="int8 weights per channel, dynamic int8 activations, for every linear of conditioner and dit",
            rules=(
                Rule(submodule="conditioner", operator="linear", **INT8_DYNAMIC),
                Rule(submodule="dit", operator="linear", **INT8_DYNAMIC),
            ),
            thresholds={"conditioner": 25.0, "dit": 25.0, "decoder": FP32_DB},
        ),
    )
}


def recipe_for(name: str) -> Recipe:
    """The recipe called `name`; UsageError lists the choices when there is none."""
    if name not in RECIPES:
        raise UsageError(f"no recipe called {name!r}; choose from {', '.join(RECIPES)}")
    return RECIPES[name]
