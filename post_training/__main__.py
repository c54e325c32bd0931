"""`python -m post_training`: parses, calls, prints. The only place of the package that prints and exits."""

import importlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.command_line import guarded
from edge_export.errors import UsageError

if TYPE_CHECKING:
    from post_training.clips import Draw

app = typer.Typer(
    name="post_training",
    help="Train the project's own small model: autoencoder, flow, then ARC (arXiv 2505.08175).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[Path, typer.Option(metavar="FILE", help="One of configs/, or your own.")]
RunOption = Annotated[Path, typer.Option(metavar="DIR", help="The run's folder; the same one goes on.")]
StartOption = Annotated[
    str | None,
    typer.Option(metavar="CHECKPOINT", help="Go on from its weights: built-in, or a folder of `publish`."),
]
ClipsOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Clips of another run; made if not given.")]


@app.command()
def train(
    stage: Annotated[str, typer.Argument(help="autoencoder, flow or arc.")],
    config: ConfigOption,
    run: RunOption,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Instead of the config's.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Save and stop after so long.")] = None,
    clips: ClipsOption = None,
    start: StartOption = None,
    no_contrastive: Annotated[bool, typer.Option("--no-contrastive", help="ARC without L_C.")] = False,
    least_squares: Annotated[bool, typer.Option("--least-squares", help="ARC without pairs: least squares.")] = False,
) -> None:
    """Run one stage to its last step, or go on with it."""
    from post_training import runs
    from post_training.config import load_config
    from post_training.start import start_at

    if minutes is not None and not minutes >= 0:
        raise UsageError(f"--minutes is {minutes:g}, expected 0 or more")
    if stage not in runs.STAGES:
        raise UsageError(f"unknown stage {stage!r}; choose one of {', '.join(runs.STAGES)}")
    if stage != "arc" and (no_contrastive or least_squares):
        raise UsageError(f"--no-contrastive and --least-squares are ablations of arc; leave them away for {stage}")
    chosen = runs.ablated(load_config(config), contrastive=not no_contrastive, least_squares=least_squares)
    made = runs.Run(
        folder=run,
        config=runs.with_steps(chosen, stage, steps),
        draw=_draw(),
        clips_folder=clips,
        start=start_at(start, chosen.network),
        note=_note,
        progress=_Progress(),
        deadline=float("inf") if minutes is None else time.monotonic() + 60 * minutes,
    )
    reached = made.train(stage)
    label = stage if stage != "arc" else runs.arc_label(chosen)
    if reached.complete:
        print(f"{label}: {reached.step} steps done in {run}")
    else:
        print(f"{label}: stopped after step {reached.step} of {reached.steps}; the same command goes on")


@app.command()
def clips(config: ConfigOption, run: RunOption) -> None:
    """Make a run's clips and nothing else."""
    from post_training import runs
    from post_training.config import load_config

    made = runs.Run(folder=run, config=load_config(config), draw=_draw(), note=_note, progress=_Progress())
    print(f"{len(made.clips)} clips in {run / 'clips'}")


@app.command()
def publish(
    config: ConfigOption,
    run: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the run.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The checkpoint; it must not exist yet.")],
    stage: Annotated[str, typer.Option(help="Folder of the run: arc, flow, arc-no-contrastive, ...")] = "arc",
    clips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Clips by which loudness is settled; the run's if not given.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="What the run began with, if it was given one.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text of the model card; written if not given.")
    ] = None,
) -> None:
    """Write a run's model in the published layout, in half precision."""
    from post_training import runs
    from post_training.card import model_card
    from post_training.config import load_config
    from post_training.publish import publish as write
    from post_training.start import start_at

    if card is not None and not card.is_file():
        raise UsageError(f"no file {card} for the model card; leave --card away to have it written")
    settings = load_config(config)
    made = runs.Run(
        folder=run,
        config=settings,
        draw=_draw(),
        clips_folder=clips,
        start=start_at(start, settings.network),
        note=_note,
        progress=_Progress(),
    )
    if card is None:
        text = model_card(settings, stage, config, made.ran(stage), made.start)
    else:
        text = card.read_text(encoding="utf-8")
    size = write(made.trained(stage), out, text)
    print(f"{out}: {size / 1e6:.2f} MB")


def main() -> None:
    """The entry point."""
    guarded(app, "python -m post_training", extra="train", left="the same command goes on from the last saved step")


def _draw() -> "Draw":
    sounds = importlib.import_module("post_training.sounds")
    draw: Draw = sounds.draw
    return draw


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Progress:
    """A line on standard error now and then."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, what: str, done: int, total: int, /) -> None:
        if time.monotonic() - self._last > 5 or done == total:
            self._last = time.monotonic()
            _note(f"{what}: {done}/{total}")


if __name__ == "__main__":
    main()
