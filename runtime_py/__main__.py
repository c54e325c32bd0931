"""The command line `python -m runtime_py`, with the options of `edge-run`: parses, calls, prints.

The only place here that prints and that exits. It needs numpy and the engine of the bundle's backend, no more.
"""

import argparse
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from runtime_py import __version__
from runtime_py.audio import WavReport
from runtime_py.command_line import ENDINGS, begin, ended
from runtime_py.engine import Tensors, bundle_programs, check_threads
from runtime_py.errors import DeviceError, OutputError, UsageError
from runtime_py.estimate import refuse_little_memory
from runtime_py.files import check_outputs, refuse_inside, replace_file
from runtime_py.generator import Clip, Generator, load
from runtime_py.golden import read_golden, tensors_of
from runtime_py.loop import Event, pieces
from runtime_py.machine import this_machine
from runtime_py.manifest import TargetSpec
from runtime_py.record import Recorder, dump_record, record_of
from runtime_py.replay import replay, replayed
from runtime_py.request import Request, read_seed
from runtime_py.sound import format_of
from runtime_py.streams import summary
from runtime_py.text import from_shell

NAME = "runtime_py"
ARM = "aarch64"


def main(words: list[str] | None = None) -> int:
    """Play what the command line asks for; one clear line and an exit code for everything that can go wrong."""
    begin()
    try:
        play(parse(words))
    except ENDINGS as error:
        return ended(NAME, error, install="install it with pip")
    return 0


class _Parser(argparse.ArgumentParser):
    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()  # the help or the version, which cannot always be written
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see python -m {NAME} --help")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The options, of which none that was not given has a value; UsageError for what makes no sense."""
    parser = _Parser(
        prog=NAME,
        description="Plays a bundle: a prompt in, a WAV out, everything on this device.",
        epilog='Example: python -m runtime_py --bundle bundle --prompt "warm arpeggios on house beats" --out x.wav',
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"{NAME} {__version__}")
    add("--bundle", metavar="DIR", type=Path, required=True, help="a folder made by `edge-export build`")
    add("--prompt", metavar="TEXT", help="what to play")
    add("--seconds", metavar="S", type=float, help="length of the clip; 7, or the model's whole clip if shorter")
    add("--seed", metavar="N|random", help="the same seed gives the same sound; 0. random: draw one")
    add("--steps", metavar="N", type=int, help="sampling steps; by default the bundle's")
    add("--threads", metavar="N", type=int, help="CPU threads; one for each fast core by default")
    add("--out", metavar="FILE", type=Path, help="the WAV to write, over an old one; - for stdout")
    add("--float", action="store_true", help="write 32-bit float samples instead of 16-bit")
    add("--normalize", action="store_true", help="bring the peak to -1 dBFS")
    add("--no-fade", dest="fade", action="store_false", help="do not let the last 5 ms of a cut clip fall to silence")
    add("--no-tags", dest="tags", action="store_false", help="write the sound alone, without how it was made")
    add("--record", metavar="FILE", type=Path, help="also write what `edge-export compare` reads")
    add("--dump", metavar="DIR", type=Path, help="also write every tensor as .npy")
    add("--golden", action="store_true", help="replay the golden vectors: every stage gets the reference's inputs")
    add("--check", action="store_true", help="hash every file of the bundle again, whatever is known of it")
    add("--force", action="store_true", help="play even where less memory is free than it takes")
    add("--label", metavar="TEXT", default="", help="what to call this device in the record")
    options = parser.parse_args(words)
    _check(options)
    return options


def _check(options: argparse.Namespace) -> None:
    if options.golden:
        for name in ("prompt", "seconds", "seed", "steps"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} and --golden exclude each other: the golden request is the bundle's")
    elif options.prompt is None:
        raise UsageError('--prompt is missing; say what to play, such as --prompt "warm arpeggios on house beats"')
    if options.out is None and options.record is None and options.dump is None:
        raise UsageError("nothing to write: give --out x.wav, --record run.json or --dump DIR")
    check_threads(options.threads)
    check_outputs(options.out, options.record, bundle=options.bundle)
    if options.out is not None:
        format_of(options.out, float32=options.float)
    if options.dump is not None:
        refuse_inside(options.dump, options.bundle)


