"""One run of a bundle on a device: checked here, brought there, played, and what it made brought back.

It knows neither how a place is reached nor what a runner does.
"""

import hashlib
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_export.device.place import Finished, Parcel, Place, check_features, split_where
from edge_export.device.process import signal_name
from edge_export.device.runner import Runner, runner_for
from edge_export.errors import BundleError, DeviceError, EdgeExportError, UsageError
from edge_export.progress import Progress, silent
from runtime_py import strict_json
from runtime_py.audio import replace_file
from runtime_py.bundle import Bundle, open_bundle, sha256_of
from runtime_py.generate import Request, check_request, default_seconds, encode_prompt, pieces, read_tokenizer
from runtime_py.manifest import MANIFEST_FILE

WAV_FILE, RECORD_FILE = "out.wav", "run.json"
MOST_ARGUMENT_BYTES = 128 * 1024 - 1  # of one argument, under Linux and Android
MOST_NAME = 120  # characters


class RunnerError(EdgeExportError):
    """The runner's own error, with its own exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


@dataclass(frozen=True, kw_only=True)
class DeviceRequest:
    """What to play where. prompt, seconds, seed, steps: None means not given; with `golden` they must be.

    out, record: files to write here. keep: leave the run's folder on the device.
    """

    bundle: Path
    where: str
    prompt: str | None = None
    seconds: float | None = None
    seed: int | None = None
    steps: int | None = None
    threads: int | None = None
    golden: bool = False
    float32: bool = False
    out: Path | None = None
    record: Path | None = None
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class DeviceRun:
    """What came back. runner_bytes, bundle_bytes: of all that travels. kept: the run's folder there, if it stayed."""

    label: str
    record: dict[str, Any]
    runner_bytes: int
    bundle_bytes: int
    kept: str | None
    notes: tuple[str, ...]


def run_on_device(request: DeviceRequest, progress: Progress = silent, runner: Runner | None = None) -> DeviceRun:
    """Play `request`; `runner` stands in for the one of the bundle's backend.

    Raises:
        UsageError, BundleError: before anything else is done.
        MissingDependency: a tool is missing here.
        DeviceError: the place cannot be used, vanished, or sent something damaged.
        RunnerError: the runner refused or failed.
        OutputError: what came back cannot be written here.
    """
    kind, detail = split_where(request.where)
    bundle = open_bundle(request.bundle)
    total = _check(request, bundle)
    make = runner_for(bundle.manifest.backend, kind) if runner is None else lambda *_: runner
    place = kind.open(detail)
    facts = place.facts()
    target = bundle.manifest.target
    check_features(place.label, facts, target.cpu_features, target.name)
    runner = make(kind, progress)
    cargo = _parcel(bundle)
    place.push(runner.parcel, progress)
    place.push(cargo, progress)
    finished, wav, record, folder = _played(place, request, runner, cargo, total, progress)
    document = _checked(record, wav, place.label)
    note = f"{runner.name}: note: "
    if request.out is not None and wav is not None:
        replace_file(request.out, wav)
    if request.record is not None:
        replace_file(request.record, record)
    return DeviceRun(
        label=place.label,
        record=document,
        runner_bytes=runner.parcel.bytes,
        bundle_bytes=cargo.bytes,
        kept=folder if request.keep else None,
        notes=tuple(line.removeprefix(note) for line in finished.said if line.startswith(note)),
    )


def _check(request: DeviceRequest, bundle: Bundle) -> int:
    """Refuse here what the device would refuse; returns how many pieces of work the run has."""
    manifest = bundle.manifest
    if request.golden:
        given = [name for name in ("prompt", "seconds", "seed", "steps") if getattr(request, name) is not None]
        if given:
            raise UsageError(f"--golden and --{given[0]} exclude each other: the golden request is the bundle's own")
        if not bundle.path(manifest.golden).is_file():
            raise BundleError(f"{bundle.path(manifest.golden)} is missing; build the bundle again to replay it")
        return 0
    if request.prompt is None:
        raise UsageError('--prompt is missing; say what to play, such as --prompt "warm arpeggios", or --golden')
    if "\0" in request.prompt:
        raise UsageError("the prompt holds a zero byte, which no command line can carry; leave it out")
    size = len(request.prompt.encode())
    if size > MOST_ARGUMENT_BYTES:
        raise UsageError(f"the prompt has {size} bytes, a command line carries {MOST_ARGUMENT_BYTES}; shorten it")
    asked = Request(
        prompt=request.prompt,
        seconds=default_seconds(manifest) if request.seconds is None else request.seconds,
        seed=request.seed or 0,
        steps=request.steps,
    )
    check_request(asked, manifest)
    encode_prompt(read_tokenizer(bundle), asked, manifest)
    return len(pieces(manifest, asked))


