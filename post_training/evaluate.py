"""`python -m post_training.evaluate`: parses, calls, and shows by the means of `edge_export.console`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.command_line import guarded
from edge_export.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from post_training.evaluation import Evaluation, Row

COLUMNS = ("adherence", "Frechet", "diversity", "tempo", "key", "note", "adjectives", "s a clip")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    guarded(app, "python -m post_training.evaluate", extra="train")


@app.command(epilog="Example: python -m post_training.evaluate --checkpoint built-in --prompts 100 --json")
def evaluate(
    checkpoint: Annotated[str, typer.Option(metavar="DIR", help="A checkpoint; `built-in` is the one inside.")],
    prompts: Annotated[int, typer.Option(metavar="N", help="Held-out prompts to play.")] = 100,
    steps: Annotated[str, typer.Option(metavar="N,...", help="Steps of ping-pong to play the checkpoint with.")] = "8",
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A bundle of this checkpoint, held against its fp32 network.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The base model before ARC, played by Euler steps.")
    ] = None,
    base_steps: Annotated[str, typer.Option(metavar="N,...", help="Steps to play the base with.")] = "8,25,50,100",
    guidance: Annotated[str, typer.Option(metavar="W,...", help="Guidance of the base; 1 is none.")] = "1,4",
    autoencoder: Annotated[
        bool, typer.Option("--autoencoder", help="Put the prompts' real clips through the autoencoder, too.")
    ] = False,
    seeds: Annotated[int, typer.Option(metavar="N", help="Sounds of one prompt to measure diversity among.")] = 4,
    diverse: Annotated[int, typer.Option(metavar="N", help="Prompts to measure diversity with.")] = 25,
    references: Annotated[
        int, typer.Option(metavar="N", help="Real clips that the Frechet distance is taken to.")
    ] = 500,
    judge: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A trained judge; by default the one inside.")
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that draw real clips; 0 is this one.")] = 2,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML page to listen to.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the figures over the steps.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on one line, no table.")] = False,
) -> None:
    """Play held-out prompts, and let an independent judge and signal processing say how well they were followed."""
    from edge_export.console import show_progress, show_tables
    from post_training import evaluation as found
    from post_training.classifier import PACKAGED

    _check_outputs(report, plot)
    if report is not None:
        from post_training.evaluation_report import HEARD, require_report, write_report

        require_report()
    if plot is not None:
        from edge_export.plots import check_picture
        from post_training.evaluation_report import plot_evaluation

        check_picture(plot)
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
        heard=HEARD if report is not None else 0,
        workers=workers,
        autoencoder=autoencoder,
    )
    found.check_request(request)
    with show_progress() as heard:
        evaluation = found.evaluate(request, found.the_sounds(), heard)
        if report is not None:
            write_report(report, evaluation, heard)
    if plot is not None:
        plot_evaluation(plot, evaluation)
    if as_json:
        typer.echo(json.dumps(found.evaluation_record(evaluation), ensure_ascii=False, allow_nan=False))
        return
    show_tables(evaluation_table(evaluation))
    for line in remarks(evaluation):
        typer.echo(line)


def evaluation_table(evaluation: "Evaluation") -> "Table":
    from edge_export.report import table

    made = table(
        f"{evaluation.checkpoint}: {len(evaluation.cases)} held-out prompts of {evaluation.seconds:.2f} s",
        "",
        *COLUMNS,
        right=COLUMNS,
    )
    for row in evaluation.shown:
        made.add_row(row.label, *cells(row))
    return made


def cells(row: "Row") -> tuple[str, ...]:
    """The figures of a row as they are shown, in the order of the table."""
    from post_training.evaluation import SHARES

    return (
        _percent(row.adherence),
        f"{row.frechet:.2f}",
        "" if row.diversity is None else f"{row.diversity:.3f}",
        *(_percent(row.shares[share]) for share in SHARES),
        "" if row.seconds is None else f"{row.seconds:.2f}",
    )


def remarks(evaluation: "Evaluation") -> list[str]:
    """What the table does not say, a line each."""
    from post_training.evaluation import difference

    real = len(evaluation.cases) + evaluation.references
    lines = [
        f"The judge is right on {evaluation.classifier_accuracy:.1%} of {real} real held-out clips; the "
        f"Frechet distance is to {evaluation.references} of them."
    ]
    weakest = sorted(evaluation.judged.by_kind.items(), key=lambda item: item[1])[:8]
    lost = [f"{kind} {share:.0%}" for kind, share in weakest if share < 1]
    if lost:
        lines.append(f"Weakest kinds at {evaluation.judged.label}: {', '.join(lost)}.")
    if evaluation.autoencoder is not None:
        lines.append(
            f"Real clips, encoded and decoded, are off by {evaluation.autoencoder.log_mel_db:.2f} dB of log-mel level; "
            f"their SI-SDR is {evaluation.autoencoder.si_sdr_db:.1f} dB."
        )
    if evaluation.bundle is not None:
        cost = difference(evaluation.bundle, evaluation.judged)
        growth = cost["frechet_growth"]
        lines.append(
            f"The bundle loses {100 * (cost['adherence_lost'] or 0):.1f} points of adherence against fp32; its Frechet "
            f"distance is {'not comparable' if growth is None else f'{growth:+.1%}'}."
        )
    return lines


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _numbers(text: str, option: str, kind: type[int] | type[float]) -> list[float]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} is {text!r}, expected numbers such as 1,2,4,8") from None


def _check_outputs(*paths: Path | None) -> None:
    """Refuse what could not be written before anything is played."""
    for path in paths:
        if path is not None and path.is_dir():
            raise OutputError(f"{path} is a folder; name a file")
        if path is not None and not path.absolute().parent.is_dir():
            raise OutputError(f"{path.parent} is no folder; make it first, or write elsewhere")


if __name__ == "__main__":
    main()