def play(options: argparse.Namespace) -> None:
    """Play, write what was asked for, and say what was made."""
    generator = load(
        options.bundle, threads=options.threads, keep_loaded=False, check=options.check, force=options.force
    )
    manifest = generator.bundle.manifest
    require_cpu(manifest.target)
    request = manifest.golden.request if options.golden else _request(options, generator)
    recorder = Recorder()
    if options.golden:
        tensors = _replayed(generator, request, recorder, options)
    else:
        tensors = _generated(generator, request, recorder)
    clip = generator.clip(request, iter(recorder.events))
    wav = _save(options, clip)
    if options.dump is not None:
        dump(options.dump, tensors)
    if options.record is not None:
        record = record_of(
            generator.bundle,
            request,
            recorder,
            tensors,
            version=__version__,
            open_seconds=generator.open_seconds,
            inputs="golden" if options.golden else "own",
            label=from_shell(options.label),
            threads=options.threads,
            wav=wav,
        )
        replace_file(options.record, dump_record(record).encode())
    if wav is not None:
        _note_clipped(wav)
    opened, wrote = f"opened in {generator.open_seconds:.2f} s", f"; wrote {options.out}" if wav else ""
    first = f"first audio after {clip.generation.first_audio:.2f} s"
    with summary(options.out, options.record):
        print(f"Played {clip.seconds:.3f} s, {opened}, {first}{wrote}")


def _save(options: argparse.Namespace, clip: Clip) -> WavReport | None:
    if options.out is None:
        return None
    finishing = {"normalize": options.normalize, "fade": options.fade}
    return clip.save(options.out, float32=options.float, tags=options.tags, **finishing)


def _request(options: argparse.Namespace, generator: Generator) -> Request:
    seed, note = read_seed(options.seed or "0")
    request = generator.request(from_shell(options.prompt), seconds=options.seconds, seed=seed, steps=options.steps)
    if note is not None:
        _note(note)
    return request


def require_cpu(target: TargetSpec) -> None:
    """Refuse an Arm CPU that lacks what the target needs; one of another kind is not held to Arm's names.

    Raises:
        DeviceError: a feature is missing.
    """
    machine = this_machine()
    missing = [feature for feature in target.cpu_features if feature not in machine.cpu_features]
    if machine.architecture == ARM and missing:
        raise DeviceError(
            f"this CPU lacks what target {target.name} needs: {', '.join(missing)}; build for another target"
        )


def _generated(generator: Generator, request: Request, recorder: Recorder) -> Tensors:
    total = len(generator.pieces(request))
    for _ in _reported(recorder.watch(generator.events(request, opening=recorder.opening)), total):
        pass
    return tensors_of(generator.spec, request, generator.encode(request), recorder.events)


def _replayed(generator: Generator, request: Request, recorder: Recorder, options: argparse.Namespace) -> Tensors:
    """The golden request, every stage given the reference's inputs; the whole clip is decoded."""
    spec, bundle = generator.spec, generator.bundle
    golden, samples = read_golden(bundle), spec.latent.samples
    whole = replace(request, seconds=samples / spec.audio.sample_rate)
    if not options.force:
        refuse_little_memory(generator.estimate(whole))
    programs = recorder.opening(bundle_programs(bundle, threads=options.threads))
    events = replay(spec, programs, golden, samples=samples)
    for _ in _reported(recorder.watch(events), len(pieces(spec, whole))):
        pass
    return replayed(golden, recorder.events)


def _reported(events: Iterable[Event], total: int) -> Iterator[Event]:
    """Say of each event that it is done, as edge-run does."""
    for done, event in enumerate(events, start=1):
        took = f"{event.load + event.run:.2f} s"
        print(f"[{done}/{total}] {event.stage} {event.index} of {event.count}: {took}", file=sys.stderr, flush=True)
        yield event


def dump(folder: Path, tensors: Tensors) -> None:
    """Write each tensor as `folder`/name.npy; OutputError when that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}; write elsewhere") from error
    for name, array in tensors.items():
        held = io.BytesIO()
        np.save(held, array)
        replace_file(folder / f"{name}.npy", held.getvalue())


def _note_clipped(wav: WavReport) -> None:
    if wav.clipped:
        _note(f"{wav.clipped} samples beyond full scale were clipped (peak {wav.peak:.2f}); --float keeps them")


def _note(text: str) -> None:
    print(f"{NAME}: note: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
