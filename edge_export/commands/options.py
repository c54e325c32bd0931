"""Options and checks that several commands share. It knows no command."""

from pathlib import Path
from typing import Annotated

import typer

from edge_export.errors import UsageError
from runtime_py import files

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder made by `edge-export build`.")]
SecondsOption = Annotated[
    float | None, typer.Option(metavar="S", help="Length of the clip; 7, or the model's whole clip if shorter.")
]
SeedOption = Annotated[
    str | None,
    typer.Option(metavar="N|random", help="The same seed gives the same sound; 0. random: draw one."),
]
StepsOption = Annotated[int | None, typer.Option(metavar="N", help="Sampling steps; by default the bundle's.")]
ThreadsOption = Annotated[int | None, typer.Option(metavar="N", help="CPU threads; one for each fast core by default.")]
FloatOption = Annotated[bool, typer.Option("--float", help="Write 32-bit float samples instead of 16-bit.")]
NormalizeOption = Annotated[bool, typer.Option("--normalize", help="Bring the peak to -1 dBFS.")]
NoFadeOption = Annotated[
    bool, typer.Option("--no-fade", help="Do not let the last 5 ms of a cut clip fall to silence.")
]
NoTagsOption = Annotated[
    bool, typer.Option("--no-tags", help="Write the sound alone, without its prompt and how to make it again.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Play even where less memory is free than it takes.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def check_outputs(*paths: Path | None, bundle: Path | None = None, as_json: bool = False) -> None:
    """Refuse outputs that could not be written, or that would spoil the bundle, before any work is done."""
    files.check_outputs(*paths, bundle=bundle)
    printed = [path for path in paths if files.is_stdout(path)]
    if as_json and printed:
        raise UsageError(f"--json and {printed[0]} would both go to standard output; name a file, or leave --json out")


def check_runner_takes(path: Path | None, threads: int | None) -> None:
    """Refuse what a device's runner would: a file that is no WAV, and threads out of range."""
    from runtime_py.engine import check_threads
    from runtime_py.sound import WAV, format_of

    if path is not None:
        format_of(path, formats=(WAV,))
    check_threads(threads)


def check_plot(path: Path | None) -> None:
    """Refuse a picture that could not be drawn, before any work is done."""
    if path is not None:
        from edge_export.plots import check_picture

        check_picture(path)


def check_checkpoint(checkpoint: Path | None, option: str, given: str | None) -> None:
    if checkpoint is not None and given != "reference":
        raise UsageError(f"--checkpoint is for the reference; add {option} reference, or leave --checkpoint out")
