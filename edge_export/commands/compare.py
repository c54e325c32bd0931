"""`edge-export compare`: records of devices' runs, or a WAV alone, held against the reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.commands.options import JsonOption, check_outputs
from edge_export.console import show_json, show_line, show_progress, show_tables
from edge_export.errors import RecordError, UsageError, VerificationError
from runtime_py.streams import summary

if TYPE_CHECKING:
    from edge_export.compare import Comparison
    from runtime_py.bundle import Bundle
    from runtime_py.record import Record


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="RUN.json... BUNDLE...", help="Records of runs, and the bundles they were made from."),
    ],
    wav: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A WAV that tells how it was made, in place of a record; and its bundle."),
    ] = None,
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
    as_json: JsonOption = False,
) -> None:
    """Hold the record of a device's run against the reference, stage by stage; or with --wav its sound alone."""
    if wav is not None:
        _compare_wav(wav, paths, against, checkpoint, report, matrix, as_json)
        return
    from edge_export.compare import refuse_failures
    from runtime_py.bundle import open_bundle

    folders, files = [path for path in paths if path.is_dir()], [path for path in paths if not path.is_dir()]
    _check_paths(folders, files, matrix)
    _check_report(report, folders, files, as_json)
    bundles = [open_bundle(folder) for folder in folders]
    results = _compared(files, bundles, against, checkpoint)
    if report is not None:
        from edge_export.compare.report import write_report

        write_report(report, results)
    with summary(None if as_json else report):
        if matrix:
            _show_matrix(results, as_json)
        else:
            _show_one(*results[0], as_json)
    if not matrix:
        refuse_failures(results[0][1])
    failed = [source for source, comparison in results if not comparison.passed]
    if failed:
        raise VerificationError(
            f"{len(failed)} of {len(results)} records are too far off: {', '.join(failed)}; compare one alone for more"
        )


def _compare_wav(
    wav: Path,
    paths: list[Path],
    against: str | None,
    checkpoint: Path | None,
    report: Path | None,
    matrix: bool,
    as_json: bool,
) -> None:
    from edge_export.compare import compare_wav, refuse_other_sound
    from edge_export.compare.show import wav_heading, wav_lines, wav_record, wav_title
    from edge_export.report import check_table
    from runtime_py.bundle import open_bundle

    if report is not None or matrix:
        raise UsageError(f"{'--matrix' if matrix else '--report'} is of records; leave it or --wav out")
    if len(paths) != 1 or paths[0].is_file():
        raise UsageError("--wav takes the bundle that the WAV was made from, and nothing else")
    bundle = open_bundle(paths[0])
    with show_progress() as progress:
        made = compare_wav(wav, bundle, against, checkpoint=checkpoint, progress=progress)
    if as_json:
        show_json(wav_record(made, wav))
    else:
        show_line(f"{wav}: {wav_title(made)}")
        show_tables(check_table([made.check], wav_heading(made)))
        for line in wav_lines(made):
            show_line(line)
    refuse_other_sound(made, wav)


def _compared(
    files: list[Path], bundles: "list[Bundle]", against: str | None, checkpoint: Path | None
) -> "list[tuple[str, Comparison]]":
    """Each record by its file's name, the furthest off first."""
    from edge_export.compare import compare as compare_record
    from runtime_py.record import read_record

    results = []
    for file, record in [(file, read_record(file)) for file in files]:
        try:
            bundle = _bundle_of(file, record, bundles)
            with show_progress() as progress:
                comparison = compare_record(record, bundle, against, checkpoint=checkpoint, progress=progress)
        except RecordError as error:
            raise error if str(file) in str(error) else RecordError(f"{file}: {error}") from error
        results.append((str(file), comparison))
    return sorted(results, key=lambda result: result[1].margin)


def _show_matrix(results: "list[tuple[str, Comparison]]", as_json: bool) -> None:
    from edge_export.compare.show import comparison_record, matrix_table

    if as_json:
        records = [comparison_record(comparison, source) for source, comparison in results]
        show_json({"passed": all(comparison.passed for _, comparison in results), "records": records})
    else:
        show_tables(matrix_table(results))


def _show_one(source: str, comparison: "Comparison", as_json: bool) -> None:
    from edge_export.compare import heading
    from edge_export.compare.show import comparison_record, step_lines, title, verdict_lines
    from edge_export.report import check_table

    if as_json:
        show_json(comparison_record(comparison, source))
        return
    show_line(f"{source}: {title(comparison)}")
    show_tables(check_table(comparison.checks, heading(comparison.against)))
    for line in (*step_lines(comparison), *verdict_lines(comparison)):
        show_line(line)


def _check_report(report: Path | None, folders: list[Path], files: list[Path], as_json: bool) -> None:
    if report is None:
        return
    from edge_export.page import require_page

    require_page()
    for folder in folders:
        check_outputs(report, bundle=folder, as_json=as_json)
    if report.resolve() in {file.resolve() for file in files}:
        raise UsageError(f"{report} is a record, which the page would replace; name another --report")


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
    from runtime_py.record import bundle_identity

    if len(bundles) == 1:
        return bundles[0]
    for bundle in bundles:
        if bundle_identity(bundle) == record.run.bundle:
            return bundle
    raise RecordError(f"{file} is of none of these bundles; name the folder it was made from too")
