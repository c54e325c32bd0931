"""Audio as samples and as WAV bytes. It knows nothing of how sound is made.

16-bit samples are round(x * 32767), half to even, clipped to -32768..32767; no dither, so that equal audio
gives equal bytes.
"""

import errno
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime_py.errors import GenerationError, OutputError

PCM, IEEE_FLOAT = 1, 3
FULL_SCALE = 32767


@dataclass(frozen=True, kw_only=True)
class WavReport:
    """What was written: `peak` before clipping (1 is full scale), `clipped` samples beyond it."""

    path: Path
    channels: int
    samples: int
    peak: float
    clipped: int


def trim(audio: np.ndarray, seconds: float, sample_rate: int) -> np.ndarray:
    """The first round(seconds * sample_rate) samples of [channels, samples]."""
    return audio[:, : round(seconds * sample_rate)]


def wav_bytes(audio: np.ndarray, sample_rate: int, *, float32: bool = False) -> bytes:
    """A WAV file of float [channels, samples] at `sample_rate` Hz: 16-bit PCM, or 32-bit IEEE float.

    Raises:
        GenerationError: the audio holds NaN or infinity.
    """
    if not np.isfinite(audio).all():
        raise GenerationError("the audio holds NaN or infinity; nothing was written: run `edge-export verify`")
    channels, samples = audio.shape
    interleaved = audio.T
    if float32:
        body, kind, width = interleaved.astype("<f4").tobytes(), IEEE_FLOAT, 4
        fact = b"fact" + struct.pack("<II", 4, samples)  # required of formats other than PCM
    else:
        levels = np.rint(interleaved.astype(np.float64) * FULL_SCALE)
        body, kind, width = np.clip(levels, -FULL_SCALE - 1, FULL_SCALE).astype("<i2").tobytes(), PCM, 2
        fact = b""
    block = channels * width
    form = struct.pack("<HHIIHH", kind, channels, sample_rate, sample_rate * block, block, 8 * width)
    if float32:
        form += struct.pack("<H", 0)  # size of the extension: none
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + fact + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def write_wav(path: Path, audio: np.ndarray, sample_rate: int, *, float32: bool = False) -> WavReport:
    """Write a WAV; an existing file is replaced at once and whole, or not at all.

    Raises:
        GenerationError: the audio holds NaN or infinity.
        OutputError: the file cannot be written.
    """
    data = wav_bytes(audio, sample_rate, float32=float32)
    replace_file(path, data)
    magnitude = np.abs(audio)
    return WavReport(
        path=path,
        channels=audio.shape[0],
        samples=audio.shape[1],
        peak=float(magnitude.max(initial=0.0)),
        clipped=0 if float32 else int((magnitude > 1).sum()),
    )


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one move; OutputError, and nothing left, when that fails."""
    temporary = None
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "write elsewhere"
        raise OutputError(f"cannot write {path}: {error.strerror}; {advice}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
