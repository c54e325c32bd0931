"""Holds a WAV that says how it was made against the same request made again; there need be no record of the run.

It judges the finished sound alone, end to end. What `edge_export.compare.comparison` holds apart, stage by stage, a WAV
does not tell. It does not know who shows the result.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_export.compare.comparison import SAME_ARITHMETIC_DB, at_hand, how_far, is_int8, named, programs_of
from edge_export.errors import EdgeExportError, RecordError, UsageError, VerificationError
from edge_export.progress import Progress, silent
from edge_export.verify import Check, judge_audio
from runtime_py.audio import FULL_SCALE, WavFile, levels, read_wav_file, samples_in, wav_bytes
from runtime_py.bundle import Bundle, sha256_of
from runtime_py.finishing import finished
from runtime_py.generator import Clip, Generator
from runtime_py.loop import Event
from runtime_py.manifest import MANIFEST_FILE, Manifest
from runtime_py.metrics import snr_db
from runtime_py.request import Request, check_request
from runtime_py.tags import Tags, info_chunk, read_tags

AGAINST = ("reference", "bundle")


@dataclass(frozen=True, kw_only=True)
class WavComparison:
    """A WAV and how far it is from its request made again.

    same_bytes: whether the whole file is what the bundle's own programs give here; None against the reference.
    """

    tags: Tags
    bundle: Bundle
    against: str
    check: Check
    same_bytes: bool | None


def compare_wav(
    path: Path,
    bundle: Bundle,
    against: str | None = None,
    *,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> WavComparison:
    """Hold the WAV at `path` against one of AGAINST; by default the reference, if its checkpoint is at hand.

    Raises:
        RecordError: it is no WAV, says nothing of how it was made, is of another bundle, or of another length.
        UsageError: `against` is something else, or the checkpoint is not at hand.
        BundleError, GenerationError, MissingDependency: the programs cannot be used.
    """
    if against not in (None, *AGAINST):
        raise UsageError(f"--wav cannot be held against {against!r:.60}; choose from {', '.join(AGAINST)}")
    tags, wav = _read(path, bundle)
    chosen = against or at_hand(bundle, checkpoint)
    programs, window = programs_of(bundle, chosen, checkpoint)
    clip = _made_again(Generator(bundle, programs, keep_loaded=False, window=window), tags.request, progress)
    made = finished(clip.audio, clip.sample_rate, tags.finishing, cut=clip.cut)
    expected = made if wav.float32 else levels(made) / np.float32(FULL_SCALE)
    needed = sound_threshold(bundle.manifest, chosen)
    if needed is not None:
        needed = min(needed, snr_db(made, expected))  # no more than 16 bits can say
    again = wav_bytes(made, clip.sample_rate, float32=wav.float32, after=info_chunk(tags))
    return WavComparison(
        tags=tags,
        bundle=bundle,
        against=chosen,
        check=judge_audio("run", expected, wav.audio, wav.sample_rate, needed),
        same_bytes=wav.data == again if chosen == "bundle" else None,
    )


def refuse_other_sound(comparison: WavComparison, path: Path) -> None:
    """Raise a VerificationError if the WAV is too far off."""
    if not comparison.check.passed:
        raise VerificationError(
            f"{path} is too far from the {named(comparison.against)}: its sound{how_far(comparison.check)}; run "
            "`edge-export verify` here, or compare a record, made with --record, to see which stage is at fault"
        )


def sound_threshold(manifest: Manifest, against: str) -> float | None:
    """The least SNR in dB of a whole run's sound; None for int8, which takes a path of its own, unless its recipe says.

    In fp32 it is what the decoder, which made the sound, is held to.
    """
    thresholds = manifest.recipe.thresholds
    if any(is_int8(manifest, stage) for stage in manifest.programs):
        return thresholds.get("run")
    return SAME_ARITHMETIC_DB if against == "bundle" else thresholds.get("run", thresholds["decoder"])


def _read(path: Path, bundle: Bundle) -> tuple[Tags, WavFile]:
    """The WAV and its tags, once they fit each other and the bundle."""
    try:
        tags, wav = read_tags(path), read_wav_file(path)
    except UsageError as error:
        raise RecordError(str(error)) from error
    if tags.bundle != sha256_of(bundle.folder / MANIFEST_FILE):
        raise RecordError(f"{path} is of another bundle than {bundle.folder}; name the bundle it was made from")
    spec = bundle.manifest.generation
    try:
        check_request(tags.request, spec)
    except EdgeExportError as error:
        raise RecordError(f"{path} says what this bundle cannot play: {error}") from error
    rate = spec.audio.sample_rate
    expected = (spec.audio.channels, samples_in(tags.request.seconds, rate)), rate
    if (wav.audio.shape, wav.sample_rate) != expected:
        found = f"{wav.audio.shape[0]} x {wav.audio.shape[1]} samples at {wav.sample_rate} Hz"
        raise RecordError(
            f"{path} holds {found}, its request makes {expected[0][0]} x {expected[0][1]} at {rate} Hz: it was "
            "changed after it was made; take the original"
        )
    return tags, wav


def _made_again(generator: Generator, request: Request, progress: Progress) -> Clip:
    todo = generator.pieces(request)

    def report(event: Event, done: int, total: int) -> None:
        del event
        progress(todo[min(done, total - 1)], done, total)

    progress(todo[0], 0, len(todo))
    with generator:
        return generator.generate(request, progress=report)
