"""The command line: parses, calls, prints. The only place that prints; `command_line` is the only one that exits.

Results go to standard output, progress and errors to standard error. Everything heavy is imported by the
command that needs it, so that `--help` answers at once.
"""

import json
import math
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_export import __version__
from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.command_line import guarded
from edge_export.compare_cli import compare
from edge_export.device_cli import device_app
from edge_export.errors import OutputError, UsageError
from edge_export.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

    from edge_export.verify import Check
    from runtime_py.bundle import Bundle
    from runtime_py.generate import Event, OpenProgram
    from runtime_py.tokenizer import Prompt

MOST_LINES = 100
MOST_CLIPS = 1000
STDOUT = Path("-")
PIPE_WIDTH = 160


app = typer.Typer(
    name="edge-export",
    help="Export ARC text-to-audio models to phones, play them, and prove that they sound the same.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder made by `edge-export build`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
ThreadsOption = Annotated[int | None, typer.Option(metavar="N", help="CPU threads; all of them by default.")]


def main() -> None:
    """The entry point."""
    guarded(app, "edge-export")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edge-export {__version__}")
        raise typer.Exit


app.add_typer(device_app)
app.command(epilog="Example: edge-export compare run.json bundle --report report.html")(compare)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: edge-export build --target android-arm64 --checkpoint sao-small --out bundle")
def build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle to make; must not exist yet.")],
    target: Annotated[str, typer.Option(help="What to build for; see `edge-export targets`.")] = "host",
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint; without it a small built-in one.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="executorch or litert; by default the target's own.")] = None,
    recipe: Annotated[
        str, typer.Option(help="How to quantize: one that `edge-export recipes` lists, or a .json file of yours.")
    ] = "int8-dynamic",
    steps: Annotated[int, typer.Option(metavar="N", help="Sampling steps the bundle plays by default.")] = 8,
    latents: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Latents of the longest clip, by default all that the model has. Fewer make every step faster, but "
            "a model that was only trained on whole clips, as the published one, then plays what it never learnt.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where compiled programs are kept, instead of in the user's cache."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compile everything, and keep nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a checkpoint into a bundle: export, quantize, lower, and prove it.

    What can be made again is kept in ~/.cache/edge-export, or in $XDG_CACHE_HOME/edge-export: compiled programs in
    programs, LiteRT's packed weights in weights, where checkpoints lay in checkpoints. Remove any of it at any time.
    """
    from edge_export import report
    from edge_export.pipeline import BuildRequest, export_bundle

    if no_cache and cache is not None:
        raise UsageError("--cache and --no-cache exclude each other; give one of them")
    if latents is not None and latents < 1:
        raise UsageError(f"latents is {latents}, expected 1 or more, up to what the model has")
    request = BuildRequest(
        out=out,
        target=target,
        checkpoint=checkpoint,
        backend=backend,
        recipe=recipe,
        steps=steps,
        latents=latents,
        cache=cache,
        cached=not no_cache,
    )
    with _progress() as heard:
        built = export_bundle(request, heard, _note)
    if as_json:
        _print_json(report.build_record(built))
        return
    _print(report.program_table(built.bundle.manifest), report.check_table(built.checks))
    print(f'Built {out}. Play it: edge-export run {out} --prompt "warm arpeggios" --out x.wav')


@app.command(epilog='Example: edge-export run bundle --prompt "warm arpeggios on house beats 120BPM" --out x.wav')
def run(
    bundle: BundleArgument,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to play.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The WAV to write; an existing one is replaced.")],
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Length of the clip; 7, or the model's whole clip if shorter.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same sound.")] = 0,
    count: Annotated[
        int, typer.Option(metavar="N", help="Clips to make, each of the next seed: x-1.wav, x-2.wav, ...")
    ] = 1,
    keep_loaded: Annotated[
        bool, typer.Option("--keep-loaded", help="Keep programs loaded from clip to clip: faster, more memory.")
    ] = False,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Sampling steps; by default the bundle's.")] = None,
    float32: Annotated[bool, typer.Option("--float", help="Write 32-bit float samples instead of 16-bit.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw waveform and spectrogram.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="`reference` plays the fp32 PyTorch model the bundle was made from.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint for --engine reference.")
    ] = None,
    threads: ThreadsOption = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what `compare` reads: times, and every tensor.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Play a prompt through a bundle and write a WAV, or several."""
    from edge_export import report
    from runtime_py.audio import replace_file, write_wav
    from runtime_py.bundle import open_bundle
    from runtime_py.generate import (
        Request,
        check_request,
        collect,
        default_seconds,
        encode_prompt,
        generate,
        kept_loaded,
        pieces,
        read_tokenizer,
    )
    from runtime_py.record import dump_record, record_of, tensors_of
    from runtime_py.text import from_shell

    prompt = from_shell(prompt)
    outs = _numbered(out, count)
    drawn = [] if plot is None else _numbered(plot, count)
    _check_outputs(*outs, *drawn, *([record] if record else []), bundle=bundle)
    _check_threads(threads)
    _check_checkpoint(checkpoint, "--engine", engine)
    if record is not None and count > 1:
        raise UsageError("--record is of one clip; leave --count out")
    if plot is not None:
        from edge_export.plots import check_picture, plot_audio

        check_picture(plot)
    opened = open_bundle(bundle)
    manifest = opened.manifest
    request = Request(
        prompt=prompt, seconds=default_seconds(manifest) if seconds is None else seconds, seed=seed, steps=steps
    )
    check_request(request, manifest)
    check_request(replace(request, seed=seed + count - 1), manifest)
    encoded = encode_prompt(read_tokenizer(opened), request, manifest)
    for note in _prompt_notes(encoded):
        _note(note)
    window = manifest.latent.length if engine == "reference" else None  # as published: the whole clip at once
    conditioning, clips, records = None, [], []
    programs = _programs(opened, engine, checkpoint, threads)
    programs = kept_loaded(programs) if keep_loaded else programs
    with _progress() as heard:
        for number, path in enumerate(outs):
            played = replace(request, seed=seed + number)
            todo = pieces(manifest, request, window=window, conditioned=number > 0)
            said = [f"{path.name}: {piece}" for piece in todo] if count > 1 else todo
            events = generate(manifest, programs, played, encoded, conditioning=conditioning, window=window)
            kept = list(_watched(events, heard, said)) if record else _watched(events, heard, said)
            made = collect(kept)
            conditioning = conditioning or made.conditioning
            wav = write_wav(path, made.audio, manifest.audio.sample_rate, float32=float32)
            if record is not None:
                told = record_of(
                    opened,
                    played,
                    kept,
                    tensors_of(manifest, played, encoded, kept),
                    wav=wav,
                    float32=float32,
                    engine=engine or manifest.backend,
                    threads=threads,
                    version=__version__,
                )
                replace_file(record, dump_record(told).encode())
            clips.append(made)
            records.append(report.run_record(manifest, played, encoded, made, wav, engine))
            if wav.clipped:
                _note(f"{wav.clipped} samples beyond full scale were clipped (peak {wav.peak:.2f}); --float keeps them")
    if plot is not None:
        for made, path in zip(clips, _numbered(plot, count)):
            plot_audio(path, made.audio, manifest.audio.sample_rate, prompt)
    if as_json:
        _print_json(records if count > 1 else records[0])
        return
    for shown, made in zip(records, clips):
        _print(report.time_table(made))
        length = shown["samples"] / manifest.audio.sample_rate
        heard_after = f"first audio after {made.first_audio:.2f} s"
        print(f"Wrote {shown['out']}: {length:.3f} s, peak {shown['peak']:.2f}, {heard_after}")


