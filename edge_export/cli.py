"""The table of contents of the command line. It computes and shows nothing.

What a command needs is imported by the command, so that `--help` answers at once.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge_export import __version__
from edge_export.command_line import guarded
from edge_export.commands.bench import bench
from edge_export.commands.build import build
from edge_export.commands.compare import compare
from edge_export.commands.device import device_app
from edge_export.commands.fetch import fetch
from edge_export.commands.inspect import inspect
from edge_export.commands.new_checkpoint import new_checkpoint
from edge_export.commands.recipes import recipes
from edge_export.commands.run import run
from edge_export.commands.sensitivity import sensitivity
from edge_export.commands.targets import targets
from edge_export.commands.verify import verify
from edge_export.console import show_line

# heading -> the commands under it, in the order of use, each with an example
CONTENTS: dict[str, tuple[tuple[Callable[..., None] | typer.Typer, str], ...]] = {
    "Make a bundle": (
        (fetch, "fetch sao-small"),
        (new_checkpoint, "new-checkpoint tiny --size tiny --seed 0"),
        (build, "build --target android-arm64 --checkpoint sao-small --out bundle"),
        (recipes, "recipes"),
        (targets, "targets"),
    ),
    "Play it and prove it": (
        (run, 'run bundle --prompt "warm arpeggios on house beats 120BPM" --out x.wav'),
        (verify, "verify bundle --json"),
        (inspect, "inspect bundle"),
    ),
    "Measure": (
        (
            bench,
            "bench bundle --against reference --seconds 7 --threads 2 --plot bench.png; "
            "threads: edge-export bench bundle --threads 1,2,4 --plot threads.png",
        ),
        (sensitivity, "sensitivity sao-small --submodule decoder --plot decoder.png"),
    ),
    "On a device": (
        (device_app, "device run bundle --on qemu --golden --record run.json"),
        (
            compare,
            "compare run.json bundle --report report.html; of a sound alone: edge-export compare --wav x.wav bundle",
        ),
    ),
}


class InOrder(TyperGroup):
    """Lists commands as CONTENTS has them; Typer itself would list groups of commands first."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = [example.split()[0] for commands in CONTENTS.values() for _, example in commands]
        return sorted(super().list_commands(ctx), key=order.index)


app = typer.Typer(
    name="edge-export",
    cls=InOrder,
    help="Export ARC text-to-audio models to phones, play them, and prove that they sound the same.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for heading, commands in CONTENTS.items():
    for command, example in commands:
        epilog = f"Example: edge-export {example}"
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=heading, epilog=epilog)
        else:
            app.command(rich_help_panel=heading, epilog=epilog)(command)


def main() -> None:
    """The entry point."""
    guarded(app, "edge-export")


def _version(wanted: bool) -> None:
    if wanted:
        show_line(f"edge-export {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass
