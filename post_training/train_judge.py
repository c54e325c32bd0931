"""`python -m post_training.train_judge`: reads a config, trains the judge, says how well it hears."""

import difflib
import json
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_export.command_line import guarded
from edge_export.errors import OutputError, UsageError
from post_training.classifier import JUDGE_FILE, ClassifierConfig, train_classifier
from runtime_py.audio import replace_file

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
    from edge_export.console import show_progress
    from post_training.evaluation import the_sounds

    settings = load_classifier_config(config) if config else ClassifierConfig()
    settings = settings if epochs is None else ClassifierConfig(**(asdict(settings) | {"epochs": epochs}))
    sounds = the_sounds()
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {run}: {error.strerror}; name another --run") from error
    with show_progress() as heard:
        trained = train_classifier(sounds.draw, sounds.RATE, tuple(sounds.KINDS), settings, run / JUDGE_FILE, heard)
    record = {
        "accuracy": trained.accuracy,
        "bytes": trained.path.stat().st_size,
        "config": asdict(settings),
        "confusions": trained.confusions,
    }
    replace_file(run / RESULT_FILE, (json.dumps(record, indent=2) + "\n").encode())
    typer.echo(
        f"{trained.path}: {trained.path.stat().st_size / 1e3:.0f} kB, right on {trained.accuracy:.2%} of held-out clips"
    )
    for kind, taken_for, count in trained.confusions[:10]:
        typer.echo(f"  {kind} heard as {taken_for}: {count}")


def load_classifier_config(path: Path) -> ClassifierConfig:
    """Read the TOML file at `path`; what it leaves out has its default.

    Raises:
        UsageError: no such file, no TOML, or a setting that is unknown or of another type.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; take configs/judge.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from error
    kinds = {field.name: type(field.default) for field in fields(ClassifierConfig)}
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in kinds:
            close = difflib.get_close_matches(key, kinds, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"it may have {', '.join(kinds)}"
            raise UsageError(f"{path}: unknown setting {key!r}; {meant}")
        values[key] = float(value) if kinds[key] is float and type(value) is int else value
        if type(values[key]) is not kinds[key]:
            raise UsageError(f"{path}: {key} is {value!r}, expected {kinds[key].__name__}")
    return ClassifierConfig(**values)


if __name__ == "__main__":
    main()
