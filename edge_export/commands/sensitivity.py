"""`edge-export sensitivity`: which layers suffer in int8, and a recipe that spares them."""

import math
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.commands.options import JsonOption, check_outputs, check_plot
from edge_export.console import show_json, show_line, show_note, show_progress, show_tables
from edge_export.errors import UsageError
from runtime_py.files import is_stdout
from runtime_py.streams import summary

if TYPE_CHECKING:
    from edge_export.sensitivity import LayerError
    from quantization.recipe import Recipe


def sensitivity(
    source: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE|CHECKPOINT", help="Either; the built-in checkpoint by default.")
    ] = None,
    submodule: Annotated[
        list[str] | None, typer.Option(help="conditioner, dit or decoder; may be repeated. All of them by default.")
    ] = None,
    layers: Annotated[str, typer.Option(metavar="PATTERN", help="Only layers whose names match.")] = "*",
    backend: Annotated[
        str | None, typer.Option(help="Whose layers: executorch or litert; by default the bundle's, or litert.")
    ] = None,
    need: Annotated[
        float | None, typer.Option(metavar="DB", help="Also say which layers to keep in float to reach so many dB.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --need: write the .json recipe that does, for `build --recipe`."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint a bundle was built from, if it moved.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the layers and their errors.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what each layer alone does to the sound in int8, worst first."""
    from edge_export.sensitivity import measure_layers
    from edge_export.sensitivity.show import sensitivity_record, sensitivity_table
    from edge_export.source import open_source
    from edge_export.submodules import SUBMODULES

    _check_need(need, recipe)
    check_outputs(plot, recipe, bundle=source, as_json=as_json)
    check_plot(plot)
    with show_progress() as progress:
        found, its_backend = open_source(source, checkpoint)
        for text in found.notes:
            show_note(text)
        backend = backend or its_backend
        errors = measure_layers(found, backend, tuple(submodule or SUBMODULES), layers, progress)
    if plot is not None:
        from edge_export.sensitivity.plot import plot_sensitivity

        plot_sensitivity(plot, errors)
    spared = None if need is None else _spared(errors, need, recipe)
    if as_json:
        show_json(
            sensitivity_record(errors)
            | ({} if spared is None else {"keep_in_float": spared[0], "recipe": asdict(spared[1])})
        )
        return
    with summary(recipe):
        show_tables(sensitivity_table(errors))
        if need is not None and spared is not None:
            weights = None if found.folder == BUILTIN_CHECKPOINT else found.folder
            for line in _advice(need, spared[0], recipe, weights, backend):
                show_line(line)


def _spared(errors: "tuple[LayerError, ...]", need: float, path: Path | None) -> "tuple[list[str], Recipe]":
    """The names of layers to keep in float, and the recipe that does, written to `path` if there is one."""
    from edge_export.sensitivity import MARGIN_DB, suggest
    from quantization.recipes import dump_recipe, keeping
    from runtime_py.files import replace_file

    kept = suggest(errors, need + MARGIN_DB)
    recipe = keeping(
        ((layer.submodule, layer.operator, layer.name) for layer in kept),
        {error.submodule: need for error in errors},
    )
    if path is not None:
        replace_file(path, dump_recipe(recipe).encode())
    return [layer.name for layer in kept], recipe


def _advice(need: float, names: list[str], recipe: Path | None, weights: Path | None, backend: str) -> Iterator[str]:
    """What to keep in float, and how to build with it."""
    yield f"To reach {need:g} dB, keep in float: {', '.join(names) or 'nothing'}"
    if recipe is None:
        yield "The same again with --recipe mine.json writes the recipe for `edge-export build`"
        return
    if is_stdout(recipe):
        return
    checkpoint = () if weights is None else ("--checkpoint", str(weights))
    command = ("edge-export", "build", *checkpoint, "--backend", backend, "--recipe", str(recipe), "--out", "bundle")
    yield f"Wrote {recipe}. Build with it: {shlex.join(command)}"


def _check_need(need: float | None, recipe: Path | None) -> None:
    if need is not None and not 0 < need < math.inf:
        raise UsageError(f"need is {need:g}, expected a number of dB above 0")
    if recipe is not None and need is None:
        raise UsageError("--recipe writes what --need finds; add --need DB")
    if recipe is not None and recipe.suffix != ".json" and not is_stdout(recipe):
        raise UsageError(f"--recipe is {recipe}, expected a name that ends in .json, as `build --recipe` does")
