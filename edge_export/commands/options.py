"""Options and checks that several commands share. It knows no command."""

from pathlib import Path
from typing import Annotated

import typer

from edge_export.errors import OutputError, UsageError

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder made by `edge-export build`.")]
SecondsOption = Annotated[
    float | None, typer.Option(metavar="S", help="Length of the clip; 7, or the model's whole clip if shorter.")
]
StepsOption = Annotated[int | None, typer.Option(metavar="N", help="Sampling steps; by default the bundle's.")]
ThreadsOption = Annotated[int | None, typer.Option(metavar="N", help="CPU threads; all of them by default.")]
FloatOption = Annotated[bool, typer.Option("--float", help="Write 32-bit float samples instead of 16-bit.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Play even where less memory is free than it takes.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def check_outputs(*paths: Path | None, bundle: Path | None) -> None:
    """Refuse outputs that could not be written, or that would spoil the bundle, before any work is done."""
    wanted = [path for path in paths if path is not None]
    for path in wanted:
        if bundle is not None and path.resolve().is_relative_to(bundle.resolve()):
            raise OutputError(f"{path} lies inside the bundle, which must stay as it is; write elsewhere")
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file")
        if not path.absolute().parent.is_dir():
            raise OutputError(f"{path.parent} is no folder; make it first, or write elsewhere")
    where = [path.resolve() for path in wanted]
    twice = [path for path in wanted if where.count(path.resolve()) > 1]
    if twice:
        raise UsageError(f"{' and '.join(map(str, twice))} are one file; name two files")


def check_plot(path: Path | None) -> None:
    """Refuse a picture that could not be drawn, before any work is done."""
    if path is not None:
        from edge_export.plots import check_picture

        check_picture(path)


def check_checkpoint(checkpoint: Path | None, option: str, given: str | None) -> None:
    if checkpoint is not None and given != "reference":
        raise UsageError(f"--checkpoint is for the reference; add {option} reference, or leave --checkpoint out")
