"""`edge-export run`: a prompt becomes a WAV, or several."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_export import __version__
from edge_export.commands.options import (
    BundleArgument,
    FloatOption,
    JsonOption,
    SecondsOption,
    StepsOption,
    ThreadsOption,
    check_checkpoint,
    check_outputs,
    check_plot,
    check_threads,
)
from edge_export.console import show_json, show_line, show_note, show_progress, show_tables
from edge_export.errors import UsageError
from edge_export.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

    from runtime_py.audio import WavReport
    from runtime_py.bundle import Bundle
    from runtime_py.generate import Event, Generation, OpenProgram, Request
    from runtime_py.manifest import Manifest
    from runtime_py.tokenizer import Prompt

MOST_CLIPS = 1000

CountOption = Annotated[
    int, typer.Option(metavar="N", help="Clips to make, each of the next seed: x-1.wav, x-2.wav, ...")
]
KeepLoadedOption = Annotated[
    bool, typer.Option("--keep-loaded", help="Keep programs loaded from clip to clip: faster, more memory.")
]
EngineOption = Annotated[
    str | None, typer.Option(help="`reference` plays the fp32 PyTorch model the bundle was made from.")
]
RecordOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write what `compare` reads: times, and every tensor.")
]


def run(
    bundle: BundleArgument,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to play.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The WAV to write; an existing one is replaced.")],
    seconds: SecondsOption = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same sound.")] = 0,
    count: CountOption = 1,
    keep_loaded: KeepLoadedOption = False,
    steps: StepsOption = None,
    float32: FloatOption = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw waveform and spectrogram.")] = None,
    engine: EngineOption = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint for --engine reference.")
    ] = None,
    threads: ThreadsOption = None,
    record: RecordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play a prompt through a bundle and write a WAV, or several."""
    from runtime_py.audio import write_wav
    from runtime_py.bundle import open_bundle
    from runtime_py.generate import encode_prompt, read_tokenizer
    from runtime_py.text import from_shell

    prompt = from_shell(prompt)
    outs, pictures = _numbered(out, count), [] if plot is None else _numbered(plot, count)
    check_outputs(*outs, *pictures, record, bundle=bundle)
    check_threads(threads)
    check_checkpoint(checkpoint, "--engine", engine)
    if record is not None and count > 1:
        raise UsageError("--record is of one clip; leave --count out")
    check_plot(plot)
    opened = open_bundle(bundle)
    manifest = opened.manifest
    requests = _requests(manifest, prompt, seconds, seed, steps, count)
    encoded = encode_prompt(read_tokenizer(opened), requests[0], manifest)
    for note in _prompt_notes(encoded):
        show_note(note)
    programs = _programs(opened, engine, checkpoint, threads, keep_loaded)
    clips, records = [], []
    with show_progress() as progress:
        played = _played(manifest, programs, requests, encoded, engine, [path.name for path in outs], progress)
        for path, request, (made, events) in zip(outs, requests, played):
            wav = write_wav(path, made.audio, manifest.audio.sample_rate, float32=float32)
            if record is not None:
                _write_record(record, opened, request, encoded, events, wav, float32, engine, threads)
            clips.append(made)
            records.append(run_record(manifest, request, encoded, made, wav, engine))
            for note in _wav_notes(wav):
                show_note(note)
    _draw(clips, pictures, manifest.audio.sample_rate, prompt)
    if as_json:
        show_json(records if count > 1 else records[0])
        return
    for shown, made in zip(records, clips):
        show_tables(time_table(made))
        show_line(_summary(shown, made))


def _played(
    manifest: "Manifest",
    programs: "OpenProgram",
    requests: "list[Request]",
    encoded: "Prompt",
    engine: str | None,
    names: list[str],
    progress: Progress,
) -> "Iterator[tuple[Generation, list[Event]]]":
    """Each of `requests` in turn, whose prompt is conditioned once; `names` tell several apart."""
    from runtime_py.generate import collect, generate, pieces

    window = manifest.latent.length if engine == "reference" else None  # as published: the whole clip at once
    conditioning = None
    for request, name in zip(requests, names):
        todo = pieces(manifest, request, window=window, conditioned=conditioning is not None)
        todo = [f"{name}: {piece}" for piece in todo] if len(requests) > 1 else todo
        events = generate(manifest, programs, request, encoded, conditioning=conditioning, window=window)
        kept = list(_watched(events, progress, todo))
        made = collect(kept)
        conditioning = conditioning or made.conditioning
        yield made, kept


def _requests(
    manifest: "Manifest", prompt: str, seconds: float | None, seed: int, steps: int | None, count: int
) -> "list[Request]":
    """One for each clip, of one seed after another, all checked."""
    from runtime_py.generate import Request, check_request, default_seconds

    length = default_seconds(manifest) if seconds is None else seconds
    requests = [Request(prompt=prompt, seconds=length, seed=seed + clip, steps=steps) for clip in range(count)]
    check_request(requests[0], manifest)
    check_request(requests[-1], manifest)
    return requests


