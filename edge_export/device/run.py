"""One run of a bundle on a device: checked here, brought there, played, and what it made brought back.

It knows neither how a place is reached nor what a runner does.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge_export.device.place import Finished, Payload, Place, PlaceKind, Task, check_features
from edge_export.device.places import split_where
from edge_export.device.process import signal_name
from edge_export.device.runner import Runner
from edge_export.device.runners import runner_for
from edge_export.errors import BundleError, DeviceError, EdgeExportError, RecordError, UsageError
from edge_export.progress import Progress, silent
from runtime_py.bundle import Bundle, open_bundle, read_tokenizer, sha256_of
from runtime_py.files import replace_file
from runtime_py.finishing import Finishing
from runtime_py.generation_spec import GenerationSpec
from runtime_py.loop import encode_prompt, pieces
from runtime_py.manifest import MANIFEST_FILE
from runtime_py.record import Record, bundle_identity, parse_record
from runtime_py.request import Request, check_request, default_seconds

WAV_FILE, RECORD_FILE = "x.wav", "record.json"
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

    out, record: files to write here. force: play even where the device has less memory free than it takes. keep: leave
    the run's folder on the device.
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
    finishing: Finishing = field(default_factory=Finishing)
    tags: bool = True
    force: bool = False
    out: Path | None = None
    record: Path | None = None
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class DeviceRun:
    """What came back. runner_bytes, bundle_bytes: of all that travels. kept: the run's folder there, if it stayed."""

    label: str
    record: Record
    runner_bytes: int
    bundle_bytes: int
    kept: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What a run left over there, in `folder`: the runner's last lines, the record's JSON, and the WAV if asked for."""

    folder: str
    lines: tuple[str, ...]
    record: bytes
    wav: bytes | None


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
    _refuse_options(request, kind)
    bundle = open_bundle(request.bundle)
    generation = _generation(request, bundle)
    make = runner_for(bundle.manifest.backend, kind) if runner is None else lambda *_: runner
    place = kind.open(detail)
    target = bundle.manifest.target
    check_features(place.label, place.info(), target.cpu_features, target.name)
    runner = make(kind, progress)
    payload = _payload(bundle)
    if runner.payload is not None:
        place.push(runner.payload, progress)
    place.push(payload, progress)
    total = 0 if generation is None else len(pieces(bundle.manifest.generation, generation))
    reporter = _Reporter(place.label, progress, total)
    made = _play(place, runner, payload, request, generation, reporter)
    record = _record(made, place.label, runner, bundle)
    if request.out is not None and made.wav is not None:
        replace_file(request.out, made.wav)
    if request.record is not None:
        replace_file(request.record, made.record)
    return DeviceRun(
        label=place.label,
        record=record,
        runner_bytes=runner.bytes,
        bundle_bytes=payload.bytes,
        kept=made.folder if request.keep else None,
        notes=_notes(made, runner, record),
    )


def _refuse_options(request: DeviceRequest, kind: PlaceKind) -> None:
    """What a place does not take is refused, not passed over."""
    for option, given in _flags(request).items():
        if given and option in kind.refuses:
            raise UsageError(f"{option} is not known to --on {kind.name}; leave it out, or take another place")


def _generation(request: DeviceRequest, bundle: Bundle) -> Request | None:
    """What to generate, None for the golden request; what the device would refuse is refused here."""
    manifest = bundle.manifest
    if request.golden:
        given = [name for name in ("prompt", "seconds", "seed", "steps") if getattr(request, name) is not None]
        if given:
            raise UsageError(f"--golden and --{given[0]} exclude each other: the golden request is the bundle's own")
        if not bundle.path(manifest.golden).is_file():
            raise BundleError(f"{bundle.path(manifest.golden)} is missing; build the bundle again to replay it")
        return None
    spec = manifest.generation
    generation = _completed(request, spec)
    check_request(generation, spec)
    encode_prompt(read_tokenizer(bundle), generation, spec)
    return generation.resolved(spec)


def _completed(request: DeviceRequest, spec: GenerationSpec) -> Request:
    """The request with all that was not given; of a prompt that a command line can carry."""
    if request.prompt is None:
        raise UsageError('--prompt is missing; say what to play, such as --prompt "warm arpeggios", or --golden')
    if "\0" in request.prompt:
        raise UsageError("the prompt holds a zero byte, which no command line can carry; leave it out")
    size = len(request.prompt.encode())
    if size > MOST_ARGUMENT_BYTES:
        raise UsageError(f"the prompt has {size} bytes, a command line carries {MOST_ARGUMENT_BYTES}; shorten it")
    return Request(
        prompt=request.prompt,
        seconds=default_seconds(spec) if request.seconds is None else request.seconds,
        seed=request.seed or 0,
        steps=request.steps,
    )


def _payload(bundle: Bundle) -> Payload:
    """The files that the manifest names, and the manifest; whatever else lies in the folder stays here."""
    manifest = bundle.manifest
    files = {spec.file: spec.sha256 for spec in manifest.files if bundle.path(spec).is_file()}
    files[MANIFEST_FILE] = sha256_of(bundle.folder / MANIFEST_FILE)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"bundle-{manifest.model.name}-{manifest.backend}-{manifest.recipe.name}")
    return Payload(name=name[:MOST_NAME], folder=bundle.folder, files=files)


class _Reporter:
    """Progress of one run; the runner's own, such as "[2/6] dit 1 of 4: 0.10 s", becomes ours."""

    def __init__(self, label: str, progress: Progress, total: int) -> None:
        self._label, self._progress, self._total, self._done = label, progress, total, 0

    def starting(self) -> None:
        self._progress(f"starting on {self._label}", 0, max(1, self._total))

    def on_line(self, line: str) -> None:
        if not line.startswith("["):
            return
        counted, _, text = line.partition("] ")
        total = counted.rpartition("/")[2]
        self._progress(f"{self._label}: {text}", self._done, int(total) if total.isdigit() else self._total)
        self._done += 1

    def pulling(self) -> None:
        self._progress("bringing the record back", 0, 1)


