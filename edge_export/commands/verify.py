"""`edge-export verify`: the golden vectors replayed, every stage held against its threshold."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_export.commands.options import BundleArgument, JsonOption, ThreadsOption
from edge_export.console import show_json, show_progress, show_tables
from edge_export.progress import Progress

if TYPE_CHECKING:
    from edge_export.verify import Check


def verify(bundle: BundleArgument, threads: ThreadsOption = None, as_json: JsonOption = False) -> None:
    """Replay a bundle's golden vectors and hold every stage against its recipe's threshold."""
    from edge_export import verify as proof
    from edge_export.pipeline import refuse_failures
    from edge_export.report import check_table, verify_record
    from runtime_py.bundle import open_bundle
    from runtime_py.engine import check_threads

    check_threads(threads)
    opened = open_bundle(bundle, check=True)
    with show_progress() as progress:
        checks = tuple(_counted(proof.verify(opened, threads=threads), progress, proof.checks_in(opened.manifest)))
    if as_json:
        show_json(verify_record(opened, checks))
    else:
        show_tables(check_table(checks))
    refuse_failures(checks, (str(bundle),))


def _counted(checks: "Iterator[Check]", progress: Progress, total: int) -> "Iterator[Check]":
    progress("replaying golden vectors", 0, total)
    for done, check in enumerate(checks, 1):
        progress(f"{check.stage}: {check.tensor}", done, total)
        yield check
