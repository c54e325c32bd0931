"""`edge-export run`: a prompt becomes a WAV, or several."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_export import __version__
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
    check_checkpoint,
    check_outputs,
    check_plot,
)
from edge_export.console import show_json, show_line, show_note, show_progress, show_tables
from edge_export.errors import UsageError
from edge_export.progress import Progress
from edge_export.prompts import PromptLine, read_prompts
from runtime_py.files import is_stream
from runtime_py.streams import summary

if TYPE_CHECKING:
    from rich.table import Table

    from runtime_py.audio import WavReport
    from runtime_py.generator import Clip, Generator
    from runtime_py.loop import Event
    from runtime_py.record import Recorder
    from runtime_py.request import Request
    from runtime_py.tokenizer import Prompt

MOST_CLIPS = 1000
MOST_WORDS = 5  # that a note names

CountOption = Annotated[
    int, typer.Option(metavar="N", help="Clips to make, each of the next seed: x-1.wav, x-2.wav, ...")
]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help='Play all prompts of a file, one a line: {"prompt": "rain", "seconds": 5, "seed": 1}; - for stdin.',
    ),
]
KeepLoadedOption = Annotated[
    bool, typer.Option("--keep-loaded", help="Keep programs loaded from clip to clip: faster, more memory.")
]
EngineOption = Annotated[
    str | None, typer.Option(help="`reference` plays the fp32 PyTorch model the bundle was made from.")
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Hash every file of the bundle again, whatever is known of it.")
]
RecordOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write what `compare` reads: times, and every tensor.")
]


def run(
    bundle: BundleArgument,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The WAV to write, over an old one; - for stdout."),
    ],
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What to play.")] = None,
    prompts: PromptsOption = None,
    seconds: SecondsOption = None,
    seed: SeedOption = None,
    count: CountOption = 1,
    keep_loaded: KeepLoadedOption = False,
    steps: StepsOption = None,
    float32: FloatOption = False,
    normalize: NormalizeOption = False,
    no_fade: NoFadeOption = False,
    no_tags: NoTagsOption = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw waveform and spectrogram.")] = None,
    engine: EngineOption = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint for --engine reference.")
    ] = None,
    threads: ThreadsOption = None,
    record: RecordOption = None,
    check: CheckOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Play a prompt through a bundle and write a WAV, or several."""
    from runtime_py.request import read_seed

    lines = _lines(prompt, prompts, count)
    first_seed, drawn = read_seed(seed or "0")
    outs, pictures = _numbered(out, lines, prompts), [] if plot is None else _numbered(plot, lines, prompts)
    check_outputs(*outs, *pictures, record, bundle=bundle, as_json=as_json)
    _check(out, float32, threads, record, len(lines), plot)
    check_checkpoint(checkpoint, "--engine", engine)
    defaults = PromptLine(prompt=prompt or "", seconds=seconds, seed=first_seed, steps=steps)
    generator = _open(bundle, engine, checkpoint, threads, keep_loaded, check, force)
    requests = _requests(generator, lines, defaults, count, prompts)
    encoded = {request.prompt: generator.encode(request) for request in requests[: 1 if count > 1 else None]}
    for note in _notes(drawn, encoded.values()):
        show_note(note)
    clips, records = [], []
    with show_progress() as progress:
        for path, request in zip(outs, requests):
            read = encoded[request.prompt]
            clip, recorder = _play(generator, request, f"{path.name}: " if len(outs) > 1 else "", record, progress)
            wav = clip.save(path, float32=float32, normalize=normalize, fade=not no_fade, tags=not no_tags)
            if record is not None:
                _write_record(record, generator, read, clip, recorder, wav, engine, threads)
            clips.append(clip)
            records.append(run_record(generator, read, clip, wav, engine))
            _note_clipped(wav)
    _draw(pictures, clips)
    if as_json:
        show_json(records[0] if outs == [out] else records)
        return
    with summary(*outs, record):
        _show(records, clips)


