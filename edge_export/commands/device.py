"""`edge-export device ...`: the commands for devices."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export.commands.options import (
    BundleArgument,
    FloatOption,
    ForceOption,
    JsonOption,
    NoFadeOption,
    NormalizeOption,
    NoTagsOption,
    SecondsOption,
    SeedOption,
    StepsOption,
    ThreadsOption,
    check_outputs,
    check_runner_takes,
)
from edge_export.console import agreed, show_json, show_line, show_note, show_progress, show_tables
from edge_export.errors import MissingDependency
from runtime_py.files import is_stream
from runtime_py.streams import summary

if TYPE_CHECKING:
    from edge_export.device.run import DeviceRun

WhereOption = Annotated[
    str, typer.Option(metavar="WHERE", help="host, qemu[:cpu], adb[:serial] or app[:serial]; see `device list`.")
]

device_app = typer.Typer(
    name="device",
    help="Play a bundle on an Arm device, emulated or real, and bring back what `compare` reads.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@device_app.command(epilog="Example: edge-export device setup --on qemu --yes")
def setup(
    on: Annotated[
        str | None,
        typer.Option(metavar="host|qemu|adb|app", help="Only for this kind of place; by default host and qemu."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Install missing Debian packages without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring what is missing here: compilers, the emulator, the Arm libraries of ExecuTorch, and LiteRT."""
    from edge_export.device.setup import set_up

    def agree(command: str) -> bool:
        return yes or _agreed(command)

    with show_progress() as progress:
        done = set_up(on, agree, progress)
    for note in done.notes:
        show_note(note)
    if as_json:
        show_json(asdict(done))
        return
    for package in done.installed:
        show_line(f"Installed {package}")
    for place, folder in done.sdks.items():
        show_line(f"{place}: ready; ExecuTorch {done.version} in {folder}")
    if done.litert is not None:
        show_line(f"qemu: ready for LiteRT bundles too; {done.litert}")
    show_line(f'Play a bundle: edge-export device run bundle --on {done.places[-1]} --prompt "warm arpeggios"')


def _agreed(command: str) -> bool:
    if not sys.stdin.isatty():
        raise MissingDependency(f"packages are missing; say --yes to install them, or run {command}")
    return agreed(f"Run {command}?")


@device_app.command(name="list", epilog="Example: edge-export device list")
def list_places(as_json: JsonOption = False) -> None:
    """List where bundles can be played from here, and what is missing."""
    from edge_export.device.places import PLACES
    from edge_export.device.readiness import lacking
    from edge_export.device.show import place_records, place_table

    places = [place for kind in PLACES.values() for place in kind.list()]
    if as_json:
        show_json(place_records(places))
        return
    show_tables(place_table(places))
    for name in PLACES:
        if lacking(name):
            show_line(f"Bring what {name} lacks: edge-export device setup --on {name}")


@device_app.command(epilog='Example: edge-export device run bundle --on qemu --prompt "warm arpeggios" --out x.wav')
def run(
    bundle: BundleArgument,
    on: WhereOption,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What to play.")] = None,
    seconds: SecondsOption = None,
    seed: SeedOption = None,
    steps: StepsOption = None,
    threads: ThreadsOption = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The WAV to write here; - for stdout.")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `edge-export compare` reads, to write here.")
    ] = None,
    golden: Annotated[
        bool,
        typer.Option("--golden", help="Replay the golden vectors: every stage gets the reference's inputs."),
    ] = False,
    float32: FloatOption = False,
    normalize: NormalizeOption = False,
    no_fade: NoFadeOption = False,
    no_tags: NoTagsOption = False,
    force: ForceOption = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the run's folder on the device.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play a bundle on a device: bring it there, run it, bring sound and record back."""
    from edge_export.device.run import DeviceRequest, run_on_device
    from edge_export.device.show import run_record
    from runtime_py.finishing import Finishing
    from runtime_py.request import read_seed
    from runtime_py.text import from_shell

    check_outputs(out, record, bundle=bundle, as_json=as_json)
    check_runner_takes(out, threads)
    number, note = (None, None) if seed is None else read_seed(seed)
    request = DeviceRequest(
        bundle=bundle,
        where=on,
        prompt=None if prompt is None else from_shell(prompt),
        seconds=seconds,
        seed=number,
        steps=steps,
        threads=threads,
        golden=golden,
        float32=float32,
        finishing=Finishing(normalize=normalize, fade=not no_fade),
        tags=not no_tags,
        force=force,
        out=out,
        record=record,
        keep=keep,
    )
    with show_progress() as progress:
        done = run_on_device(request, progress)
    for each in (*filter(None, [note]), *done.notes):
        show_note(each)
    if as_json:
        show_json(run_record(done))
        return
    _show_run(done, out, record, bundle)


def _show_run(done: "DeviceRun", out: Path | None, record: Path | None, bundle: Path) -> None:
    from edge_export.device.show import stage_table

    travelled = f"bundle {done.bundle_bytes / 1e6:.1f} MB"
    if done.runner_bytes:
        travelled = f"runner {done.runner_bytes / 1e6:.1f} MB, {travelled}"
    kept = record is not None and not is_stream(record)
    compared = f"edge-export compare {record} {bundle}" if kept else "add --record run.json, then compare it"
    with summary(out, record):
        show_tables(stage_table(done))
        show_line(f"Played on {done.label} ({travelled})" + (f"; wrote {out}" if out else ""))
        if done.kept is not None:
            show_line(f"Kept {done.kept} on {done.label}")
        show_line(f"Hold it against the reference: {compared}")