def _play(
    place: Place,
    runner: Runner,
    payload: Payload,
    request: DeviceRequest,
    generation: Request | None,
    reporter: _Reporter,
) -> _Made:
    """Run it over there, and bring back what it made."""
    with place.workspace(keep=request.keep) as workspace:
        options = [f"--bundle={workspace.at(payload)}", f"--label={place.label}", f"--record={RECORD_FILE}"]
        task = Task(
            bundle=workspace.at(payload),
            label=place.label,
            request=generation,
            threads=request.threads,
            words=runner.argv(workspace.at, [*options, *_options(request, generation)]),
            environment=runner.environment,
        )
        reporter.starting()
        finished = workspace.play(task, reporter.on_line)
        if finished.code != 0:
            raise _error(finished, place.label, runner.name)
        reporter.pulling()
        wav = workspace.pull(WAV_FILE) if request.out is not None else None
        return _Made(folder=workspace.folder, lines=finished.lines, record=workspace.pull(RECORD_FILE), wav=wav)


def _options(request: DeviceRequest, generation: Request | None) -> list[str]:
    """The runner's options; each with its value in one word, for a value may begin with a dash."""
    values = {} if generation is None else asdict(generation) | {"steps": request.steps}
    values |= {"threads": request.threads, "out": WAV_FILE if request.out is not None else None}
    options = [f"--{name}={value}" for name, value in values.items() if value is not None]
    return options + [flag for flag, given in _flags(request).items() if given]


def _flags(request: DeviceRequest) -> dict[str, bool]:
    finishing = request.finishing
    return {
        "--golden": request.golden,
        "--float": request.float32,
        "--force": request.force,
        "--normalize": finishing.normalize,
        "--no-fade": not finishing.fade,
        "--no-tags": not request.tags,
    }


def _error(finished: Finished, label: str, runner: str) -> EdgeExportError:
    error = f"{runner}: error: "
    errors = [line.removeprefix(error) for line in finished.lines if line.startswith(error)]
    if errors and 0 < finished.code < 126:
        return RunnerError(errors[-1], finished.code)
    name = signal_name(finished.code)
    last = finished.lines[-1] if finished.lines else "it said nothing"
    if name == "SIGKILL":
        return DeviceError(f"the runner was killed on {label}, most likely for want of memory; ask for fewer --seconds")
    if name == "SIGILL":
        return DeviceError(f"the runner met an instruction that the CPU of {label} does not have; last line: {last}")
    return DeviceError(f"the runner ended with {name} on {label}; last line: {last[:300]}")


def _record(made: _Made, label: str, runner: Runner, bundle: Bundle) -> Record:
    """The record as the one reader reads it: of this place and bundle, and of the WAV that came with it."""
    try:
        record = parse_record(made.record.decode("utf-8"))
    except (UnicodeDecodeError, RecordError) as error:
        reason = str(error).partition(";")[0]
        raise DeviceError(f"{label} wrote a record that cannot be read ({reason}); {runner.remedy}") from error
    if (record.run.label, record.run.bundle) != (label, bundle_identity(bundle)):
        raise DeviceError(f"{label} wrote a record of another place or bundle; {runner.remedy}")
    told = None if record.wav is None else record.wav.sha256
    if made.wav is not None and told not in (None, hashlib.sha256(made.wav).hexdigest()):
        raise DeviceError(f"the WAV from {label} is not the one its record tells of; run the same command again")
    return record


def _notes(made: _Made, runner: Runner, record: Record) -> tuple[str, ...]:
    """What the runner notes, and what its record leaves open."""
    note = f"{runner.name}: note: "
    notes = [line.removeprefix(note) for line in made.lines if line.startswith(note)]
    if made.wav is not None and record.wav is None:
        notes.append("the record does not name the WAV: compare will not hold its bytes")
    return tuple(notes)
