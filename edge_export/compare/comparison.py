"""Holds the record of a run on some device against the truth, stage by stage.

What a device can be asked to compute exactly (tokens, noise, sigmas, the sampler's sums, WAV bytes) is computed again;
what a program computes is compared on equal inputs, the record's own. It knows thresholds only from the manifest, and
does not know who shows the result.

| against     | what each stage is held against                                      | least SNR in dB              |
|-------------|----------------------------------------------------------------------|------------------------------|
| `reference` | the fp32 network, given the record's inputs                          | the recipe's                 |
| `golden`    | the golden vectors, by a record that was made with their inputs      | the recipe's                 |
| `bundle`    | the bundle's own programs on this machine, given the record's inputs | 100; in int8 the recipe's    |
| a record    | another run of the same request, trajectory against trajectory       | 100; nothing in int8         |

Two CPUs compute the same int8 sums, but a float that lies on the edge between two levels may fall to either side; from
the first such flip on, everything after differs by as much as int8 differs from float. That is why an int8 stage is
held to its recipe's threshold here too.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_export.errors import RecordError, UsageError, VerificationError
from edge_export.progress import Progress, silent
from edge_export.verify import NOISE_ERROR, Check, exact, judge, judge_audio
from runtime_py.audio import wav_bytes
from runtime_py.bundle import Bundle, read_tokenizer
from runtime_py.engine import OpenProgram, Tensors, bundle_programs, kept_loaded
from runtime_py.errors import MissingDependency
from runtime_py.finishing import finished
from runtime_py.generation_spec import SIGMA_ERROR
from runtime_py.golden import read_golden
from runtime_py.loop import Event, denoise, latent_noise, pieces
from runtime_py.manifest import Manifest
from runtime_py.metrics import max_error, snr_db
from runtime_py.record import Record, Wav, check_record, unsound
from runtime_py.replay import replay, replayed
from runtime_py.sampler import SAMPLERS
from runtime_py.sound import WAV
from runtime_py.tags import Tags, info_chunk

SAME_ARITHMETIC_DB = 100.0
"""Two CPUs that compute in float32 differ by the order of sums alone."""
SAMPLER_ERROR = 1e-5
"""The sampler's sums in float32, whatever the compiler makes of them."""
AGAINST = ("reference", "golden", "bundle")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A record and how far it is from the truth.

    steps: SNR in dB of each dit step on its own input. drift: SNR in dB of what enters each step against the other
    trajectory's, which means another sound, not of a fault; empty where there is no other trajectory.
    expected: what the record's tensors were held against.
    """

    record: Record
    bundle: Bundle
    against: str
    checks: tuple[Check, ...]
    steps: tuple[float, ...]
    drift: tuple[float, ...]
    expected: Tensors = field(repr=False)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def margin(self) -> float:
        """The least distance in dB of a check from its threshold; -inf when an exact one failed."""
        if any(not check.passed and check.threshold_db is None for check in self.checks):
            return -math.inf
        judged = [check for check in self.checks if check.threshold_db is not None]
        return min((check.snr_db - check.threshold_db for check in judged if check.threshold_db), default=math.inf)

    @property
    def first_differing(self) -> int | None:
        """The first step, counted from 1, that is not equal; None when all are."""
        return next((index for index, snr in enumerate(self.steps, start=1) if snr < math.inf), None)

    @property
    def first_failing(self) -> int | None:
        """The first step, counted from 1, below the dit's threshold."""
        needed = threshold(self.bundle.manifest, "dit", self.against)
        return next((index for index, snr in enumerate(self.steps, start=1) if needed and snr < needed), None)


