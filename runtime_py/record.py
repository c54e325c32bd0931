"""The record of a run: where it was made, how long each stage took, and every tensor between the stages.

A device writes one as JSON, `edge-export compare` holds it against the reference. The tensors have the names and the
layout of the golden vectors (`edge_export.golden`). It judges nothing.
"""

import base64
import binascii
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py import strict_json
from runtime_py.audio import WavReport
from runtime_py.bundle import Bundle, sha256_of
from runtime_py.engine import Tensors
from runtime_py.errors import GenerationError, RecordError
from runtime_py.generate import Event, OpenProgram, Request, Stage, decode, joined, latent_noise, step_sigmas
from runtime_py.manifest import DTYPES, MANIFEST_FILE, MAX_ELEMENTS, Manifest, ManifestError, read_as
from runtime_py.random import MAX_SEED
from runtime_py.tokenizer import Prompt

RECORD_VERSION = 1
MAX_RECORD_BYTES = 1 << 30
MAX_DIMENSIONS = 8
INPUTS = ("own", "golden")
STAGES = ("conditioner", "dit", "decoder")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Who ran it: `edge-run` or `runtime_py`, and the engine below."""

    name: str
    version: str
    engine: str
    engine_version: str


@dataclass(frozen=True, kw_only=True)
class Played:
    """Which bundle. manifest_sha256: of manifest.json's bytes."""

    manifest_sha256: str
    model: str
    backend: str
    recipe: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where it ran. label: as `device run --on` names it, or empty; cpu_features: as the kernel names them."""

    label: str
    system: str
    machine: str
    cpu: str
    cpu_features: tuple[str, ...]
    cores: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The request; `steps` is never left open here."""

    prompt: str
    seconds: float
    seed: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One event: seconds to load and to run, and the most memory since the stage began, in MB of 10^6 bytes."""

    stage: str
    index: int
    count: int
    load: float
    run: float
    peak_rss_mb: float


@dataclass(frozen=True, kw_only=True)
class Wav:
    """The file that was written."""

    sha256: str
    bytes: int
    sample_rate: int
    channels: int
    samples: int
    peak: float
    clipped: int
    float32: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All of a record but its tensors and its WAV. inputs: "own", or "golden" where every stage got the reference's."""

    record_version: int
    runtime: Runtime
    bundle: Played
    device: Device
    request: Asked
    inputs: str
    stages: tuple[StageRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run. `tensors` hold what the device gave, NaN included."""

    facts: Facts
    tensors: Tensors = field(repr=False)
    wav: Wav | None


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
        facts = read_as(Facts, document, "")
        kept = None if wav is None else read_as(Wav, wav, "wav")
    except ManifestError as error:
        said = str(error).removeprefix(f"{MANIFEST_FILE}: ")
        raise RecordError(f"{said}; make it again") from error
    _check_facts(facts)
    if not isinstance(tensors, dict):
        raise RecordError("tensors is no object; make it again")
    return Record(facts=facts, tensors={name: _tensor(name, entry) for name, entry in tensors.items()}, wav=kept)


def _check_facts(facts: Facts) -> None:
    if facts.inputs not in INPUTS:
        raise RecordError(f"inputs is {facts.inputs[:40]!r}, expected one of {', '.join(INPUTS)}")
    if not 1 <= facts.request.steps <= 1000:
        raise RecordError(f"request.steps is {facts.request.steps}, expected 1 to 1000")
    if not math.isfinite(facts.request.seconds):
        raise RecordError("request.seconds is no finite number")
    if not 0 <= facts.request.seed <= MAX_SEED:
        raise RecordError(f"request.seed is {facts.request.seed}, expected 0 to {MAX_SEED}")
    if min(facts.device.cores, facts.device.threads) < 1:
        raise RecordError("device.cores or device.threads is below 1")
    if not facts.stages or any(stage.stage not in STAGES for stage in facts.stages):
        raise RecordError(f"stages does not list what each of {', '.join(STAGES)} took")
    for index, stage in enumerate(facts.stages):
        times = (stage.load, stage.run, stage.peak_rss_mb)
        if not all(math.isfinite(value) and value >= 0 for value in times):
            raise RecordError(f"stages[{index}] holds a time or memory that is no number from 0 up")


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
    document = {**asdict(record.facts), "tensors": tensors, "wav": wav}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _base64(array: np.ndarray) -> str:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")


def tensors_of(manifest: Manifest, request: Request, prompt: Prompt, events: Iterable[Event]) -> Tensors:
    """What the events of one generation took and made, by the names and in the layout of the golden vectors."""
    sigmas = step_sigmas(manifest, request.steps)
    by_stage: dict[str, list[Event]] = {stage: [] for stage in STAGES}
    for event in events:
        by_stage[event.stage].append(event)
    steps = [event.tensors for event in by_stage["dit"]]
    return {
        "input_ids": prompt.ids[None],
        "prompt_mask": prompt.mask[None],
        "seconds": np.array([request.seconds], np.float32),
        "sigmas": sigmas,
        "noise": np.concatenate(list(islice(latent_noise(manifest, request.seed), len(sigmas) - 1))),
        **by_stage["conditioner"][0].tensors,
        "step_latent": np.concatenate([step["latent"] for step in steps]),
        "step_velocity": np.concatenate([step["velocity"] for step in steps]),
        "latent": steps[-1]["clean"],
        "audio": joined(by_stage["decoder"]),
    }


def replay(
    manifest: Manifest, open_program: OpenProgram, tensors: Tensors, *, samples: int, window: int | None = None
) -> Iterator[Event]:
    """Give every stage the inputs that `tensors` hold, so that one stage's error cannot hide in another's.

    The decoder makes `samples` of sound, `window` latents at a time (see `runtime_py.generate.generate`).

    Raises:
        GenerationError: a program failed or returned NaN.
    """
    stage = Stage("conditioner", open_program)
    spec = manifest.program("conditioner")
    yield stage.event(stage.run(**{tensor.name: tensors[tensor.name] for tensor in spec.inputs}))
    conditioning = {tensor.name: tensors[tensor.name] for tensor in spec.outputs}
    dit = Stage("dit", open_program, count=len(tensors["step_latent"]))
    for latent, sigma in zip(tensors["step_latent"], tensors["sigmas"]):
        made = dit.run(latent=latent[None], sigma=np.array([sigma], np.float32), **conditioning)
        if not np.isfinite(made["velocity"]).all():
            raise GenerationError(f"the dit returned NaN or infinity in step {dit.index + 1}; run `edge-export verify`")
        yield dit.event(made)
    del dit
    yield from decode(manifest, open_program, tensors["latent"], samples, window=window)


def replayed(tensors: Tensors, events: Iterable[Event]) -> Tensors:
    """`tensors`, with what the programs made of them in place of what they held."""
    by_stage: dict[str, list[Event]] = {stage: [] for stage in STAGES}
    for event in events:
        by_stage[event.stage].append(event)
    made = {"step_velocity": np.concatenate([event.tensors["velocity"] for event in by_stage["dit"]])}
    return {**tensors, **by_stage["conditioner"][0].tensors, **made, "audio": joined(by_stage["decoder"])}


def record_of(
    bundle: Bundle,
    request: Request,
    events: Iterable[Event],
    tensors: Tensors,
    *,
    version: str,
    engine: str = "",
    inputs: str = "own",
    label: str = "",
    threads: int | None = None,
    wav: WavReport | None = None,
    float32: bool = False,
) -> Record:
    """The record of a run that this process made."""
    manifest = bundle.manifest
    return Record(
        facts=Facts(
            record_version=RECORD_VERSION,
            runtime=_runtime(version, engine or manifest.backend),
            bundle=played(bundle),
            device=this_device(label, threads),
            request=Asked(
                prompt=request.prompt,
                seconds=float(request.seconds),
                seed=int(request.seed),
                steps=len(tensors["step_latent"]),
            ),
            inputs=inputs,
            stages=tuple(
                StageRecord(
                    stage=event.stage,
                    index=event.index,
                    count=event.count,
                    load=event.load,
                    run=event.run,
                    peak_rss_mb=peak_memory_mb(),
                )
                for event in events
            ),
        ),
        tensors=tensors,
        wav=None if wav is None else _wav(wav, manifest.audio.sample_rate, float32),
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


def played(bundle: Bundle) -> Played:
    manifest = bundle.manifest
    return Played(
        manifest_sha256=sha256_of(bundle.folder / MANIFEST_FILE),
        model=manifest.model.name,
        backend=manifest.backend,
        recipe=manifest.recipe.name,
    )


def _wav(report: WavReport, sample_rate: int, float32: bool) -> Wav:
    return Wav(
        sha256=sha256_of(report.path),
        bytes=report.path.stat().st_size,
        sample_rate=sample_rate,
        channels=report.channels,
        samples=report.samples,
        peak=report.peak,
        clipped=report.clipped,
        float32=float32,
    )


def this_device(label: str = "", threads: int | None = None) -> Device:
    """What this process can say of where it runs; `threads` of None is all cores."""
    cores = os.cpu_count() or 1
    told = _cpu_lines()
    return Device(
        label=label,
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=next((told[key] for key in ("model name", "Hardware", "CPU part") if told.get(key)), ""),
        cpu_features=tuple((told.get("Features") or told.get("flags") or "").split()),
        cores=cores,
        threads=threads or cores,
    )


def _cpu_lines() -> dict[str, str]:
    """The first value of each key of /proc/cpuinfo; none where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [line.partition(":") for line in reversed(lines)]
    return {key.strip(): value.strip() for key, _, value in pairs}


def peak_memory_mb() -> float:
    """The most memory of this process so far, in MB of 10^6 bytes; 0 where that is not told."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if platform.system() == "Darwin" else peak * 1024 / 1e6


def check_record(record: Record, bundle: Bundle) -> None:
    """Hold a record against the bundle it says it is of: all tensors there, of the manifest's shapes.

    Raises:
        RecordError: it is of another bundle, or lacks a tensor.
    """
    ours, theirs = played(bundle), record.facts.bundle
    if ours != theirs:
        named = [name for name in ("model", "backend", "recipe") if getattr(ours, name) != getattr(theirs, name)]
        differs = ", ".join(f"{name} {getattr(theirs, name)[:60]!r}, not {getattr(ours, name)!r}" for name in named)
        raise RecordError(
            f"the record is of another bundle than {bundle.folder}: {differs or 'its manifest has another sha256'}; "
            "name the bundle it was made from, or run that one again"
        )
    expected = layout(bundle.manifest, record.facts)
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
    if wav is not None and (wav.channels, wav.samples, wav.sample_rate) != (*audio, bundle.manifest.audio.sample_rate):
        raise RecordError(f"the record's wav is not of its audio, {audio[0]} x {audio[1]}; make it again with --record")


def layout(manifest: Manifest, facts: Facts) -> dict[str, tuple[str, tuple[int, ...]]]:
    """dtype and shape of every tensor of a record, from the manifest and the request."""
    from runtime_py.audio import samples_in

    conditioner = manifest.program("conditioner")
    shape, steps = manifest.latent.shape, facts.request.steps
    whole = manifest.latent.samples
    asked = samples_in(facts.request.seconds, manifest.audio.sample_rate) if facts.inputs == "own" else whole
    if not 1 <= asked <= whole:
        raise RecordError(f"request.seconds is {facts.request.seconds:g}, which this bundle cannot make")
    made = {tensor.name: (tensor.dtype, tensor.shape) for tensor in (*conditioner.inputs, *conditioner.outputs)}
    made |= dict.fromkeys(("noise", "step_latent", "step_velocity"), ("float32", (steps, *shape)))
    made |= {"sigmas": ("float32", (steps + 1,)), "latent": ("float32", (1, *shape))}
    return made | {"audio": ("float32", (manifest.audio.channels, asked))}


def unsound(tensors: Tensors) -> Iterator[str]:
    """The names of tensors that hold NaN or infinity; of the dit's, with the first such step, counted from 1."""
    for name, array in tensors.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        bad = [index for index, step in enumerate(array) if not np.isfinite(step).all()]
        yield f"{name}, step {bad[0] + 1}" if name.startswith("step_") else name
