"""`edge-export build`: a checkpoint becomes a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_export.commands.options import JsonOption
from edge_export.console import show_json, show_line, show_note, show_progress, show_tables
from edge_export.errors import UsageError
from runtime_py.streams import summary

if TYPE_CHECKING:
    from edge_export.pipeline import Built


def build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle to make; must not exist yet.")],
    target: Annotated[str, typer.Option(help="What to build for; see `edge-export targets`.")] = "host",
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint; without it a small built-in one.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="executorch or litert; by default the target's own.")] = None,
    recipe: Annotated[
        str, typer.Option(help="How to quantize: one that `edge-export recipes` lists, or a .json file of yours.")
    ] = "int8-dynamic",
    steps: Annotated[int, typer.Option(metavar="N", help="Sampling steps the bundle plays by default.")] = 8,
    latents: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Latents of the longest clip, by default all that the model has. Fewer make every step faster, but "
            "a model that was only trained on whole clips, as the published one, then plays what it never learnt.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where compiled programs are kept, instead of in the user's cache."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compile everything, and keep nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a checkpoint into a bundle: export, quantize, lower, and prove it.

    What can be made again is kept in ~/.cache/edge-export, or in $XDG_CACHE_HOME/edge-export: compiled programs in
    programs, LiteRT's packed weights in weights, where checkpoints lay in checkpoints. Remove any of it at any time.
    """
    from edge_export.pipeline import BuildRequest, export_bundle
    from edge_export.report import check_table, program_table

    if no_cache and cache is not None:
        raise UsageError("--cache and --no-cache exclude each other; give one of them")
    if latents is not None and latents < 1:
        raise UsageError(f"latents is {latents}, expected 1 or more, up to what the model has")
    request = BuildRequest(
        out=out,
        target=target,
        checkpoint=checkpoint,
        backend=backend,
        recipe=recipe,
        steps=steps,
        latents=latents,
        cache=cache,
        cached=not no_cache,
    )
    with show_progress() as progress:
        built = export_bundle(request, progress, show_note)
    if as_json:
        show_json(build_record(built))
        return
    with summary(out):
        show_tables(program_table(built.bundle.manifest), check_table(built.checks))
        show_line(f'Built {out}. Play it: edge-export run {out} --prompt "warm arpeggios" --out x.wav')


def build_record(built: "Built") -> dict[str, Any]:
    from edge_export.report import verify_record

    files = {file.file: file.bytes for file in built.bundle.manifest.files}
    return {"files": files, **verify_record(built.bundle, built.checks)}