def compare(
    record: Record,
    bundle: Bundle,
    against: str | None = None,
    *,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Hold `record` against `against`: one of AGAINST, or the path of another record; None chooses (see `choose`).

    Raises:
        RecordError: the record is of another bundle, or lacks a tensor.
        UsageError: it cannot be held against that.
        BundleError, GenerationError, MissingDependency: the programs or golden vectors cannot be used.
    """
    check_record(record, bundle)
    chosen = against or choose(record, bundle, checkpoint)
    manifest = bundle.manifest
    exact_checks = () if any(_broken(record)) else tuple(_exact(record, bundle))
    broken = tuple(_broken(record)) or _if_other_tokens(exact_checks)
    if broken:
        return Comparison(
            record=record, bundle=bundle, against=chosen, checks=broken, steps=(), drift=(), expected=record.tensors
        )
    expected, drift = _expected(record, bundle, chosen, checkpoint, progress)
    steps = tuple(
        snr_db(theirs, ours) for theirs, ours in zip(expected["step_velocity"], record.tensors["step_velocity"])
    )
    checks = (*exact_checks, *_judged(record, manifest, chosen, expected, steps))
    return Comparison(
        record=record, bundle=bundle, against=chosen, checks=checks, steps=steps, drift=drift, expected=expected
    )


def _if_other_tokens(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """The checks, if the tokens are not the prompt's: no program is run on ids that may be none."""
    other = any(not check.passed for check in checks if check.tensor in ("input_ids", "prompt_mask"))
    return checks if other else ()


def choose(record: Record, bundle: Bundle, checkpoint: Path | None) -> str:
    """What to hold a record against when nobody says: what needs least, of what proves most."""
    return "golden" if record.run.inputs == "golden" else at_hand(bundle, checkpoint)


def at_hand(bundle: Bundle, checkpoint: Path | None) -> str:
    """`reference` where its checkpoint is known here, else `bundle`; UsageError where `checkpoint` is another."""
    try:
        from edge_export.reference import checkpoint_of

        checkpoint_of(bundle.manifest, checkpoint)
        return "reference"
    except ModuleNotFoundError:
        pass
    except UsageError:
        if checkpoint is not None:
            raise
    return "bundle"


def threshold(manifest: Manifest, stage: str, against: str) -> float | None:
    """The least SNR in dB that `stage` must reach; None where nothing is demanded."""
    if against in ("reference", "golden"):
        return manifest.recipe.thresholds.get(stage)
    quantized = any(is_int8(manifest, each) for each in manifest.programs)
    if against == "bundle":
        return manifest.recipe.thresholds.get(stage) if is_int8(manifest, stage) else SAME_ARITHMETIC_DB
    return None if quantized else SAME_ARITHMETIC_DB


def is_int8(manifest: Manifest, stage: str) -> bool:
    """Whether a rule of the recipe may quantize something in `stage`, or float16 is computed there."""
    from fnmatch import fnmatchcase

    recipe = manifest.recipe
    rules = (rule for rule in recipe.rules if rule.weights != "float32" or rule.activations != "float32")
    return stage in recipe.float16 or any(fnmatchcase(stage, rule.submodule) for rule in rules)


def refuse_failures(comparison: Comparison) -> None:
    """Raise one VerificationError that names every failed check."""
    failed = [check for check in comparison.checks if not check.passed]
    if failed:
        found = "; ".join(f"{check.stage} {check.tensor}{how_far(check)}" for check in failed)
        raise VerificationError(
            f"the record is too far from the {named(comparison.against)}: {found}; run `edge-export verify` here and "
            f"compare a run with --golden to see which stage is at fault"
        )


def named(against: str) -> str:
    """What a comparison was made with, in words."""
    words = {"reference": "fp32 reference", "golden": "golden vectors", "bundle": "bundle's programs on this machine"}
    return words.get(against, f"record {against}")


def heading(against: str) -> str:
    """How the two were held against each other, in words."""
    how = "on equal inputs" if against in AGAINST else "each on its own way from the same noise"
    return f"Against the {named(against)}, {how}"


def how_far(check: Check) -> str:
    """What a failed check fell short of, to stand behind its name."""
    if not math.isfinite(check.max_error):
        return " (NaN or infinity)"
    if check.threshold_db is not None:
        return f" at {check.snr_db:.1f} dB (needs {check.threshold_db:g})"
    return f" (differs by {check.max_error:.1e})"


def _broken(record: Record) -> Iterator[Check]:
    """One failed check for every tensor that holds NaN or infinity: there is nothing more to compare then."""
    for name in unsound(record.tensors):
        tensor = name.split(",")[0]
        stage = {"step_velocity": "dit", "step_latent": "dit", "latent": "dit", "audio": "decoder"}.get(
            tensor, "conditioner"
        )
        yield Check(stage=stage, tensor=name, snr_db=-math.inf, max_error=math.nan, threshold_db=None, passed=False)


def _expected(
    record: Record, bundle: Bundle, against: str, checkpoint: Path | None, progress: Progress
) -> tuple[Tensors, tuple[float, ...]]:
    """What the record's tensors should be, and how the trajectories drift apart."""
    spec, run = bundle.manifest.generation, record.run
    if against == "golden":
        golden = _golden(record, bundle)
        return golden, _drift(record.tensors["step_latent"], golden["step_latent"])
    if against not in AGAINST:
        other = _other(Path(against), record, bundle)
        return other, _drift(record.tensors["step_latent"], other["step_latent"])
    samples, steps = record.tensors["audio"].shape[1], len(record.tensors["step_latent"])
    free = run.inputs == "own"
    open_program, window = programs_of(bundle, against, checkpoint)
    programs = kept_loaded(open_program)
    todo = pieces(spec, run.request, window=window)
    total = len(todo) + (steps if free else 0)
    events: list[Event] = []
    progress(todo[0], 0, total)
    for event in replay(spec, programs, record.tensors, samples=samples, window=window):
        events.append(event)
        progress(todo[min(len(events), len(todo) - 1)], len(events), total)
    expected = replayed(record.tensors, events)
    drift: tuple[float, ...] = ()
    if free:
        latents: list[np.ndarray] = []
        for step in denoise(spec, programs, run.request, events[0].tensors):
            progress(f"from the same noise, step {step.index} of {steps}", len(todo) + len(latents), total)
            latents.append(step.tensors["latent"][0])
        drift = _drift(record.tensors["step_latent"], np.stack(latents))
    progress("done", total, total)
    return expected, drift


def _drift(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, ...]:
    return tuple(snr_db(reference, actual) for reference, actual in zip(theirs, ours))


def programs_of(bundle: Bundle, against: str, checkpoint: Path | None) -> tuple[OpenProgram, int | None]:
    """The programs to compare with, and the window their decoder is to take."""
    if against == "bundle":
        return bundle_programs(bundle), None
    try:
        from edge_export.reference import open_reference
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"the reference needs {error.name}: pip install 'edge-export[export]', or say --against bundle"
        ) from error
    return open_reference(bundle.manifest, checkpoint), bundle.manifest.generation.latent.length