def _parcel(bundle: Bundle) -> Parcel:
    """The files that the manifest names, and the manifest; whatever else lies in the folder stays here."""
    manifest = bundle.manifest
    files = {spec.file: spec.sha256 for spec in manifest.files if bundle.path(spec).is_file()}
    files[MANIFEST_FILE] = sha256_of(bundle.folder / MANIFEST_FILE)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"bundle-{manifest.model.name}-{manifest.backend}-{manifest.recipe.name}")
    return Parcel(name=name[:MOST_NAME], folder=bundle.folder, files=files)


def _played(
    place: Place, request: DeviceRequest, runner: Runner, cargo: Parcel, total: int, progress: Progress
) -> tuple[Finished, bytes | None, bytes, str]:
    """Run it over there, and bring back WAV and record; the last is the folder of the run over there."""
    with ExitStack() as stack:
        desk = stack.enter_context(place.desk(keep=request.keep))
        argv = runner.argv(desk.at(runner.parcel), _options(request, desk.at(cargo), place.label))
        finished = desk.run(argv, runner.environment, _Steps(place.label, progress, total).heard)
        if finished.code != 0:
            raise _error(finished, place.label, runner.name)
        progress("bringing the record back", 0, 1)
        wav = desk.pull(WAV_FILE) if request.out is not None else None
        return finished, wav, desk.pull(RECORD_FILE), desk.folder


def _options(request: DeviceRequest, bundle: str, label: str) -> list[str]:
    """The runner's options; each with its value in one word, for a value may begin with a dash."""
    options = [f"--bundle={bundle}", f"--label={label}", f"--record={RECORD_FILE}"]
    for name in ("prompt", "seconds", "seed", "steps", "threads"):
        value = getattr(request, name)
        if value is not None:
            options.append(f"--{name}={value}")
    if request.out is not None:
        options.append(f"--out={WAV_FILE}")
    return options + ["--golden"] * request.golden + ["--float"] * request.float32


class _Steps:
    """Turns the runner's own progress, such as "[2/6] dit 1 of 4: 0.10 s", into ours."""

    def __init__(self, label: str, progress: Progress, total: int) -> None:
        self._label, self._progress, self._total, self._done = label, progress, total, 0
        progress(f"starting on {label}", 0, max(1, total))

    def heard(self, line: str) -> None:
        if not line.startswith("["):
            return
        counted, _, text = line.partition("] ")
        total = counted.rpartition("/")[2]
        self._progress(f"{self._label}: {text}", self._done, int(total) if total.isdigit() else self._total)
        self._done += 1


def _error(finished: Finished, label: str, runner: str) -> EdgeExportError:
    error = f"{runner}: error: "
    told = [line.removeprefix(error) for line in finished.said if line.startswith(error)]
    if told and 0 < finished.code < 126:
        return RunnerError(told[-1], finished.code)
    name = signal_name(finished.code)
    last = finished.said[-1] if finished.said else "it said nothing"
    if name == "SIGKILL":
        return DeviceError(f"the runner was killed on {label}, most likely for want of memory; ask for fewer --seconds")
    if name == "SIGILL":
        return DeviceError(f"the runner met an instruction that the CPU of {label} does not have; last line: {last}")
    return DeviceError(f"the runner ended with {name} on {label}; last line: {last[:300]}")


def _checked(record: bytes, wav: bytes | None, label: str) -> dict[str, Any]:
    """The record as a document that has the stages, of the WAV that came with it."""
    try:
        document = strict_json.parse(record.decode("utf-8"))
        for event in document["stages"]:
            float(event["load"]), float(event["run"]), str(event["stage"])
        told = document["wav"]["sha256"] if wav is not None else None
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"{label} wrote a record that cannot be read ({error}); rebuild the runner") from error
    if wav is not None and hashlib.sha256(wav).hexdigest() != told:
        raise DeviceError(f"the WAV from {label} is not the one its record tells of; run the same command again")
    found: dict[str, Any] = document
    return found
