"""`edge-export bench`: times and memory of a bundle, alone or paired with another."""

from pathlib import Path
from typing import Annotated

import typer

from edge_export.commands.options import (
    BundleArgument,
    SecondsOption,
    ThreadsOption,
    check_checkpoint,
    check_outputs,
    check_plot,
)
from edge_export.console import json_text, show_progress, show_tables


def bench(
    bundle: BundleArgument,
    against: Annotated[
        str | None, typer.Option(metavar="BUNDLE", help="Another bundle, or `reference`: the fp32 PyTorch model.")
    ] = None,
    seconds: SecondsOption = None,
    threads: ThreadsOption = None,
    runs: Annotated[int, typer.Option(metavar="N", help="Generations to measure, each in a fresh process.")] = 5,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint for --against reference.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON; - prints them.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw where the time goes.")] = None,
) -> None:
    """Measure a bundle: load, first and steady times, time to first audio, memory; paired with another if given."""
    from edge_export.bench.measure import BenchRequest, measure
    from edge_export.bench.show import bench_record, bench_table
    from runtime_py.files import replace_file
    from runtime_py.streams import summary

    check_checkpoint(checkpoint, "--against", against)
    check_outputs(json_file, plot, bundle=bundle)
    check_plot(plot)
    request = BenchRequest(
        bundle=bundle, against=against, seconds=seconds, threads=threads, runs=runs, checkpoint=checkpoint
    )
    with show_progress() as progress:
        result = measure(request, progress)
    if plot is not None:
        from edge_export.bench.plot import plot_bench

        plot_bench(plot, result)
    if json_file is not None:
        replace_file(json_file, json_text(bench_record(result)).encode())
    with summary(json_file):
        show_tables(*bench_table(result.summary, result.paired))