def _golden(record: Record, bundle: Bundle) -> Tensors:
    """The golden vectors, cut to what the record holds; UsageError when they are of another request."""
    golden, request = bundle.manifest.golden.request, record.run.request
    same = replace(request, seconds=golden.seconds) == golden
    if not same or abs(request.seconds - golden.seconds) > 1e-6:
        raise UsageError(
            "the record is of another request than the golden vectors; run it with --golden, or say --against reference"
        )
    if record.run.inputs == "own" and any(is_int8(bundle.manifest, stage) for stage in bundle.manifest.programs):
        raise UsageError(
            "an int8 run takes a path of its own from its first step on; run it with --golden, or compare it with "
            "--against reference"
        )
    tensors = read_golden(bundle)
    tensors["audio"] = tensors["audio"][:, : record.tensors["audio"].shape[1]]
    return tensors


def _other(path: Path, record: Record, bundle: Bundle) -> Tensors:
    """The tensors of another record of the same request."""
    from runtime_py.record import read_record

    other = read_record(path)
    check_record(other, bundle)
    if (other.run.request, other.run.inputs) != (record.run.request, record.run.inputs):
        raise RecordError(f"{path} is of another request; compare runs of one prompt, seed, seconds and steps")
    return other.tensors


def _exact(record: Record, bundle: Bundle) -> Iterator[Check]:
    """What every runtime must compute alike."""
    yield from _same_inputs(record, bundle) if record.run.inputs == "golden" else _same_sums(record, bundle)
    if record.wav is not None and record.wav.format == WAV:
        passed = hashlib.sha256(_wav_again(record, bundle, record.wav)).hexdigest() == record.wav.sha256
        error = 0.0 if passed else 1.0
        yield Check(stage="wav", tensor="bytes", snr_db=math.inf if passed else -math.inf, max_error=error,
                    threshold_db=None, passed=passed)  # fmt: skip


