"""How well a checkpoint plays what it is asked: held-out prompts, an independent judge, and signal processing.

It finds the figures, and knows neither how a model was trained nor how figures are shown.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import CheckpointError, UsageError
from edge_export.progress import Progress, silent
from post_training import measures
from post_training.classifier import (
    PACKAGED,
    Attributes,
    Clip,
    Draw,
    Judge,
    in_workers,
    levels_of,
    load_judge,
    report_tenths,
)
from post_training.measures import Gaussian, Spectrum
from post_training.play import AutoencoderPlayer, BundlePlayer, NetworkPlayer, Player, check_rate
from runtime_py.metrics import log_mel_distance
from runtime_py.request import Request

BUILT_IN = "built-in"
CLIP_SECONDS = 7.43
EVALUATION_SEEDS = 1_800_000_000
"""Where the held-out prompts begin: no training drew any of these clips."""
REFERENCES = 500
MOST_PROMPTS = 10_000
MOST_SEEDS = 64
JUDGED_STEPS = 8
SHARES = ("tempo", "key", "note", "adjectives")


class Sounds(Protocol):
    """The module `post_training.sounds`."""

    @property
    def RATE(self) -> int: ...
    @property
    def KINDS(self) -> Mapping[str, Any]: ...
    @property
    def draw(self) -> Draw: ...


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate. Paths of None are the built-in checkpoint, no bundle, no base.

    prompts: held-out prompts to play. seeds: sounds of each of the first `diverse` prompts, to compare among
    themselves. steps: of the checkpoint; none are needed where there is a base. references: real clips that the Frechet
    distance is taken to. audible: prompts whose audio is kept. autoencoder: whether the prompts' real clips are put
    through encoder and decoder too.
    """

    checkpoint: Path | None = None
    bundle: Path | None = None
    base: Path | None = None
    prompts: int = 100
    steps: tuple[int, ...] = (JUDGED_STEPS,)
    base_steps: tuple[int, ...] = (8, 25, 50, 100)
    guidance: tuple[float, ...] = (1.0, 4.0)
    seeds: int = 4
    diverse: int = 25
    references: int = REFERENCES
    judge: Path = PACKAGED
    audible: int = 0
    workers: int = 2
    autoencoder: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """A prompt, and what is true of a sound that follows it."""

    prompt: str
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class CaptionCheck:
    """One thing the caption states: `share` it counts in ("tempo", "key", "note", "adjectives"), and if it holds."""

    share: str
    word: str
    held: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is kept of a sound: levels for the judge, and the checks of its caption."""

    levels: np.ndarray
    checks: tuple[CaptionCheck, ...]
    audio: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How sounds are sampled: in steps of ping-pong or, where `guidance` is given, of Euler (guidance 1 is none)."""

    steps: int
    guidance: float | None = None

    def __str__(self) -> str:
        guided = "" if self.guidance is None else f", guidance {self.guidance:g}"
        return f"{self.steps} step{'s' * (self.steps > 1)}{guided}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one way to make the sounds.

    adherence: share of prompts whose kind the judge hears. frechet: distance to real clips. diversity: None where
    each prompt was played once. shares: by name, of those checks the share that holds, None where nothing is stated.
    by_kind: adherence of each kind. seconds: to make one sound, None for real ones. sounds: those kept, by prompt.
    log_mel_db, si_sdr_db: means over clips that were encoded and decoded, None for all others.
    """

    name: str
    sampling: SamplingSettings | None
    adherence: float
    frechet: float
    diversity: float | None
    shares: dict[str, float | None]
    words: dict[str, float]
    by_kind: dict[str, float]
    judged_as: tuple[str, ...]
    seconds: float | None = None
    log_mel_db: float | None = None
    si_sdr_db: float | None = None
    sounds: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        return self.name if self.sampling is None else f"{self.name}, {self.sampling}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All rows, real clips first; `judged` is the row that the checkpoint is judged by: 8 steps, or the most played."""

    checkpoint: str
    sha256: str
    seconds: float
    rate: int
    cases: tuple[Case, ...]
    classifier_accuracy: float
    references: int
    real: Row
    rows: tuple[Row, ...]
    judged: Row
    bundle: Row | None
    autoencoder: Row | None

    @property
    def shown(self) -> tuple[Row, ...]:
        """All rows, as a table has them."""
        return (self.real, *([self.autoencoder] if self.autoencoder else []), *self.rows)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the plan: who plays, and how."""

    name: str
    player: Player
    sampling: SamplingSettings


def the_sounds() -> Sounds:
    """The project's own source of sounds."""
    from post_training import sounds

    return sounds