def _lines(prompt: str | None, prompts: Path | None, count: int) -> list[PromptLine]:
    """What each clip asks for, but for its seed where --count says how many."""
    from runtime_py.text import from_shell

    if (prompt is None) == (prompts is None):
        both = "exclude each other" if prompt is not None else "are missing: give one of them"
        raise UsageError(f"--prompt and --prompts {both}")
    if not 1 <= count <= MOST_CLIPS:
        raise UsageError(f"count is {count}, expected 1 to {MOST_CLIPS}")
    if prompts is None:
        return [PromptLine(prompt=from_shell(prompt or ""))] * count
    if count > 1:
        raise UsageError("--prompts and --count exclude each other: write a line for each clip")
    return read_prompts(prompts)


def _check(out: Path, float32: bool, threads: int | None, record: Path | None, clips: int, plot: Path | None) -> None:
    from runtime_py.engine import check_threads
    from runtime_py.sound import format_of

    format_of(out, float32=float32)
    check_threads(threads)
    if record is not None and clips > 1:
        raise UsageError("--record is of one clip; leave --count and --prompts out")
    check_plot(plot)


def _draw(pictures: list[Path], clips: "list[Clip]") -> None:
    for clip, path in zip(clips, pictures):
        from edge_export.plots import plot_audio

        plot_audio(path, clip.audio, clip.sample_rate, clip.request.prompt)


def _open(
    folder: Path,
    engine: str | None,
    checkpoint: Path | None,
    threads: int | None,
    keep_loaded: bool,
    check: bool,
    force: bool,
) -> "Generator":
    """The bundle with its own programs, or with the network they were made from."""
    from runtime_py.bundle import open_bundle
    from runtime_py.generator import Generator, load

    bundle = None if engine is None else open_bundle(folder, check=check)
    if bundle is None or engine == bundle.manifest.backend:
        return load(folder, threads=threads, keep_loaded=keep_loaded, check=check and bundle is None, force=force)
    backend, spec = bundle.manifest.backend, bundle.manifest.generation
    if engine != "reference":
        raise UsageError(f"no engine {engine!r} for this bundle; choose from {backend}, reference")
    from edge_export.reference import open_reference

    programs = open_reference(bundle.manifest, checkpoint, threads=threads)
    # As published: the whole clip is decoded at once.
    return Generator(bundle, programs, keep_loaded=keep_loaded, window=spec.latent.length)


def _requests(
    generator: "Generator", lines: list[PromptLine], defaults: PromptLine, count: int, source: Path | None
) -> "list[Request]":
    """One for each line, all checked; of several clips of one prompt each has the next seed."""
    from runtime_py.random import MAX_SEED

    if source is None:
        first = _request(generator, lines[0], defaults)
        last = first.seed + count - 1
        if last > MAX_SEED:
            raise UsageError(
                f"--seed {first.seed} with --count {count} goes beyond the last seed, {MAX_SEED}; begin at "
                f"{MAX_SEED + 1 - count} at most"
            )
        return [replace(first, seed=first.seed + clip) for clip in range(count)]
    requests = []
    for number, line in enumerate(lines, start=1):
        try:
            requests.append(_request(generator, line, defaults))
        except UsageError as error:
            raise UsageError(f"{source}, line {number}: {error}") from error
    return requests


def _request(generator: "Generator", line: PromptLine, defaults: PromptLine) -> "Request":
    seconds, seed, steps = (
        getattr(defaults if getattr(line, name) is None else line, name) for name in ("seconds", "seed", "steps")
    )
    return generator.request(line.prompt, seconds=seconds, seed=seed, steps=steps)


def _play(
    generator: "Generator", request: "Request", name: str, record: Path | None, progress: Progress
) -> "tuple[Clip, Recorder]":
    """One clip; its events are kept where they are to be recorded."""
    from runtime_py.record import Recorder

    recorder = Recorder()
    if record is None:
        events = generator.events(request)
    else:
        events = recorder.watch(generator.events(request, opening=recorder.opening))
    pieces = [f"{name}{piece}" for piece in generator.pieces(request)]
    return generator.clip(request, _watched(events, progress, pieces)), recorder


