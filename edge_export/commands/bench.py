"""`edge-export bench`: times and memory of a bundle, alone or paired with another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.commands.options import (
    BundleArgument,
    SecondsOption,
    check_checkpoint,
    check_outputs,
    check_plot,
)
from edge_export.console import json_text, show_progress, show_tables

if TYPE_CHECKING:
    from edge_export.bench.measure import Bench


def bench(
    bundle: BundleArgument,
    against: Annotated[
        str | None, typer.Option(metavar="BUNDLE", help="Another bundle, or `reference`: the fp32 PyTorch model.")
    ] = None,
    seconds: SecondsOption = None,
    threads: Annotated[
        str | None,
        typer.Option(metavar="N[,N...]", help="CPU threads; one for each fast core by default. A list: with each."),
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="Generations to measure, each in a fresh process.")] = 5,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint for --against reference.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON; - prints them.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw where the time goes; of a list, against threads.")
    ] = None,
) -> None:
    """Measure a bundle: load, first and steady times, time to first audio, memory; paired with another if given."""
    from edge_export.bench.measure import BenchRequest, sweep
    from edge_export.bench.threads import read_threads

    counts = (None,) if threads is None else read_threads(threads)
    check_checkpoint(checkpoint, "--against", against)
    check_outputs(json_file, plot, bundle=bundle)
    check_plot(plot)
    request = BenchRequest(bundle=bundle, against=against, seconds=seconds, runs=runs, checkpoint=checkpoint)
    with show_progress() as progress:
        benches = sweep(request, counts, progress)
    _show(benches, json_file, plot)


def _show(benches: "tuple[Bench, ...]", json_file: Path | None, plot: Path | None) -> None:
    from edge_export.bench.plot import plot_bench, plot_sweep
    from edge_export.bench.show import bench_record, bench_table, sweep_record, sweep_tables
    from runtime_py.files import replace_file
    from runtime_py.streams import summary

    first, *others = benches
    if plot is not None:
        plot_sweep(plot, benches) if others else plot_bench(plot, first)
    if json_file is not None:
        record = sweep_record(benches) if others else bench_record(first)
        replace_file(json_file, json_text(record).encode())
    with summary(json_file):
        show_tables(*(sweep_tables(benches) if others else bench_table(first.summary, first.paired)))
