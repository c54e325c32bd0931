"""The record of a run: where it was made, how long each stage took, and every tensor between the stages.

A device writes one as JSON, `edge-export compare` holds it against the reference. The tensors have the names and the
layout of the golden vectors (`runtime_py.golden`). It judges nothing.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from runtime_py import strict_json
from runtime_py.audio import WavReport, samples_in
from runtime_py.bundle import Bundle, sha256_of
from runtime_py.engine import OpenProgram, Program, Tensors
from runtime_py.errors import RecordError, UsageError
from runtime_py.finishing import Finishing
from runtime_py.generation_spec import DTYPES, MAX_ELEMENTS, STAGES, Layout
from runtime_py.golden import layout
from runtime_py.loop import Event
from runtime_py.machine import Machine, fast_cores, forget_peak_memory, peak_memory_mb, this_machine
from runtime_py.manifest import MANIFEST_FILE
from runtime_py.random import TorchRandom
from runtime_py.request import Request
from runtime_py.sampler import MAX_STEPS
from runtime_py.schema import SchemaError, read_as, require

RECORD_VERSION = 3
MAX_RECORD_BYTES = 1 << 30
MAX_DIMENSIONS = 8
INPUTS = ("own", "golden")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Who ran it: `edge-run` or `runtime_py`, and the engine below."""

    name: str
    version: str
    engine: str
    engine_version: str


