"""`python -m post_training.train_judge`: reads a config, trains the judge, says how well it hears."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_export.command_line import guarded
from edge_export.errors import OutputError
from post_training.classifier import JUDGE_FILE, ClassifierConfig, train_classifier
from post_training.config import read_settings
from runtime_py.files import replace_file

RESULT_FILE = "judge.json"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    guarded(app, "python -m post_training.train_judge", extra="train")


@app.command(epilog="Example: python -m post_training.train_judge --config configs/judge.toml --run runs/judge")
def train_judge(
    run: Annotated[Path, typer.Option(metavar="DIR", help="Where judge.safetensors and judge.json go.")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="As configs/judge.toml, the default.")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Instead of the config's.")] = None,
) -> None:
    """Train the independent judge on real clips, and test it on held-out ones."""
    from edge_export.console import show_line, show_progress
    from post_training.evaluation import the_sounds

    settings = read_settings(ClassifierConfig, config) if config else ClassifierConfig()
    settings = settings if epochs is None else ClassifierConfig(**(asdict(settings) | {"epochs": epochs}))
    sounds = the_sounds()
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {run}: {error.strerror}; name another --run") from error
    with show_progress() as progress:
        trained = train_classifier(sounds.draw, sounds.RATE, tuple(sounds.KINDS), settings, run / JUDGE_FILE, progress)
    record = {
        "accuracy": trained.accuracy,
        "bytes": trained.path.stat().st_size,
        "config": asdict(settings),
        "confusions": trained.confusions,
    }
    replace_file(run / RESULT_FILE, (json.dumps(record, indent=2) + "\n").encode())
    show_line(
        f"{trained.path}: {trained.path.stat().st_size / 1e3:.0f} kB, right on {trained.accuracy:.2%} of held-out clips"
    )
    for kind, taken_for, count in trained.confusions[:10]:
        show_line(f"  {kind} heard as {taken_for}: {count}")


if __name__ == "__main__":
    main()