def evaluate(request: EvaluationRequest, sounds: Sounds, progress: Progress = silent) -> Evaluation:
    """Draw prompts, play them in every way that is asked for, and judge.

    Raises:
        UsageError: a number out of range, or a bundle of another checkpoint.
        CheckpointError: no such checkpoint or judge, or not one for these sounds.
        GenerationError: a network made NaN.
    """
    check_request(request)
    judge = _judge_of(request.judge, sounds)
    checkpoint = open_checkpoint(request.checkpoint or BUILTIN_CHECKPOINT)
    sha256 = checkpoint.sha256
    plan = list(_plan(request, checkpoint))
    for entry in plan:
        check_rate(entry.player, sounds.RATE, entry.name)
    seconds = min(CLIP_SECONDS, *(entry.player.longest for entry in plan))
    cases, own, others = _real_clips(request, sounds, judge, seconds, progress)
    opinion = judge.listen([clip.levels for _, clip in others])
    reference = measures.gaussian(opinion.embeddings)
    rows = [_row(entry, request, cases, judge, reference, seconds, progress) for entry in plan]
    decoded = None
    if request.autoencoder:
        decoded = _through_autoencoder(checkpoint, request, sounds, cases, judge, reference, seconds, progress)
    real = _figures("real clips", None, cases, own, judge, reference)
    right = [kind == case.attributes.kind for kind, (case, _) in zip(opinion.kinds, others)]
    accuracy = (real.adherence * len(cases) + sum(right)) / (len(cases) + len(others))
    judged = _judged([row for row in rows if row.name == "ARC"] or rows)
    return Evaluation(
        checkpoint=BUILT_IN if request.checkpoint is None else request.checkpoint.resolve().name,
        sha256=sha256,
        seconds=seconds,
        rate=sounds.RATE,
        cases=tuple(cases),
        classifier_accuracy=accuracy,
        references=len(others),
        real=real,
        rows=tuple(rows),
        judged=judged,
        bundle=next((row for row in rows if row.name == "bundle"), None),
        autoencoder=decoded,
    )


def check_request(request: EvaluationRequest) -> None:
    """UsageError for a number out of range."""
    for name, least, most in (
        ("prompts", 2, MOST_PROMPTS),
        ("references", 2, MOST_PROMPTS),
        ("seeds", 1, MOST_SEEDS),
        ("diverse", 0, MOST_PROMPTS),
        ("workers", 0, 256),
    ):
        value = getattr(request, name)
        if not least <= value <= most:
            raise UsageError(f"{name} is {value}, expected {least} to {most}")
    for name in ("steps", "base_steps"):
        values = getattr(request, name)
        needless = name == "steps" and request.base is not None
        if not (values or needless) or not all(1 <= value <= 1000 for value in values):
            raise UsageError(f"{name.replace('_', '-')} is {_listed(values)}, expected numbers from 1 to 1000")
    if not request.guidance or not all(math.isfinite(value) and 0 <= value <= 100 for value in request.guidance):
        raise UsageError(f"guidance is {_listed(request.guidance)}, expected numbers from 0 to 100")


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values) or "empty"


def _judge_of(path: Path, sounds: Sounds) -> Judge:
    judge = load_judge(path)
    if set(judge.kinds) != set(sounds.KINDS):
        odd = sorted(set(judge.kinds) ^ set(sounds.KINDS))
        raise CheckpointError(
            f"{path} was trained on other kinds of sound than there are ({', '.join(odd[:6])}); train it again"
        )
    return judge


