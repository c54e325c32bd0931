"""`edge-export recipes`: how a model can be quantized."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from edge_export.commands.options import JsonOption
from edge_export.console import show_json, show_tables

if TYPE_CHECKING:
    from rich.table import Table

    from quantization.recipe import Recipe


def recipes(as_json: JsonOption = False) -> None:
    """List how a model can be quantized, and what each recipe is held to."""
    from quantization.recipes import RECIPES

    if as_json:
        show_json([asdict(recipe) for recipe in RECIPES.values()])
        return
    show_tables(recipe_table(RECIPES.values()))


def recipe_table(recipes: "Iterable[Recipe]") -> "Table":
    from edge_export.report import table

    made = table("recipes", "recipe", "what it does", "least SNR against fp32")
    for recipe in recipes:
        thresholds = ", ".join(f"{stage} {threshold:g} dB" for stage, threshold in recipe.thresholds.items())
        made.add_row(recipe.name, recipe.summary, thresholds)
    return made
