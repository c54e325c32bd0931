"""A sound put into a file, finished and tagged: as WAV, or as what the ending of its name says.

WAV is written here, the others by the package soundfile, which is imported where it is needed. All but float WAVs hold
the same 16-bit samples. It does not know how sound is made.
"""

import importlib.util
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py.audio import WavReport, check_audio, levels, report_of, wav_bytes
from runtime_py.errors import MissingDependency, UsageError
from runtime_py.files import STDOUT, is_stream, replace_file
from runtime_py.finishing import Finishing, finished
from runtime_py.tags import SOFTWARE, Tags, comment_of, info_chunk, title_of

WAV = "wav"
SUBTYPES = {"flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
FORMATS = (WAV, *SUBTYPES)
BLOCK = 1 << 16  # samples: libsndfile keeps what Vorbis is given at once on the stack


def format_of(path: str | os.PathLike[str], *, float32: bool = False, formats: tuple[str, ...] = FORMATS) -> str:
    """The one of `formats` that the name ends in; of a pipe or a device WAV, whatever its name.

    Raises:
        UsageError: it ends in none of them, or `float32` is asked of one that holds no floats.
        MissingDependency: soundfile is needed and not installed.
    """
    path = Path(path)
    if path == STDOUT or is_stream(path):
        return WAV
    endings = [each.suffix[1:].lower() for each in (path, Path(os.path.realpath(path)))]  # a link's own, or its file's
    found = next((ending for ending in endings if ending in formats), None)
    if found is None:
        raise UsageError(f"{path} names no kind of sound file: end it in {_listed(formats)}")
    if found != WAV and float32:
        raise UsageError(f"{path} cannot hold 32-bit floats (--float): end it in .wav, or leave them out")
    if found != WAV and importlib.util.find_spec("soundfile") is None:
        raise MissingDependency(f"writing {path} needs soundfile: pip install 'edge-export[audio]', or end it in .wav")
    return found


def _listed(formats: tuple[str, ...]) -> str:
    *most, last = (f".{each}" for each in formats)
    return f"{', '.join(most)} or {last}" if most else last


def save_sound(
    path: str | os.PathLike[str],
    audio: np.ndarray,
    sample_rate: int,
    *,
    cut: bool,
    finishing: Finishing,
    tags: Tags | None = None,
    float32: bool = False,
) -> WavReport:
    """Write float [channels, samples] at `sample_rate` Hz, finished; an existing file is replaced at once and whole.

    cut: the sound ends before the model's whole clip does.

    Raises:
        UsageError: the audio is not [channels, samples] of floats; and as `format_of` does.
        GenerationError: the audio holds NaN or infinity.
        MissingDependency: as `format_of` does.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    form = format_of(path, float32=float32)
    check_audio(audio, sample_rate)
    made = finished(audio, sample_rate, finishing, cut=cut)
    if form == WAV:
        data = wav_bytes(made, sample_rate, float32=float32, after=b"" if tags is None else info_chunk(tags))
    else:
        data = _encoded(path, form, made, sample_rate, tags)
    replace_file(path, data)
    report = report_of(path, data, made, float32=float32)
    return replace(report, finishing=finishing, tags=tags is not None, format=form)


def _encoded(path: Path, form: str, audio: np.ndarray, sample_rate: int, tags: Tags | None) -> bytes:
    import soundfile

    held, samples = io.BytesIO(), np.ascontiguousarray(levels(audio).T)
    settings: dict[str, Any] = {"format": form.upper(), "subtype": SUBTYPES[form], "channels": audio.shape[0]}
    try:
        with soundfile.SoundFile(held, "w", samplerate=sample_rate, **settings) as file:
            if tags is not None:
                file.title, file.software, file.comment = title_of(tags), SOFTWARE, comment_of(tags)
            for start in range(0, len(samples), BLOCK):
                file.write(samples[start : start + BLOCK])
    except soundfile.LibsndfileError as error:
        what = f"{audio.shape[0]} channels at {sample_rate} Hz"
        raise UsageError(f"{form} cannot hold {what} ({error.error_string}): end {path} in .wav") from error
    return held.getvalue()