def _plan(request: EvaluationRequest, checkpoint: Checkpoint) -> Iterator[Entry]:
    player = NetworkPlayer(checkpoint)
    for steps in request.steps:
        yield Entry(name="ARC", player=player, sampling=SamplingSettings(steps=steps))
    if request.bundle is not None:
        sampling = SamplingSettings(steps=_judged_steps(request))
        yield Entry(name="bundle", player=_bundle(request.bundle, checkpoint), sampling=sampling)
    if request.base is not None:
        base = NetworkPlayer(open_checkpoint(request.base))
        for guidance in request.guidance:
            for steps in request.base_steps:
                yield Entry(name="base", player=base, sampling=SamplingSettings(steps=steps, guidance=guidance))


def _judged_steps(request: EvaluationRequest) -> int:
    return JUDGED_STEPS if JUDGED_STEPS in request.steps else max(request.steps)


def _judged(rows: Sequence[Row]) -> Row:
    """The row of 8 steps, or of the most."""

    def rank(row: Row) -> tuple[bool, int]:
        steps = row.sampling.steps if row.sampling else 0
        return steps == JUDGED_STEPS, steps

    return max(rows, key=rank)


def _bundle(folder: Path, checkpoint: Checkpoint) -> Player:
    from runtime_py.bundle import open_bundle

    bundle = open_bundle(folder)
    if bundle.manifest.model.checkpoint_sha256 != checkpoint.sha256:
        raise UsageError(f"{folder} was not built from this checkpoint (its hash differs); name its own --checkpoint")
    return BundlePlayer(bundle)


def _real_clips(
    request: EvaluationRequest, sounds: Sounds, judge: Judge, seconds: float, progress: Progress
) -> tuple[list[Case], list[Measured], list[tuple[Case, Measured]]]:
    """The prompts, their own clips, and as many others as the Frechet distance is taken to."""
    task = partial(
        _draw_and_measure,
        draw=sounds.draw,
        rate=sounds.RATE,
        seconds=seconds,
        medians=judge.medians,
        keep_below=EVALUATION_SEEDS + request.audible,
    )
    total = request.prompts + request.references
    seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + total)
    report_tenths(progress, "drawing held-out clips", 0, total)
    made: list[tuple[Case, Measured]] = []
    for pair in in_workers(task, seeds, request.workers):
        made.append(pair)
        report_tenths(progress, "drawing held-out clips", len(made), total)
    own, others = made[: request.prompts], made[request.prompts :]
    return [case for case, _ in own], [clip for _, clip in own], others


def _draw_and_measure(
    seed: int,
    *,
    draw: Draw,
    rate: int,
    seconds: float,
    medians: Mapping[str, Mapping[str, float]],
    keep_below: int,
) -> tuple[Case, Measured]:
    clip: Clip = draw(seed, seconds=seconds, held_out=True)
    case = Case(prompt=clip.caption, attributes=clip.attributes)
    return case, measure(clip.audio, rate, case, medians, keep=seed < keep_below)


def measure(
    audio: np.ndarray, rate: int, case: Case, medians: Mapping[str, Mapping[str, float]], *, keep: bool = False
) -> Measured:
    """Measure audio [channels, samples] and check what its caption states; `keep` the audio too, for a page."""
    spectrum = measures.spectrum_of(audio, rate)
    checks = tuple(_checks(audio, rate, spectrum, case.attributes, medians))
    return Measured(levels=levels_of(spectrum), checks=checks, audio=audio if keep else None)


