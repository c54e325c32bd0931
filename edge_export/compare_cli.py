"""`edge-export compare`: parses, calls, and shows by the means of `edge_export.cli`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.errors import RecordError, UsageError, VerificationError

if TYPE_CHECKING:
    from edge_export.compare import Comparison
    from runtime_py.bundle import Bundle
    from runtime_py.record import Record


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="RUN.json... BUNDLE...", help="Records of runs, and the bundles they were made from."),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="`reference`: the fp32 network; `bundle`: its own programs on this machine; `golden`: its golden "
            "vectors; or another record. By default the best that is at hand.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint the bundle was built from, if it moved.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an HTML page with sound, pictures and times.")
    ] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Many records in one table, the furthest off first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Hold the record of a device's run against the reference, stage by stage."""
    from edge_export import report as show
    from edge_export.cli import _check_outputs, _print, _print_json, _progress
    from edge_export.compare import compare as compared
    from edge_export.compare import heading, refuse_failures
    from runtime_py.bundle import open_bundle
    from runtime_py.record import read_record

    folders, files = [path for path in paths if path.is_dir()], [path for path in paths if not path.is_dir()]
    _check_paths(folders, files, matrix)
    if report is not None:
        from edge_export.page import require_page

        require_page()
        for folder in folders:
            _check_outputs(report, bundle=folder)
        if report.resolve() in {file.resolve() for file in files}:
            raise UsageError(f"{report} is a record, which the page would replace; name another --report")
    bundles = [open_bundle(folder) for folder in folders]
    records = [(file, read_record(file)) for file in files]
    results: list[tuple[str, Comparison]] = []
    for file, record in records:
        try:
            bundle = _bundle_of(file, record, bundles)
            with _progress() as heard:
                results.append((str(file), compared(record, bundle, against, checkpoint=checkpoint, heard=heard)))
        except RecordError as error:
            raise error if str(file) in str(error) else RecordError(f"{file}: {error}") from error
    results.sort(key=lambda result: result[1].margin)
    if report is not None:
        from edge_export.compare_report import write_report

        write_report(report, results)
    if as_json:
        shown = [show.comparison_record(comparison, source) for source, comparison in results]
        passed = all(comparison.passed for _, comparison in results)
        _print_json({"passed": passed, "records": shown} if matrix else shown[0])
    elif matrix:
        _print(show.matrix_table(results))
    else:
        comparison = results[0][1]
        typer.echo(f"{results[0][0]}: {_what(comparison)}")
        _print(show.check_table(comparison.checks, heading(comparison.against)))
        for line in (*_steps(comparison), *_verdict(comparison)):
            typer.echo(line)
    if not matrix:
        refuse_failures(results[0][1])
    failed = [source for source, comparison in results if not comparison.passed]
    if failed:
        raise VerificationError(
            f"{len(failed)} of {len(results)} records are too far off: {', '.join(failed)}; compare one alone for more"
        )


def _check_paths(folders: list[Path], files: list[Path], matrix: bool) -> None:
    for file in files:
        if not file.exists():
            raise RecordError(f"there is no {file}; name a record (a file) and the bundle it was made from (a folder)")
    if not files:
        raise UsageError("no record is named: give a run.json and the bundle it was made from")
    if not folders:
        raise UsageError("no bundle is named: give the folder that the record was made from")
    if not matrix and len(files) + len(folders) > 2:
        raise UsageError("several records or bundles: add --matrix to see them in one table")


def _bundle_of(file: Path, record: "Record", bundles: "list[Bundle]") -> "Bundle":
    """The bundle that a record says it is of; with one bundle only, that, which `compare` then holds it to."""
    from runtime_py.record import played

    if len(bundles) == 1:
        return bundles[0]
    for bundle in bundles:
        if played(bundle) == record.facts.bundle:
            return bundle
    raise RecordError(f"{file} is of none of these bundles; name the folder it was made from too")


def _what(comparison: "Comparison") -> str:
    """Who played what, in one line."""
    from edge_export.report import named_device, shown

    facts = comparison.record.facts
    device, asked = facts.device, facts.request
    request = f"{asked.prompt!r}, {asked.seconds:g} s, seed {asked.seed}, {asked.steps} steps"
    return f"{request}, {facts.bundle.backend} {facts.bundle.recipe}, on {shown(named_device(device))}"


def _verdict(comparison: "Comparison") -> list[str]:
    """Of a record that passed; one that did not is an error."""
    from edge_export.report import margin_text

    margin = (
        "all are equal" if comparison.margin == float("inf") else f"the nearest by {margin_text(comparison.margin)} dB"
    )
    return [f"Passed: every stage holds what it has to, {margin}"] if comparison.passed else []


def _steps(comparison: "Comparison") -> list[str]:
    """What the table does not say of the dit's steps, one line each."""

    def list_of(values: tuple[float, ...]) -> str:
        return ", ".join("equal" if value == float("inf") else f"{value:.0f}" for value in values)

    which = "on its own input" if comparison.against in ("reference", "golden", "bundle") else "of the two"
    lines = [f"Each dit step {which}, in dB: {list_of(comparison.steps)}"] if comparison.steps else []
    if comparison.drift:
        lines.append(f"What enters each step, against the other trajectory: {list_of(comparison.drift)}")
    if comparison.first_differing is not None and comparison.against not in ("reference", "golden"):
        lines.append(f"The first step that differs at all is {comparison.first_differing}")
    return lines
