"""`edge-export fetch`: the published checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from edge_export.console import show_line, show_progress


def fetch(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the checkpoint.")]) -> None:
    """Download Stable Audio Open Small and its T5 encoder from the hub; resumes where it stopped."""
    from edge_export.fetch import fetch_checkpoint

    with show_progress() as progress:
        fetch_checkpoint(folder, progress)
    show_line(
        f"Fetched {folder}. Build it: edge-export build --target android-arm64 --checkpoint {folder} --out bundle"
    )