@dataclass(frozen=True, kw_only=True)
class BundleIdentity:
    """Which bundle. manifest_sha256: of manifest.json's bytes."""

    manifest_sha256: str
    model: str
    backend: str
    recipe: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One event: seconds to load and to run, and the most memory since its stage began, in MB of 10^6 bytes."""

    stage: str
    index: int
    count: int
    load: float
    run: float
    peak_rss_mb: float


@dataclass(frozen=True, kw_only=True)
class Wav:
    """The file that was written. finishing: what was done to "audio" before. tags: it tells how to make it again."""

    sha256: str
    bytes: int
    sample_rate: int
    channels: int
    samples: int
    peak: float
    clipped: int
    float32: bool
    finishing: Finishing
    tags: bool
    format: Literal["wav", "flac", "ogg", "mp3"]


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """All of a record but its tensors and its WAV.

    label: as `device run --on` names the place, or empty. request: nothing is left open. inputs: "own", or "golden"
    where every stage got the reference's. open_seconds: opening the bundle, which belongs to no stage.
    """

    record_version: int
    runtime: Runtime
    bundle: BundleIdentity
    label: str
    machine: Machine
    threads: int
    request: Request
    inputs: str
    open_seconds: float
    stages: tuple[StageRecord, ...]

    def validate(self, path: str) -> None:
        del path  # the whole document
        require(self.inputs in INPUTS, "inputs", f"is {self.inputs[:40]!r}, expected one of {', '.join(INPUTS)}")
        _check_request(self.request)
        require(self.machine.cores >= 1, "machine.cores", "is below 1")
        require(self.threads >= 1, "threads", "is below 1")
        sound = math.isfinite(self.open_seconds) and self.open_seconds >= 0
        require(sound, "open_seconds", "is no number from 0 up")
        known = bool(self.stages) and all(stage.stage in STAGES for stage in self.stages)
        require(known, "stages", f"does not list what each of {', '.join(STAGES)} took")
        for index, stage in enumerate(self.stages):
            times = (stage.load, stage.run, stage.peak_rss_mb)
            sound = all(math.isfinite(value) and value >= 0 for value in times)
            require(sound, f"stages[{index}]", "holds a time or memory that is no number from 0 up")


def _check_request(request: Request) -> None:
    """What must hold of any bundle's request."""
    steps = request.steps
    require(steps is not None and 1 <= steps <= MAX_STEPS, "request.steps", f"is {steps}, expected 1 to {MAX_STEPS}")
    require(math.isfinite(request.seconds), "request.seconds", "is no finite number")
    try:
        TorchRandom(request.seed)
    except UsageError as error:
        raise SchemaError("request", str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run. `tensors` hold what the device gave, NaN included."""

    run: RunInfo
    tensors: Tensors = field(repr=False)
    wav: Wav | None


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Keeps the events of a run as they pass, and the most memory of each stage."""

    events: list[Event] = field(default_factory=list)
    peaks_mb: list[float] = field(default_factory=list)

    def watch(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events."""
        for event in events:
            self.events.append(event)
            self.peaks_mb.append(peak_memory_mb())
            yield event

    def opening(self, open_program: OpenProgram) -> OpenProgram:
        """The same programs; memory is counted anew from one stage to the next, where the system can."""

        def open_counted(role: str) -> Program:
            if role in STAGES:  # the others are a stage's further programs
                forget_peak_memory()
            return open_program(role)

        return open_counted


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        RecordError: it cannot be read, is no record, of another version, or contradicts itself.
    """
    try:
        if not path.is_file():
            raise RecordError(f"no record at {path}: not a file; make one with `edge-export device run --record FILE`")
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise RecordError(f"{path} is larger than {MAX_RECORD_BYTES >> 20} MiB, and so no record")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except ValueError as error:
        raise RecordError(f"{path} is no record: it is not UTF-8; make it again") from error
    try:
        return parse_record(text)
    except RecordError as error:
        raise RecordError(f"{path} is no record: {error}") from error


def parse_record(text: str) -> Record:
    """A record from its JSON text; RecordError says what is wrong with it, and where."""
    try:
        document = strict_json.parse(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"it is no JSON ({error}); make it again") from error
    if not isinstance(document, dict):
        raise RecordError("it is no JSON object; make it again")
    version = document.get("record_version")
    if type(version) is not int or version != RECORD_VERSION:
        raise RecordError(
            f"record_version is {json.dumps(version)[:40]}, this edge-export reads {RECORD_VERSION}; make the record "
            "with a runner of this version"
        )
    for key in ("tensors", "wav"):
        if key not in document:
            raise RecordError(f"{key} is missing; make it again")
    tensors, wav = document.pop("tensors"), document.pop("wav")
    try:
        run = read_as(RunInfo, document, "")
        kept = None if wav is None else read_as(Wav, wav, "wav")
    except SchemaError as error:
        raise RecordError(f"{error}; make it again") from error
    if not isinstance(tensors, dict):
        raise RecordError("tensors is no object; make it again")
    return Record(run=run, tensors={name: _tensor(name, entry) for name, entry in tensors.items()}, wav=kept)


def _tensor(name: str, entry: Any) -> np.ndarray:
    """One tensor out of {"dtype", "shape", "data"}, the data base64 of little-endian numbers in C order."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data"}:
        raise RecordError(f"tensors.{name} is not made of dtype, shape and data")
    dtype, shape, data = entry["dtype"], entry["shape"], entry["data"]
    if dtype not in DTYPES:
        raise RecordError(f"tensors.{name}.dtype is none of {', '.join(DTYPES)}")
    sizes = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS and all(type(size) is int for size in shape)
    if not sizes or any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise RecordError(f"tensors.{name}.shape is no list of sizes")
    if not isinstance(data, str):
        raise RecordError(f"tensors.{name}.data is no text")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"tensors.{name}.data is not base64") from error
    if len(raw) != math.prod(shape) * np.dtype(dtype).itemsize:
        raise RecordError(f"tensors.{name}.data has {len(raw)} bytes, which is not {dtype} of shape {shape}")
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)


def dump_record(record: Record) -> str:
    """The JSON text of a record."""
    tensors = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": _base64(array)}
        for name, array in record.tensors.items()
    }
    wav = None if record.wav is None else asdict(record.wav)
    document = {**asdict(record.run), "tensors": tensors, "wav": wav}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _base64(array: np.ndarray) -> str:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")


def record_of(
    bundle: Bundle,
    request: Request,
    recorder: Recorder,
    tensors: Tensors,
    *,
    version: str,
    open_seconds: float,
    engine: str = "",
    inputs: str = "own",
    label: str = "",
    threads: int | None = None,
    wav: WavReport | None = None,
) -> Record:
    """The record of a run that this process made; `threads` of None are the default: fast cores."""
    manifest = bundle.manifest
    run = RunInfo(
        record_version=RECORD_VERSION,
        runtime=_runtime(version, engine or manifest.backend),
        bundle=bundle_identity(bundle),
        label=label,
        machine=this_machine(),
        threads=threads or fast_cores(),
        request=request.resolved(manifest.generation),
        inputs=inputs,
        open_seconds=open_seconds,
        stages=tuple(map(_stage, recorder.events, recorder.peaks_mb)),
    )
    sample_rate = manifest.generation.audio.sample_rate
    return Record(run=run, tensors=tensors, wav=None if wav is None else _wav(wav, sample_rate))


def _stage(event: Event, peak_mb: float) -> StageRecord:
    return StageRecord(
        stage=event.stage,
        index=event.index,
        count=event.count,
        load=event.load,
        run=event.run,
        peak_rss_mb=peak_mb,
    )


def _runtime(version: str, engine: str) -> Runtime:
    """This runtime; the engine's version is that of its package."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    packages = {"litert": "ai-edge-litert", "reference": "torch"}
    try:
        found = version_of(packages.get(engine, engine))
    except PackageNotFoundError:
        found = ""
    return Runtime(name="runtime_py", version=version, engine=engine, engine_version=found)


def bundle_identity(bundle: Bundle) -> BundleIdentity:
    manifest = bundle.manifest
    return BundleIdentity(
        manifest_sha256=sha256_of(bundle.folder / MANIFEST_FILE),
        model=manifest.model.name,
        backend=manifest.backend,
        recipe=manifest.recipe.name,
    )


def _wav(report: WavReport, sample_rate: int) -> Wav:
    return Wav(
        sha256=report.sha256,
        bytes=report.bytes,
        sample_rate=sample_rate,
        channels=report.channels,
        samples=report.samples,
        peak=report.peak,
        clipped=report.clipped,
        float32=report.float32,
        finishing=report.finishing,
        tags=report.tags,
        format=cast(Any, report.format),
    )


def check_record(record: Record, bundle: Bundle) -> None:
    """Hold a record against the bundle it says it is of: all tensors there, of the manifest's shapes.

    Raises:
        RecordError: it is of another bundle, or lacks a tensor.
    """
    ours, theirs = bundle_identity(bundle), record.run.bundle
    if ours != theirs:
        named = [name for name in ("model", "backend", "recipe") if getattr(ours, name) != getattr(theirs, name)]
        differs = ", ".join(f"{name} {getattr(theirs, name)[:60]!r}, not {getattr(ours, name)!r}" for name in named)
        raise RecordError(
            f"the record is of another bundle than {bundle.folder}: {differs or 'its manifest has another sha256'}; "
            "name the bundle it was made from, or run that one again"
        )
    expected = record_layout(bundle, record.run)
    for name in sorted(expected.keys() | record.tensors.keys()):
        found = record.tensors.get(name)
        if found is None:
            raise RecordError(f"the record lacks the tensor {name!r}; make it again with --record")
        if name not in expected or (found.dtype.name, found.shape) != expected[name]:
            dtype, shape = expected.get(name, ("nothing of that name", ""))
            raise RecordError(
                f"the record's {name[:60]} is {found.dtype.name} {found.shape}, expected {dtype} {shape}".rstrip()
                + "; make it again with --record"
            )
    wav, audio = record.wav, expected["audio"][1]
    sample_rate = bundle.manifest.generation.audio.sample_rate
    if wav is not None and (wav.channels, wav.samples, wav.sample_rate) != (*audio, sample_rate):
        raise RecordError(f"the record's wav is not of its audio, {audio[0]} x {audio[1]}; make it again with --record")


def record_layout(bundle: Bundle, run: RunInfo) -> Layout:
    """dtype and shape of every tensor of a record, from the manifest and the request."""
    spec, request = bundle.manifest.generation, run.request.resolved(bundle.manifest.generation)
    whole = spec.latent.samples
    samples = samples_in(request.seconds, spec.audio.sample_rate) if run.inputs == "own" else whole
    if not 1 <= samples <= whole:
        raise RecordError(f"request.seconds is {request.seconds:g}, which this bundle cannot make")
    assert request.steps is not None
    return layout(spec, steps=request.steps, samples=samples)


def unsound(tensors: Tensors) -> Iterator[str]:
    """The names of tensors that hold NaN or infinity; of the dit's, with the first such step, counted from 1."""
    for name, array in tensors.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        bad = [index for index, step in enumerate(array) if not np.isfinite(step).all()]
        yield f"{name}, step {bad[0] + 1}" if name.startswith("step_") else name