@app.command(epilog="Example: edge-export verify bundle --json")
def verify(bundle: BundleArgument, threads: ThreadsOption = None, as_json: JsonOption = False) -> None:
    """Replay a bundle's golden vectors and hold every stage against its recipe's threshold."""
    from edge_export import report
    from edge_export import verify as proof
    from edge_export.pipeline import refuse_failures
    from runtime_py.bundle import open_bundle

    _check_threads(threads)
    opened = open_bundle(bundle)
    with _progress() as heard:
        checks = tuple(_counted(proof.verify(opened, threads=threads), heard, proof.checks_in(opened.manifest)))
    if as_json:
        _print_json(report.verify_record(opened, checks))
    else:
        _print(report.check_table(checks))
    refuse_failures(checks, (str(bundle),))


@app.command(epilog="Example: edge-export bench bundle --against reference --seconds 7 --threads 2 --plot bench.png")
def bench(
    bundle: BundleArgument,
    against: Annotated[
        str | None, typer.Option(metavar="BUNDLE", help="Another bundle, or `reference`: the fp32 PyTorch model.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Length of the clip; 7, or the model's whole clip if shorter.")
    ] = None,
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
    from edge_export.bench import BenchRequest, bench_record, bench_table, measure
    from runtime_py.audio import replace_file

    _check_checkpoint(checkpoint, "--against", against)
    to_file = json_file is not None and json_file != STDOUT
    _check_outputs(*([json_file] if json_file and to_file else []), *([plot] if plot else []), bundle=bundle)
    if plot is not None:
        from edge_export.bench_plot import plot_bench
        from edge_export.plots import check_picture

        check_picture(plot)
    request = BenchRequest(
        bundle=bundle, against=against, seconds=seconds, threads=threads, runs=runs, checkpoint=checkpoint
    )
    with _progress() as heard:
        result = measure(request, heard)
    if plot is not None:
        plot_bench(plot, result)
    if json_file == STDOUT:
        _print_json(bench_record(result))
        return
    if json_file is not None:
        replace_file(json_file, _json(bench_record(result)).encode())
    _print(*bench_table(result.summary, result.comparison))


@app.command(epilog="Example: edge-export sensitivity sao-small --submodule decoder --plot decoder.png")
def sensitivity(
    source: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE|CHECKPOINT", help="Either; the built-in checkpoint by default.")
    ] = None,
    submodule: Annotated[
        list[str] | None, typer.Option(help="conditioner, dit or decoder; may be repeated. All of them by default.")
    ] = None,
    layers: Annotated[str, typer.Option(metavar="PATTERN", help="Only layers whose names match.")] = "*",
    backend: Annotated[
        str | None, typer.Option(help="Whose layers: executorch or litert; by default the bundle's, or litert.")
    ] = None,
    need: Annotated[
        float | None, typer.Option(metavar="DB", help="Also say which layers to keep in float to reach so many dB.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --need: write the .json recipe that does, for `build --recipe`."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint a bundle was built from, if it moved.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the layers and their errors.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what each layer alone does to the sound in int8, worst first."""
    from edge_export.sensitivity import MARGIN_DB, sensitivity_record, sensitivity_table, suggest
    from edge_export.sensitivity import sensitivity as measure
    from edge_export.source import open_source
    from edge_export.submodules import SUBMODULES
    from quantization.recipes import dump_recipe, keeping
    from runtime_py.audio import replace_file

    _check_need(need, recipe)
    _check_outputs(*([plot] if plot else []), *([recipe] if recipe else []), bundle=source)
    if plot is not None:
        from edge_export.plots import check_picture
        from edge_export.sensitivity_plot import plot_sensitivity

        check_picture(plot)
    with _progress() as heard:
        found, its_backend = open_source(source, checkpoint)
        backend = backend or its_backend
        errors = measure(found, backend, tuple(submodule or SUBMODULES), layers, heard)
    if plot is not None:
        plot_sensitivity(plot, errors)
    if need is None:
        _print_json(sensitivity_record(errors)) if as_json else _print(sensitivity_table(errors))
        return
    kept = suggest(errors, need + MARGIN_DB)
    found_recipe = keeping(
        ((layer.submodule, layer.operator, layer.name) for layer in kept),
        {error.submodule: need for error in errors},
    )
    if recipe is not None:
        replace_file(recipe, dump_recipe(found_recipe).encode())
    names = [layer.name for layer in kept]
    if as_json:
        _print_json(sensitivity_record(errors) | {"keep_in_float": names, "recipe": asdict(found_recipe)})
        return
    _print(sensitivity_table(errors))
    print(f"To reach {need:g} dB, keep in float: {', '.join(names) or 'nothing'}")
    if recipe is None:
        print("The same again with --recipe mine.json writes the recipe for `edge-export build`")
        return
    weights = () if found.folder == BUILTIN_CHECKPOINT else ("--checkpoint", str(found.folder))
    command = ("edge-export", "build", *weights, "--backend", backend, "--recipe", str(recipe), "--out", "bundle")
    print(f"Wrote {recipe}. Build with it: {shlex.join(command)}")


@app.command(epilog="Example: edge-export inspect bundle")
def inspect(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Show a bundle's programs: sizes, inputs and outputs, how much is delegated and what is not."""
    from edge_export import report
    from runtime_py.bundle import open_bundle

    manifest = open_bundle(bundle).manifest
    if as_json:
        _print_json(asdict(manifest))
        return
    tensors = (report.tensor_table(program) for program in manifest.programs)
    _print(report.fact_table(manifest), report.program_table(manifest), *tensors)


@app.command(epilog="Example: edge-export targets")
def targets(as_json: JsonOption = False) -> None:
    """List what a bundle can be built for."""
    from edge_export import report
    from edge_export.targets import TARGETS

    if as_json:
        _print_json([asdict(target) for target in TARGETS.values()])
        return
    _print(report.target_table(TARGETS.values()))


@app.command(epilog="Example: edge-export recipes")
def recipes(as_json: JsonOption = False) -> None:
    """List how a model can be quantized, and what each recipe is held to."""
    from edge_export import report
    from quantization.recipes import RECIPES

    if as_json:
        _print_json([asdict(recipe) for recipe in RECIPES.values()])
        return
    _print(report.recipe_table(RECIPES.values()))


@app.command(epilog="Example: edge-export new-checkpoint tiny --size tiny --seed 0")
def new_checkpoint(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The checkpoint to make; must not exist yet.")],
    size: Annotated[str, typer.Option(help="tiny, or published: Stable Audio Open Small's exact size.")] = "tiny",
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same weights.")] = 0,
) -> None:
    """Write a checkpoint with random weights in the published layout: it plays noise, and measures true."""
    from edge_export.new_checkpoint import write_new_checkpoint

    with _progress() as heard:
        write_new_checkpoint(folder, size, seed, heard)
    print(f"Wrote {folder}. Build it: edge-export build --checkpoint {folder} --out bundle")


@app.command(epilog="Example: edge-export fetch sao-small")
def fetch(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the checkpoint.")]) -> None:
    """Download Stable Audio Open Small and its T5 encoder from the hub; resumes where it stopped."""
    from edge_export.fetch import fetch_checkpoint

    with _progress() as heard:
        fetch_checkpoint(folder, heard)
    print(f"Fetched {folder}. Build it: edge-export build --target android-arm64 --checkpoint {folder} --out bundle")


def _programs(opened: "Bundle", engine: str | None, checkpoint: Path | None, threads: int | None) -> "OpenProgram":
    """The programs of the bundle, or the network they were made from."""
    from runtime_py.generate import bundle_programs

    backend = opened.manifest.backend
    if engine not in (None, "reference", backend):
        raise UsageError(f"no engine {engine!r} for this bundle; choose from {backend}, reference")
    if engine != "reference":
        return bundle_programs(opened, threads=threads)
    from edge_export.reference import open_reference

    return open_reference(opened.manifest, checkpoint, threads=threads)


def _numbered(path: Path, count: int) -> list[Path]:
    """`path` itself, or of several x-1.wav, x-2.wav, ...; UsageError for a count out of range."""
    if not 1 <= count <= MOST_CLIPS:
        raise UsageError(f"count is {count}, expected 1 to {MOST_CLIPS}")
    return [path] if count == 1 else [path.with_stem(f"{path.stem}-{clip}") for clip in range(1, count + 1)]


def _check_outputs(*paths: Path, bundle: Path | None) -> None:
    """Refuse outputs that could not be written, or that would spoil the bundle, before any work is done."""
    for path in paths:
        if bundle is not None and path.resolve().is_relative_to(bundle.resolve()):
            raise OutputError(f"{path} lies inside the bundle, which must stay as it is; write elsewhere")
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file")
        if not path.absolute().parent.is_dir():
            raise OutputError(f"{path.parent} is no folder; make it first, or write elsewhere")
    where = [path.resolve() for path in paths]
    twice = [path for path in paths if where.count(path.resolve()) > 1]
    if twice:
        raise UsageError(f"{' and '.join(map(str, twice))} are one file; name two files")


def _check_need(need: float | None, recipe: Path | None) -> None:
    if need is not None and not 0 < need < math.inf:
        raise UsageError(f"need is {need:g}, expected a number of dB above 0")
    if recipe is not None and need is None:
        raise UsageError("--recipe writes what --need finds; add --need DB")
    if recipe is not None and recipe.suffix != ".json":
        raise UsageError(f"--recipe is {recipe}, expected a name that ends in .json, as `build --recipe` does")


def _check_checkpoint(checkpoint: Path | None, option: str, given: str | None) -> None:
    if checkpoint is not None and given != "reference":
        raise UsageError(f"--checkpoint is for the reference; add {option} reference, or leave --checkpoint out")


def _check_threads(threads: int | None) -> None:
    if threads is not None and not 1 <= threads <= 256:
        raise UsageError(f"threads is {threads}, expected 1 to 256")


def _prompt_notes(prompt: "Prompt") -> Iterator[str]:
    if prompt.dropped:
        read = prompt.tokens - 1
        yield f"the prompt has {read + prompt.dropped} tokens, the model reads {read}: the rest is not heard"
    if prompt.unknown:
        yield f"tokens of the prompt that are unknown to the model: {prompt.unknown}"


def _watched(events: "Iterator[Event]", heard: Progress, pieces: list[str]) -> "Iterator[Event]":
    """Tell `heard` which of the `pieces` comes next."""
    heard(pieces[0], 0, len(pieces))
    for done, event in enumerate(events, 1):
        heard(pieces[done] if done < len(pieces) else "writing", done, len(pieces))
        yield event


def _counted(checks: "Iterator[Check]", heard: Progress, total: int) -> "Iterator[Check]":
    heard("replaying golden vectors", 0, total)
    for done, check in enumerate(checks, 1):
        heard(f"{check.stage}: {check.tensor}", done, total)
        yield check


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show progress on standard error: a bar on a terminal, a line for each piece elsewhere."""
    if not sys.stderr.isatty():
        seen = ""

        def line(what: str, done: int, total: int) -> None:
            nonlocal seen
            if what != seen:
                seen = what
                print(f"[{min(done + 1, total)}/{total}] {what}" if total <= MOST_LINES else what, file=sys.stderr)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # A copy of standard error: while toolchains are silenced, the process's own leads nowhere.
    stream = os.fdopen(os.dup(sys.stderr.fileno()), "w")
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with stream, Bar(*columns, console=Console(file=stream, force_terminal=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)


def _note(text: str) -> None:
    print(f"edge-export: note: {text}", file=sys.stderr)


def _json(record: object) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _print_json(record: object) -> None:
    print(_json(record), end="")


def _print(*tables: "Table") -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    for table in tables:
        console.print(table)