def _programs(
    opened: "Bundle", engine: str | None, checkpoint: Path | None, threads: int | None, keep_loaded: bool
) -> "OpenProgram":
    """The programs of the bundle, or the network they were made from."""
    from runtime_py.generate import bundle_programs, kept_loaded

    backend = opened.manifest.backend
    if engine not in (None, "reference", backend):
        raise UsageError(f"no engine {engine!r} for this bundle; choose from {backend}, reference")
    if engine == "reference":
        from edge_export.reference import open_reference

        programs = open_reference(opened.manifest, checkpoint, threads=threads)
    else:
        programs = bundle_programs(opened, threads=threads)
    return kept_loaded(programs) if keep_loaded else programs


def _numbered(path: Path, count: int) -> list[Path]:
    """`path` itself, or of several x-1.wav, x-2.wav, ...; UsageError for a count out of range."""
    if not 1 <= count <= MOST_CLIPS:
        raise UsageError(f"count is {count}, expected 1 to {MOST_CLIPS}")
    return [path] if count == 1 else [path.with_stem(f"{path.stem}-{clip}") for clip in range(1, count + 1)]


def _prompt_notes(prompt: "Prompt") -> Iterator[str]:
    if prompt.dropped:
        read = prompt.tokens - 1
        yield f"the prompt has {read + prompt.dropped} tokens, the model reads {read}: the rest is cut off"
    if prompt.unknown:
        yield f"tokens of the prompt that are unknown to the model: {prompt.unknown}"


def _watched(events: "Iterator[Event]", progress: Progress, pieces: list[str]) -> "Iterator[Event]":
    """Report which of the `pieces` comes next."""
    progress(pieces[0], 0, len(pieces))
    for done, event in enumerate(events, 1):
        progress(pieces[done] if done < len(pieces) else "writing", done, len(pieces))
        yield event


def _wav_notes(wav: "WavReport") -> Iterator[str]:
    if wav.clipped:
        yield f"{wav.clipped} samples beyond full scale were clipped (peak {wav.peak:.2f}); --float keeps them"


def _write_record(
    path: Path,
    opened: "Bundle",
    request: "Request",
    encoded: "Prompt",
    events: "list[Event]",
    wav: "WavReport",
    float32: bool,
    engine: str | None,
    threads: int | None,
) -> None:
    from runtime_py.audio import replace_file
    from runtime_py.record import dump_record, record_of, tensors_of

    record = record_of(
        opened,
        request,
        events,
        tensors_of(opened.manifest, request, encoded, events),
        wav=wav,
        float32=float32,
        engine=engine or opened.manifest.backend,
        threads=threads,
        version=__version__,
    )
    replace_file(path, dump_record(record).encode())


def _draw(clips: "list[Generation]", pictures: list[Path], sample_rate: int, title: str) -> None:
    for made, path in zip(clips, pictures):
        from edge_export.plots import plot_audio

        plot_audio(path, made.audio, sample_rate, title)


def _summary(record: dict[str, Any], made: "Generation") -> str:
    length = record["samples"] / record["sample_rate"]
    first = f"first audio after {made.first_audio:.2f} s"
    return f"Wrote {record['out']}: {length:.3f} s, peak {record['peak']:.2f}, {first}"


def time_table(generation: "Generation") -> "Table":
    from edge_export.report import table

    numbers = ("load ms", "runs", "per run ms", "total ms")
    made = table("time", "stage", *numbers, right=numbers)
    for stage, time in generation.times.items():
        per_run = sum(time.runs) / len(time.runs)
        values = (f"{time.load * 1e3:.0f}", str(len(time.runs)), f"{per_run * 1e3:.1f}", f"{time.total * 1e3:.0f}")
        made.add_row(stage, *values)
    made.add_row("all", "", "", "", f"{sum(time.total for time in generation.times.values()) * 1e3:.0f}")
    return made


def run_record(
    manifest: "Manifest", request: "Request", prompt: "Prompt", made: "Generation", wav: "WavReport", engine: str | None
) -> dict[str, Any]:
    from runtime_py.generate import step_sigmas

    return {
        "out": str(wav.path),
        "engine": engine or manifest.backend,
        "recipe": manifest.recipe.name,
        "prompt": request.prompt,
        "tokens": prompt.tokens,
        "tokens_dropped": prompt.dropped,
        "tokens_unknown": prompt.unknown,
        "seconds": request.seconds,
        "seed": request.seed,
        "sigmas": step_sigmas(manifest, request.steps).tolist(),
        "sample_rate": manifest.audio.sample_rate,
        "channels": wav.channels,
        "samples": wav.samples,
        "peak": wav.peak,
        "clipped": wav.clipped,
        "seconds_first_audio": made.first_audio,
        "times": {stage: {"load": time.load, "runs": list(time.runs)} for stage, time in made.times.items()},
    }