def _checks(
    audio: np.ndarray,
    rate: int,
    spectrum: Spectrum,
    stated: Attributes,
    medians: Mapping[str, Mapping[str, float]],
) -> Iterator[CaptionCheck]:
    if stated.bpm is not None:
        found = measures.tempo(measures.onset_envelope(spectrum), spectrum.frame_seconds)
        held = measures.tempo_matches(found, stated.bpm)
        yield CaptionCheck(share="tempo", word=f"{stated.bpm:g}", held=held)
    if stated.key is not None or stated.note is not None:
        classes = measures.chroma(audio, rate)
        if stated.key is not None:
            yield CaptionCheck(share="key", word=stated.key, held=measures.key_matches(classes, stated.key))
        if stated.note is not None:
            yield CaptionCheck(share="note", word=stated.note, held=measures.note_matches(classes, stated.note))
    traits = {word: measures.TRAITS[word] for word in stated.adjectives if word in measures.TRAITS}
    if traits:
        features = measures.features(audio, spectrum)
        for word, trait in traits.items():
            held = measures.adjective_holds(trait, features, medians[stated.kind])
            yield CaptionCheck(share="adjectives", word=word, held=held)


def _row(
    entry: Entry,
    request: EvaluationRequest,
    cases: Sequence[Case],
    judge: Judge,
    reference: Gaussian,
    seconds: float,
    progress: Progress,
) -> Row:
    """Play every prompt once, and the first ones again with other seeds."""
    repeats = request.seeds - 1
    again = range(min(request.diverse, len(cases)) if repeats else 0)
    numbers = [*range(len(cases)), *(number for number in again for _ in range(repeats))]
    # A prompt's seeds are the same for every entry, so that equal noise is compared.
    seeds = [*(number * MOST_SEEDS for number in range(len(cases)))]
    seeds += [number * MOST_SEEDS + take for number in again for take in range(1, request.seeds)]
    guidance, steps = entry.sampling.guidance, entry.sampling.steps
    what = f"playing {entry.name}, steps {steps}" + ("" if guidance is None else f", guidance {guidance:g}")
    made: list[Measured] = []
    spent = 0.0
    report_tenths(progress, what, 0, len(numbers))
    for start in range(0, len(numbers), entry.player.batch):
        chosen = slice(start, start + entry.player.batch)
        requests = [
            Request(prompt=cases[number].prompt, seconds=seconds, seed=seed, steps=steps)
            for number, seed in zip(numbers[chosen], seeds[chosen])
        ]
        began = time.perf_counter()
        sounds = entry.player.play(requests, guidance)
        spent += time.perf_counter() - began
        for audio, number in zip(sounds, numbers[chosen]):
            keep = len(made) < min(request.audible, len(cases))
            made.append(measure(audio, entry.player.rate, cases[number], judge.medians, keep=keep))
        report_tenths(progress, what, len(made), len(numbers))
    extra = {number: [number, *_places(numbers, number, len(cases))] for number in again}
    each = spent / len(numbers)
    return _figures(entry.name, entry.sampling, cases, made, judge, reference, groups=extra, seconds=each)


def _through_autoencoder(
    checkpoint: Checkpoint,
    request: EvaluationRequest,
    sounds: Sounds,
    cases: Sequence[Case],
    judge: Judge,
    reference: Gaussian,
    seconds: float,
    progress: Progress,
) -> Row:
    """The prompts' own clips, encoded and decoded: what the best of generators could reach."""
    player, what = AutoencoderPlayer(checkpoint), "encoding and decoding"
    made: list[Measured] = []
    distances: list[tuple[float, float]] = []
    for number, case in enumerate(cases):
        report_tenths(progress, what, number, len(cases))
        real = sounds.draw(EVALUATION_SEEDS + number, seconds=seconds, held_out=True).audio
        audio = player.play(real)
        distances.append((log_mel_distance(real, audio, sounds.RATE), measures.si_sdr_db(real, audio)))
        made.append(measure(audio, sounds.RATE, case, judge.medians, keep=number < request.audible))
    report_tenths(progress, what, len(cases), len(cases))
    log_mel_db, si_sdr_db = (float(np.mean(values)) for values in zip(*distances))
    row = _figures("autoencoder", None, cases, made, judge, reference)
    return replace(row, log_mel_db=log_mel_db, si_sdr_db=si_sdr_db)


