"""Audio as samples and as WAV bytes, and back. It knows nothing of how sound is made.

16-bit samples are round(x * 32767), half to even, clipped to -32768..32767; no dither, so that equal audio
gives equal bytes.
"""

import hashlib
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime_py.errors import GenerationError, UsageError
from runtime_py.files import replace_file
from runtime_py.finishing import UNTOUCHED, Finishing

PCM, IEEE_FLOAT = 1, 3
FULL_SCALE = 32767
MOST_CHANNELS = 64
MOST_HZ = 768_000


@dataclass(frozen=True, kw_only=True)
class WavReport:
    """What was written: samples of each channel, the largest magnitude (1 is full scale), and what was cut off.

    `sha256` and `bytes` are the file's, which cannot be read again where it went into a pipe. `clipped` counts, over
    all channels, the samples beyond full scale: none in a float file, which keeps them. format: "wav", "flac", "ogg"
    or "mp3". finishing: what was done to the samples before. tags: the file tells how to make it again.
    """

    path: Path
    sha256: str
    bytes: int
    channels: int
    samples: int
    peak: float
    clipped: int
    float32: bool
    finishing: Finishing = UNTOUCHED
    tags: bool = False
    format: str = "wav"


def samples_in(seconds: float, sample_rate: int) -> int:
    """The samples of a clip of so many seconds: rounded, half to even."""
    return round(seconds * sample_rate)


def check_audio(audio: np.ndarray, sample_rate: int) -> None:
    """Refuse what is no sound.

    Raises:
        UsageError: the audio has another shape than [channels, samples], its samples stand where its channels belong,
            it is no floats, or the sample rate makes no sense.
        GenerationError: the audio holds NaN or infinity.
    """
    if audio.ndim != 2 or not 1 <= audio.shape[0] <= MOST_CHANNELS:
        turned = "; turn it round with audio.T" if audio.ndim == 2 and 1 <= audio.shape[1] <= MOST_CHANNELS else ""
        raise UsageError(f"the audio is {list(audio.shape)}, expected [channels, samples]{turned}")
    if audio.dtype.kind != "f":
        raise UsageError(f"the audio is {audio.dtype}, expected floats with full scale -1..1")
    if type(sample_rate) is not int or not 1 <= sample_rate <= MOST_HZ:
        raise UsageError(f"the sample rate is {sample_rate!r}, expected 1 to {MOST_HZ} Hz")
    if not np.isfinite(audio).all():
        raise GenerationError("the audio holds NaN or infinity; nothing was written: run `edge-export verify`")


def levels(audio: np.ndarray) -> np.ndarray:
    """16-bit samples, int16, of floats of any shape."""
    return np.clip(np.rint(audio.astype(np.float64) * FULL_SCALE), -FULL_SCALE - 1, FULL_SCALE).astype("<i2")


def wav_bytes(audio: np.ndarray, sample_rate: int, *, float32: bool = False, after: bytes = b"") -> bytes:
    """A WAV file of float [channels, samples] at `sample_rate` Hz: 16-bit PCM, or 32-bit IEEE float.

    after: RIFF chunks to follow the samples.

    Raises:
        UsageError, GenerationError: as `check_audio` does.
    """
    check_audio(audio, sample_rate)
    channels, samples = audio.shape
    interleaved = audio.T
    if float32:
        body, kind, width = interleaved.astype("<f4").tobytes(), IEEE_FLOAT, 4
        fact = b"fact" + struct.pack("<II", 4, samples)  # required of formats other than PCM
    else:
        body, kind, width = levels(interleaved).tobytes(), PCM, 2
        fact = b""
    block = channels * width
    form = struct.pack("<HHIIHH", kind, channels, sample_rate, sample_rate * block, block, 8 * width)
    if float32:
        form += struct.pack("<H", 0)  # size of the extension: none
    chunks = (
        b"fmt " + struct.pack("<I", len(form)) + form + fact + b"data" + struct.pack("<I", len(body)) + body + after
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def write_wav(path: str | os.PathLike[str], audio: np.ndarray, sample_rate: int, *, float32: bool = False) -> WavReport:
    """Write a WAV; an existing file is replaced at once and whole, or not at all.

    Raises:
        UsageError: the audio is not [channels, samples].
        GenerationError: the audio holds NaN or infinity.
        OutputError: the file cannot be written.
    """
    data = wav_bytes(audio, sample_rate, float32=float32)
    replace_file(Path(path), data)
    return report_of(Path(path), data, audio, float32=float32)


def report_of(path: Path, data: bytes, audio: np.ndarray, *, float32: bool) -> WavReport:
    """What to say of `audio` written as `data`."""
    magnitude = np.abs(audio)
    return WavReport(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        channels=audio.shape[0],
        samples=audio.shape[1],
        peak=float(magnitude.max(initial=0.0)),
        clipped=0 if float32 else int((magnitude > 1).sum()),
        float32=float32,
    )


@dataclass(frozen=True, kw_only=True)
class WavFile:
    """A WAV's bytes, and what they hold: float32 [channels, samples], and whether they are floats there too."""

    data: bytes = field(repr=False)
    audio: np.ndarray = field(repr=False)
    sample_rate: int
    float32: bool


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """Samples, float32 [channels, samples], and sample rate in Hz of a WAV: 16-bit PCM or 32-bit IEEE float.

    A 16-bit level is divided by 32767: what `write_wav` made comes back to half a level.

    Raises:
        UsageError: the file cannot be read, is truncated, or is another kind of WAV.
    """
    wav = read_wav_file(path)
    return wav.audio, wav.sample_rate


def read_wav_file(path: Path) -> WavFile:
    """All there is to know of a WAV; it raises as `read_wav` does."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', error)}; name a WAV file") from error
    try:
        return _parse_wav(data)
    except (ValueError, struct.error) as error:
        raise UsageError(f"{path} is no WAV of 16-bit PCM or 32-bit float: {error}; convert it first") from error


def _parse_wav(data: bytes) -> WavFile:
    chunks = _chunks(data)
    for name in (b"fmt ", b"data"):
        if name not in chunks:
            raise ValueError(f"it has no {name.decode().strip()} chunk")
    kind, channels, sample_rate, _, block, bits = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
    body = chunks[b"data"]
    if (kind, bits) not in ((PCM, 16), (IEEE_FLOAT, 32)):
        raise ValueError(f"its format is {kind} with {bits} bits")
    if channels < 1 or sample_rate < 1 or block != channels * bits // 8:
        raise ValueError(f"it says {channels} channels, {sample_rate} Hz and {block} bytes a sample")
    if len(body) % block:
        raise ValueError("its last sample is cut")
    samples = np.frombuffer(body, "<i2" if kind == PCM else "<f4").reshape(-1, channels).T
    audio = np.ascontiguousarray(samples / np.float32(FULL_SCALE) if kind == PCM else samples, np.float32)
    return WavFile(data=data, audio=audio, sample_rate=sample_rate, float32=kind == IEEE_FLOAT)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The RIFF chunks by name; of two of one name the first. Each is padded to an even length."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("it does not begin as RIFF WAVE")
    found: dict[bytes, bytes] = {}
    position = 12
    while position < len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        start, position = position + 8, position + 8 + size + size % 2
        if start + size > len(data):
            raise ValueError("it is truncated")
        found.setdefault(name, data[start : start + size])
    return found