def _wav_again(record: Record, bundle: Bundle, wav: Wav) -> bytes:
    """The file that the record's audio gives; what soundfile makes of it differs from version to version."""
    audio, run = record.tensors["audio"], record.run
    cut = audio.shape[1] < bundle.manifest.generation.latent.samples
    made = finished(audio, wav.sample_rate, wav.finishing, cut=cut)
    tags = Tags(bundle=run.bundle.manifest_sha256, request=run.request, finishing=wav.finishing)
    return wav_bytes(made, wav.sample_rate, float32=wav.float32, after=info_chunk(tags) if wav.tags else b"")


def _same_inputs(record: Record, bundle: Bundle) -> Iterator[Check]:
    """A record with golden inputs holds them as they are in the bundle."""
    golden = read_golden(bundle)
    for name in ("input_ids", "prompt_mask", "seconds", "noise", "sigmas", "step_latent", "latent"):
        theirs, ours = golden[name], record.tensors[name]
        yield exact("inputs", name, theirs, ours, passed=np.array_equal(theirs, ours))


def _same_sums(record: Record, bundle: Bundle) -> Iterator[Check]:
    spec, tensors, request = bundle.manifest.generation, record.tensors, record.run.request
    prompt = read_tokenizer(bundle).encode_prompt(request.prompt, spec.conditioning.tokens)
    for name, array in (("input_ids", prompt.ids[None]), ("prompt_mask", prompt.mask[None])):
        yield exact("tokenizer", name, array, tensors[name], passed=np.array_equal(array, tensors[name]))
    seconds = np.array([request.seconds], np.float32)
    yield exact("request", "seconds", seconds, tensors["seconds"], passed=np.array_equal(seconds, tensors["seconds"]))
    sigmas = spec.sampler.schedule(request.steps)
    yield _within("sampler", "sigmas", sigmas, tensors["sigmas"], SIGMA_ERROR)
    draws = latent_noise(spec, request.seed)
    noise = np.concatenate([next(draws) for _ in tensors["noise"]])
    yield _within("noise", "noise", noise, tensors["noise"], NOISE_ERROR)
    made, draws = iter(tensors["step_velocity"]), iter(tensors["noise"])
    sampler = SAMPLERS[spec.sampler.kind]
    steps = list(sampler.steps(lambda latent, sigma: next(made), next(draws), draws, tensors["sigmas"]))
    yield _within(
        "sampler", "step_latent", np.stack([step.latent for step in steps]), tensors["step_latent"], SAMPLER_ERROR
    )
    yield _within("sampler", "latent", steps[-1].clean[None], tensors["latent"], SAMPLER_ERROR)


def _within(stage: str, tensor: str, reference: np.ndarray, actual: np.ndarray, bound: float) -> Check:
    scale = max(1.0, float(np.abs(reference).max(initial=0.0)))
    return exact(stage, tensor, reference, actual, passed=max_error(reference, actual) <= bound * scale)


def _judged(
    record: Record, manifest: Manifest, against: str, expected: Tensors, steps: tuple[float, ...]
) -> Iterator[Check]:
    """What the programs computed."""
    tensors = record.tensors
    for tensor in manifest.generation.programs["conditioner"].outputs:
        needed = threshold(manifest, "conditioner", against)
        yield judge("conditioner", tensor.name, expected[tensor.name], tensors[tensor.name], needed)
    worst = min(range(len(steps)), key=lambda index: steps[index])
    name = f"velocity, step {worst + 1} of {len(steps)}"
    pair = expected["step_velocity"][worst], tensors["step_velocity"][worst]
    yield judge("dit", name, *pair, threshold(manifest, "dit", against))
    needed = threshold(manifest, "decoder", against)
    sample_rate = manifest.generation.audio.sample_rate
    yield judge_audio("decoder", expected["audio"], tensors["audio"], sample_rate, needed)
