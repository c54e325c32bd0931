"""`edge-export fetch`: the published checkpoint, or a fine-tune of it."""

from pathlib import Path
from typing import Annotated

import typer

from edge_export.console import show_line, show_note, show_progress


def fetch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the checkpoint.")],
    repo: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Another repository of the same layout, a fine-tune's; its text encoder is T5-base.",
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="REV", help="A branch, tag or commit of the repository; its newest by default."),
    ] = None,
) -> None:
    """Download Stable Audio Open Small and its T5 encoder from the hub; resumes where it stopped."""
    from edge_export.fetch import MODEL_REPO, fetch_checkpoint

    with show_progress() as progress:
        fetched = fetch_checkpoint(folder, progress, model_repo=MODEL_REPO if repo is None else repo, revision=revision)
    for text in fetched.notes:
        show_note(text)
    show_line(
        f"Fetched {folder}. Build it: edge-export build --target android-arm64 --checkpoint {folder} --out bundle"
    )
