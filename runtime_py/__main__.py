"""The command line `python -m runtime_py`, with the options of `edge-run`: parses, calls, prints.

The only place here that prints and that exits. It needs numpy and the engine of the bundle's backend, no more.
"""

import argparse
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from runtime_py import __version__
from runtime_py.audio import WavReport, replace_file, write_wav
from runtime_py.bundle import Bundle, open_bundle
from runtime_py.engine import Tensors
from runtime_py.errors import DeviceError, EdgeExportError, MissingDependency, OutputError, UsageError
from runtime_py.generate import (
    Event,
    Request,
    bundle_programs,
    check_request,
    collect,
    default_seconds,
    encode_prompt,
    generate,
    pieces,
    read_tokenizer,
)
from runtime_py.golden import golden_request, read_golden
from runtime_py.manifest import TargetSpec
from runtime_py.record import dump_record, record_of, replay, replayed, tensors_of, this_device
from runtime_py.text import from_shell

NAME = "runtime_py"
ARM = "aarch64"
MOST_THREADS = 256
INTERRUPTED = 130


def main(words: list[str] | None = None) -> int:
    """Play what the command line asks for; one clear line and an exit code for everything that can go wrong."""
    try:
        play(parse(words))
    except EdgeExportError as error:
        return _failed(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except OSError as error:
        return _failed(f"{error.filename or 'the system'}: {error.strerror or error}", OutputError.exit_code)
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is not installed; install it with pip", MissingDependency.exit_code)
    except MemoryError:
        return _failed("not enough memory for this; close other programs or take a smaller model", 1)
    return 0


def _failed(message: str, code: int) -> int:
    print(f"{NAME}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
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
    add("--seed", metavar="N", type=int, help="the same seed gives the same sound; 0")
    add("--steps", metavar="N", type=int, help="sampling steps; by default the bundle's")
    add("--threads", metavar="N", type=int, help="CPU threads; all of them by default")
    add("--out", metavar="FILE", type=Path, help="the WAV to write; an existing one is replaced")
    add("--float", action="store_true", help="write 32-bit float samples instead of 16-bit")
    add("--record", metavar="FILE", type=Path, help="also write what `edge-export compare` reads")
    add("--dump", metavar="DIR", type=Path, help="also write every tensor as .npy")
    add("--golden", action="store_true", help="replay the golden vectors: every stage gets the reference's inputs")
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
    written = [path for path in (options.out, options.record) if path is not None]
    if not written and options.dump is None:
        raise UsageError("nothing to write: give --out x.wav, --record run.json or --dump DIR")
    if len({path.absolute() for path in written}) < len(written):
        raise UsageError("--out and --record are one file; name two")
    if options.threads is not None and not 1 <= options.threads <= MOST_THREADS:
        raise UsageError(f"threads is {options.threads}, expected 1 to {MOST_THREADS}")
    for path in written:
        folder = path.absolute().parent
        if not folder.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {folder}; make it, or write elsewhere")


def play(options: argparse.Namespace) -> None:
    """Play, write what was asked for, and say what was made."""
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    request = golden_request(manifest) if options.golden else _request(options, bundle)
    check_request(request, manifest)
    require_cpu(manifest.target)
    events, tensors = (_replayed if options.golden else _generated)(bundle, request, options.threads)
    made = collect(events)
    wav = None
    if options.out is not None:
        wav = write_wav(options.out, made.audio, manifest.audio.sample_rate, float32=options.float)
    if options.dump is not None:
        dump(options.dump, tensors)
    if options.record is not None:
        record = record_of(
            bundle,
            request,
            events,
            tensors,
            version=__version__,
            inputs="golden" if options.golden else "own",
            label=from_shell(options.label),
            threads=options.threads,
            wav=wav,
            float32=options.float,
        )
        replace_file(options.record, dump_record(record).encode())
    if wav is not None:
        _tell_clipped(wav)
    length, wrote = made.audio.shape[1] / manifest.audio.sample_rate, f"; wrote {options.out}" if wav else ""
    print(f"Played {length:.3f} s, first audio after {made.first_audio:.2f} s{wrote}")


def _request(options: argparse.Namespace, bundle: Bundle) -> Request:
    return Request(
        prompt=from_shell(options.prompt),
        seconds=default_seconds(bundle.manifest) if options.seconds is None else options.seconds,
        seed=options.seed or 0,
        steps=options.steps,
    )


def require_cpu(target: TargetSpec) -> None:
    """Refuse an Arm CPU that lacks what the target needs; one of another kind is not held to Arm's names.

    Raises:
        DeviceError: a feature is missing.
    """
    device = this_device()
    missing = [feature for feature in target.cpu_features if feature not in device.cpu_features]
    if device.machine == ARM and missing:
        raise DeviceError(
            f"this CPU lacks what target {target.name} needs: {', '.join(missing)}; build for another target"
        )


def _generated(bundle: Bundle, request: Request, threads: int | None) -> tuple[list[Event], Tensors]:
    manifest = bundle.manifest
    prompt = encode_prompt(read_tokenizer(bundle), request, manifest)
    programs = bundle_programs(bundle, threads=threads)
    events = list(_told(generate(manifest, programs, request, prompt), len(pieces(manifest, request))))
    return events, tensors_of(manifest, request, prompt, events)


def _replayed(bundle: Bundle, request: Request, threads: int | None) -> tuple[list[Event], Tensors]:
    """The golden request, every stage given the reference's inputs; the whole clip is decoded."""
    manifest = bundle.manifest
    golden = read_golden(bundle)
    samples = manifest.latent.samples
    whole = Request(prompt=request.prompt, seconds=samples / manifest.audio.sample_rate, steps=request.steps)
    programs = bundle_programs(bundle, threads=threads)
    played = replay(manifest, programs, golden, samples=samples)
    events = list(_told(played, len(pieces(manifest, whole))))
    return events, replayed(golden, events)


def _told(events: Iterable[Event], total: int) -> Iterator[Event]:
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


def _tell_clipped(wav: WavReport) -> None:
    if wav.clipped:
        said = f"{wav.clipped} samples beyond full scale were clipped (peak {wav.peak:.2f}); --float keeps them"
        print(f"{NAME}: note: {said}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