def _numbered(path: Path, lines: list[PromptLine], prompts: Path | None) -> list[Path]:
    """`path` itself, or of several, and of all prompts of a file, x-1.wav, x-2.wav, ..."""
    if len(lines) == 1 and prompts is None:
        return [path]
    if is_stream(path):
        option = "--count" if prompts is None else "--prompts"
        raise UsageError(f"{path} takes one clip; name a file, or leave {option} out")
    return [path.with_stem(f"{path.stem}-{clip}") for clip in range(1, len(lines) + 1)]


def _notes(drawn: str | None, prompts: "Iterable[Prompt]") -> Iterator[str]:
    if drawn is not None:
        yield drawn
    for prompt in prompts:
        yield from _prompt_notes(prompt)


def _prompt_notes(prompt: "Prompt") -> Iterator[str]:
    if prompt.dropped:
        read = prompt.tokens - 1
        yield f"the prompt has {read + prompt.dropped} tokens, the model reads {read}: the rest is cut off"
    if prompt.unknown:
        yield f"tokens of the prompt that are unknown to the model: {prompt.unknown}"
    if prompt.spelled_out:
        words = ", ".join(map(repr, prompt.spelled_out[:MOST_WORDS]))
        more = len(prompt.spelled_out) - MOST_WORDS
        yield f"words that the model has to spell out: {words}{f', and {more} more' if more > 0 else ''}"


def _watched(events: "Iterator[Event]", progress: Progress, pieces: list[str]) -> "Iterator[Event]":
    """Report which of the `pieces` comes next."""
    progress(pieces[0], 0, len(pieces))
    for done, event in enumerate(events, 1):
        progress(pieces[done] if done < len(pieces) else "writing", done, len(pieces))
        yield event


def _note_clipped(wav: "WavReport") -> None:
    if wav.clipped:
        show_note(f"{wav.clipped} samples beyond full scale were clipped (peak {wav.peak:.2f}); --float keeps them")


def _write_record(
    path: Path,
    generator: "Generator",
    encoded: "Prompt",
    clip: "Clip",
    recorder: "Recorder",
    wav: "WavReport",
    engine: str | None,
    threads: int | None,
) -> None:
    from runtime_py.files import replace_file
    from runtime_py.golden import tensors_of
    from runtime_py.record import dump_record, record_of

    record = record_of(
        generator.bundle,
        clip.request,
        recorder,
        tensors_of(generator.spec, clip.request, encoded, recorder.events),
        version=__version__,
        open_seconds=generator.open_seconds,
        engine=engine or "",
        threads=threads,
        wav=wav,
    )
    replace_file(path, dump_record(record).encode())


def _show(records: list[dict[str, Any]], clips: "list[Clip]") -> None:
    for record, clip in zip(records, clips):
        show_tables(time_table(clip))
        show_line(_summary(record, clip))


def _summary(record: dict[str, Any], clip: "Clip") -> str:
    first = f"first audio after {clip.generation.first_audio:.2f} s"
    return f"Wrote {record['out']}: {clip.seconds:.3f} s, peak {record['peak']:.2f}, {first}"


def time_table(clip: "Clip") -> "Table":
    from edge_export.report import table

    numbers = ("load ms", "runs", "per run ms", "total ms")
    made = table("time", "stage", *numbers, right=numbers)
    for stage, time in clip.times.items():
        per_run = sum(time.runs) / len(time.runs)
        values = (f"{time.load * 1e3:.0f}", str(len(time.runs)), f"{per_run * 1e3:.1f}", f"{time.total * 1e3:.0f}")
        made.add_row(stage, *values)
    made.add_row("all", "", "", "", f"{sum(time.total for time in clip.times.values()) * 1e3:.0f}")
    return made


def run_record(
    generator: "Generator", prompt: "Prompt", clip: "Clip", wav: "WavReport", engine: str | None
) -> dict[str, Any]:
    manifest, request = generator.bundle.manifest, clip.request
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
        "sigmas": generator.spec.sampler.schedule(request.steps).tolist(),
        "sample_rate": clip.sample_rate,
        "channels": wav.channels,
        "samples": wav.samples,
        "peak": wav.peak,
        "clipped": wav.clipped,
        "seconds_open": generator.open_seconds,
        "seconds_first_audio": clip.generation.first_audio,
        "times": {stage: {"load": time.load, "runs": list(time.runs)} for stage, time in clip.times.items()},
    }
