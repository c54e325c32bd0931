"""`python -m post_training.evaluate`: parses, calls, and shows by the means of `edge_export.console`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.command_line import guarded
from edge_export.commands.options import check_outputs, check_plot
from edge_export.errors import UsageError
from runtime_py.streams import summary

if TYPE_CHECKING:
    from rich.table import Table

    from post_training.evaluation import Evaluation

BundleOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A bundle of this checkpoint, held against its fp32 network.")
]
BaseOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The base model before ARC, played by Euler steps.")
]
AutoencoderOption = Annotated[
    bool, typer.Option("--autoencoder", help="Put the prompts' real clips through the autoencoder, too.")
]
ReferencesOption = Annotated[int, typer.Option(metavar="N", help="Real clips that the Frechet distance is taken to.")]
JudgeOption = Annotated[Path | None, typer.Option(metavar="FILE", help="A trained judge; by default the one inside.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line, no table.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    guarded(app, "python -m post_training.evaluate", extra="train")


@app.command(epilog="Example: python -m post_training.evaluate --checkpoint built-in --prompts 100 --json")
def evaluate(
    checkpoint: Annotated[str, typer.Option(metavar="DIR", help="A checkpoint; `built-in` is the one inside.")],
    prompts: Annotated[int, typer.Option(metavar="N", help="Held-out prompts to play.")] = 100,
    steps: Annotated[str, typer.Option(metavar="N,...", help="Steps of ping-pong to play the checkpoint with.")] = "8",
    bundle: BundleOption = None,
    base: BaseOption = None,
    base_steps: Annotated[str, typer.Option(metavar="N,...", help="Steps to play the base with.")] = "8,25,50,100",
    guidance: Annotated[str, typer.Option(metavar="W,...", help="Guidance of the base; 1 is none.")] = "1,4",
    autoencoder: AutoencoderOption = False,
    seeds: Annotated[int, typer.Option(metavar="N", help="Sounds of one prompt to measure diversity among.")] = 4,
    diverse: Annotated[int, typer.Option(metavar="N", help="Prompts to measure diversity with.")] = 25,
    references: ReferencesOption = 500,
    judge: JudgeOption = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that draw real clips; 0 is this one.")] = 2,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML page to listen to.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the figures over the steps.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Play held-out prompts, and let an independent judge and signal processing say how well they were followed."""
    from edge_export.console import show_progress
    from post_training import evaluation as found
    from post_training.classifier import PACKAGED
    from post_training.evaluation_report import AUDIBLE, plot_evaluation, write_report

    _check_outputs(report, plot, as_json)
    request = found.EvaluationRequest(
        checkpoint=None if checkpoint == found.BUILT_IN else Path(checkpoint),
        bundle=bundle,
        base=base,
        prompts=prompts,
        steps=tuple(sorted({int(number) for number in _numbers(steps, "--steps", int)})),
        base_steps=tuple(sorted({int(number) for number in _numbers(base_steps, "--base-steps", int)})),
        guidance=tuple(sorted(set(_numbers(guidance, "--guidance", float)))),
        seeds=seeds,
        diverse=diverse,
        references=references,
        judge=judge or PACKAGED,
        audible=AUDIBLE if report is not None else 0,
        workers=workers,
        autoencoder=autoencoder,
    )
    found.check_request(request)
    with show_progress() as progress:
        evaluation = found.evaluate(request, found.the_sounds(), progress)
        if report is not None:
            write_report(report, evaluation, progress)
    if plot is not None:
        plot_evaluation(plot, evaluation)
    with summary(*([] if as_json else [report, plot])):
        _show(evaluation, as_json)


def _show(evaluation: "Evaluation", as_json: bool) -> None:
    from edge_export.console import show_line, show_tables
    from post_training.evaluation import evaluation_record
    from post_training.evaluation_text import remarks

    if as_json:
        show_line(json.dumps(evaluation_record(evaluation), ensure_ascii=False, allow_nan=False))
        return
    show_tables(evaluation_table(evaluation))
    for line in remarks(evaluation):
        show_line(line)


def evaluation_table(evaluation: "Evaluation") -> "Table":
    from edge_export.report import table
    from post_training.evaluation_text import COLUMNS, cells

    made = table(
        f"{evaluation.checkpoint}: {len(evaluation.cases)} held-out prompts of {evaluation.seconds:.2f} s",
        "",
        *COLUMNS,
        right=COLUMNS,
    )
    for row in evaluation.shown:
        made.add_row(row.label, *cells(row))
    return made


def _numbers(text: str, option: str, kind: type[int] | type[float]) -> list[float]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} is {text!r}, expected numbers such as 1,2,4,8") from None


def _check_outputs(report: Path | None, plot: Path | None, as_json: bool) -> None:
    """Refuse what could not be written before anything is played."""
    check_outputs(report, plot, as_json=as_json)
    if report is not None:
        from post_training.evaluation_report import require_report

        require_report()
    check_plot(plot)


if __name__ == "__main__":
    main()