def _places(numbers: Sequence[int], number: int, start: int) -> list[int]:
    return [place for place in range(start, len(numbers)) if numbers[place] == number]


def _figures(
    name: str,
    sampling: SamplingSettings | None,
    cases: Sequence[Case],
    made: Sequence[Measured],
    judge: Judge,
    reference: Gaussian,
    *,
    groups: Mapping[int, Sequence[int]] | None = None,
    seconds: float | None = None,
) -> Row:
    """A row of `made`: the first of them are the cases', in order; `groups` are the places of one prompt's sounds."""
    opinion = judge.listen([clip.levels for clip in made])
    count = len(cases)
    right = [kind == case.attributes.kind for kind, case in zip(opinion.kinds, cases)]
    spread = [measures.diversity(opinion.embeddings[list(places)]) for places in (groups or {}).values()]
    checks = [check for clip in made[:count] for check in clip.checks]
    by_kind: dict[str, list[bool]] = {}
    for case, held in zip(cases, right):
        by_kind.setdefault(case.attributes.kind, []).append(held)
    by_word: dict[str, list[bool]] = {}
    for check in checks:
        if check.share == "adjectives":
            by_word.setdefault(check.word, []).append(check.held)
    return Row(
        name=name,
        sampling=sampling,
        adherence=_mean(right),
        frechet=measures.frechet(measures.gaussian(opinion.embeddings[:count]), reference),
        diversity=float(np.mean(spread)) if spread else None,
        shares={share: _share([check.held for check in checks if check.share == share]) for share in SHARES},
        words={word: _mean(held) for word, held in sorted(by_word.items())},
        by_kind={kind: _mean(held) for kind, held in sorted(by_kind.items())},
        judged_as=opinion.kinds[:count],
        seconds=seconds,
        sounds=tuple(clip.audio for clip in made[:count] if clip.audio is not None),
    )


def _mean(held: Sequence[bool]) -> float:
    return sum(held) / len(held)


def _share(held: Sequence[bool]) -> float | None:
    return _mean(held) if held else None


def evaluation_record(evaluation: Evaluation) -> dict[str, Any]:
    """For machines: the judged row's figures, then every row."""
    judged = evaluation.judged
    record: dict[str, Any] = {
        "checkpoint": evaluation.checkpoint,
        "checkpoint_sha256": evaluation.sha256,
        "prompts": len(evaluation.cases),
        "references": evaluation.references,
        "seconds": evaluation.seconds,
        "steps": judged.sampling.steps if judged.sampling else None,
        "adherence": judged.adherence,
        "frechet": judged.frechet,
        "diversity": judged.diversity,
        "classifier_accuracy": evaluation.classifier_accuracy,
        **judged.shares,
        "by_kind": judged.by_kind,
        "rows": [row_record(row) for row in evaluation.shown],
    }
    if evaluation.autoencoder is not None:
        record["autoencoder"] = row_record(evaluation.autoencoder) | {
            "log_mel_db": evaluation.autoencoder.log_mel_db,
            "si_sdr_db": evaluation.autoencoder.si_sdr_db,
        }
    if evaluation.bundle is not None:
        record["bundle"] = row_record(evaluation.bundle) | difference(evaluation.bundle, judged)
    return record


def row_record(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "steps": row.sampling.steps if row.sampling else None,
        "guidance": row.sampling.guidance if row.sampling else None,
        "adherence": row.adherence,
        "frechet": row.frechet,
        "diversity": row.diversity,
        **row.shares,
        "words": row.words,
        "seconds_per_clip": row.seconds,
    }


def difference(bundle: Row, fp32: Row) -> dict[str, float | None]:
    """What quantization costs: adherence lost, and by how much the Frechet distance grows (0.05 is 5 %)."""
    return {
        "adherence_lost": fp32.adherence - bundle.adherence,
        "frechet_growth": bundle.frechet / fp32.frechet - 1 if fp32.frechet > 0 else None,
    }
