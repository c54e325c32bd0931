"""`edge-export new-checkpoint`: random weights in the published layout."""

from pathlib import Path
from typing import Annotated

import typer

from edge_export.console import show_line, show_progress
from runtime_py.streams import summary


def new_checkpoint(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The checkpoint to make; must not exist yet.")],
    size: Annotated[str, typer.Option(help="tiny, or published: Stable Audio Open Small's exact size.")] = "tiny",
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same weights.")] = 0,
) -> None:
    """Write a checkpoint with random weights in the published layout: it plays noise, and measures true."""
    from edge_export.new_checkpoint import write_new_checkpoint

    with show_progress() as progress:
        write_new_checkpoint(folder, size, seed, progress)
    with summary(folder):
        show_line(f"Wrote {folder}. Build it: edge-export build --checkpoint {folder} --out bundle")
