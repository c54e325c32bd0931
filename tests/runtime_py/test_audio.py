"""WAV files are what other readers take them for, whole or not there at all."""

import errno
import math
import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runtime_py import audio
from runtime_py.audio import read_wav, samples_in, wav_bytes, write_wav
from runtime_py.errors import GenerationError, OutputError, UsageError

RATE = 44_100
STEREO = np.random.default_rng(0).uniform(-1, 1, (2, 1001)).astype(np.float32)


def channels(*rows) -> np.ndarray:
    return np.array(rows, np.float32)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# length


@pytest.mark.parametrize(
    ("seconds", "rate", "samples"),
    [
        (0.5, 44_100, 22_050),
        (0.1, 44_100, 4410),
        (1 / 3, 44_100, 14_700),
        (0.0625, 8, 0),
        (0.1875, 8, 2),
        (1e-4, 8000, 1),
    ],
)
def test_a_clip_has_the_nearest_number_of_samples_half_to_even(seconds, rate, samples):
    assert samples_in(seconds, rate) == samples


# levels


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (0, 0),
        (1, 32767),
        (-1, -32767),
        (1.5, 32767),
        (-1.5, -32768),
        (1e30, 32767),
        (-1e30, -32768),
        (0.5, 16384),  # 16383.5, and the even one is 16384
        (-0.5, -16384),
        (1.4 / 32767, 1),
        (1.6 / 32767, 2),
        (-1.6 / 32767, -2),
        (1e-30, 0),
    ],
)
def test_a_level_is_the_nearest_and_never_wraps_round(value, level):
    assert struct.unpack("<h", wav_bytes(channels([value]), RATE)[-2:]) == (level,)


def test_channels_alternate_in_their_order():
    body = wav_bytes(channels([0.25, 0.5], [-0.25, -1]), RATE, float32=True)[-16:]
    assert struct.unpack("<4f", body) == (0.25, -0.25, 0.5, -1)


def test_peak_and_clipped_samples_are_reported(tmp_path):
    loud = channels([0, 1, -1, 1.25], [-2, 0.5, 0, -1.0001])
    report = write_wav(tmp_path / "a.wav", loud, RATE)
    assert (report.channels, report.samples, report.peak, report.clipped) == (2, 4, 2.0, 3)
    assert write_wav(tmp_path / "a.wav", loud, RATE, float32=True).clipped == 0
    quiet = write_wav(tmp_path / "a.wav", loud / 4, RATE)
    assert (quiet.peak, quiet.clipped, quiet.path) == (0.5, 0, tmp_path / "a.wav")


# files


@pytest.mark.parametrize("float32", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 0), (1, 7), (2, 1001), (6, 3)])
def test_libsndfile_reads_what_was_written(tmp_path, shape, float32):
    made = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    write_wav(tmp_path / "a.wav", made, 22_050, float32=float32)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels, info.frames) == (22_050, *shape)
    assert (info.format, info.subtype) == ("WAV", "FLOAT" if float32 else "PCM_16")
    read, _ = soundfile.read(tmp_path / "a.wav", dtype="float32" if float32 else "int16", always_2d=True)
    assert np.array_equal(read.T, made if float32 else np.rint(made.astype(np.float64) * 32767).astype(np.int16))


def test_the_standard_library_writes_the_same_bytes(tmp_path):
    write_wav(tmp_path / "ours.wav", STEREO, RATE)
    with wave.open(str(tmp_path / "theirs.wav"), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.rint(STEREO.T.astype(np.float64) * 32767).astype("<i2").tobytes())
    assert (tmp_path / "ours.wav").read_bytes() == (tmp_path / "theirs.wav").read_bytes()


def test_the_sizes_in_a_float_files_header_are_true():
    data = wav_bytes(STEREO, RATE, float32=True)
    assert struct.unpack_from("<4sI", data) == (b"RIFF", len(data) - 8)
    assert struct.unpack_from("<4sI", data, 12) == (b"fmt ", 18)
    assert struct.unpack_from("<4sII", data, 38) == (b"fact", 4, 1001)
    assert struct.unpack_from("<4sI", data, 50) == (b"data", 1001 * 8) and len(data) == 58 + 1001 * 8


def test_a_file_that_was_there_is_replaced(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"x" * 100_000)
    write_wav(path, STEREO, RATE)
    assert path.read_bytes() == wav_bytes(STEREO, RATE)
    assert names(tmp_path) == ["a.wav"]


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_wav(tmp_path / "a.wav", STEREO, RATE)
    finally:
        assert os.umask(before) == 0o027
    assert (tmp_path / "a.wav").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("float32", [False, True])
def test_what_is_no_sound_is_refused_before_anything_is_written(tmp_path, bad, float32):
    path = tmp_path / "a.wav"
    path.write_bytes(b"before")
    broken = STEREO.copy()
    broken[1, 500] = bad
    with pytest.raises(GenerationError, match="NaN or infinity"):
        write_wav(path, broken, RATE, float32=float32)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
@pytest.mark.parametrize(
    ("failure", "raised", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OutputError, "No space left on device; free some space"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), OutputError, "Input/output error; write elsewhere"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call, failure, raised, message):
    path = tmp_path / "a.wav"
    path.write_bytes(b"before")

    def failing(*_):
        raise failure

    if call == "replace":
        monkeypatch.setattr(Path, "replace", failing)
    else:
        monkeypatch.setattr(audio.os, call, failing)
    with pytest.raises(raised, match=message):
        write_wav(path, STEREO, RATE)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["a.wav"]


def test_places_that_cannot_be_written_are_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for place, message in (
        ("folder", "is a folder; name a file"),
        ("missing/a.wav", "No such file or directory; write elsewhere"),
        ("file/a.wav", "Not a directory; write elsewhere"),
        ("a" * 300, "File name too long"),
        ("a\0b", "null"),
    ):
        with pytest.raises(OutputError, match=message) as raised:
            write_wav(tmp_path / place, STEREO, RATE)
        assert "\n" not in str(raised.value)
    assert names(tmp_path) == ["file", "folder"]


# reading


@pytest.mark.parametrize("float32", [False, True])
def test_what_was_written_is_read_back(tmp_path, float32):
    write_wav(tmp_path / "a.wav", STEREO, 48_000, float32=float32)
    read, rate = read_wav(tmp_path / "a.wav")
    assert (rate, read.shape, read.dtype) == (48_000, (2, 1001), np.float32)
    assert read.flags.c_contiguous
    np.testing.assert_allclose(read, STEREO, rtol=0, atol=0 if float32 else 0.5001 / 32767)


@given(levels=arrays.arrays(np.int16, st.tuples(st.integers(1, 3), st.integers(0, 50))))
@settings(max_examples=100, deadline=None)
def test_sixteen_bits_read_and_written_again_are_the_same_bytes(tmp_path_factory, levels):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((len(levels), 2, 8000, 0, "NONE", ""))
        file.writeframes(levels.T.astype("<i2").tobytes())
    read, rate = read_wav(path)
    assert wav_bytes(read, rate) == path.read_bytes()


def test_what_libsndfile_writes_is_read(tmp_path):
    soundfile.write(tmp_path / "float.wav", STEREO.T, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_wav(tmp_path / "float.wav")[0], STEREO)
    soundfile.write(tmp_path / "pcm.wav", STEREO.T, RATE, subtype="PCM_16")
    levels, _ = soundfile.read(tmp_path / "pcm.wav", dtype="int16")
    read, rate = read_wav(tmp_path / "pcm.wav")
    assert rate == RATE
    np.testing.assert_array_equal(np.rint(read * 32767), levels.T)


def test_other_chunks_of_odd_length_are_passed_over(tmp_path):
    data = wav_bytes(STEREO, RATE)
    extra = b"LIST" + struct.pack("<I", 5) + b"abcde\0"
    (tmp_path / "a.wav").write_bytes(data[:12] + extra + data[12:] + extra)
    assert read_wav(tmp_path / "a.wav")[0].shape == (2, 1001)


def patched(offset: int, form: str, *values: int) -> bytes:
    data = bytearray(wav_bytes(STEREO, RATE))
    struct.pack_into(form, data, offset, *values)
    return bytes(data)


WHOLE = wav_bytes(STEREO, RATE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin as RIFF"),
        (b"ID3\x03 an mp3 perhaps", "does not begin as RIFF"),
        (WHOLE[:12], "has no fmt chunk"),
        (WHOLE[:36], "has no data chunk"),
        (WHOLE[:40], "is truncated"),
        (WHOLE[:-1], "is truncated"),
        (WHOLE[:12] + b"fmt \x02\0\0\0\1\0" + WHOLE[36:], "unpack"),
        (patched(20, "<H", 2), "format is 2 with 16 bits"),
        (patched(34, "<H", 24), "format is 1 with 24 bits"),
        (patched(22, "<H", 0), "0 channels"),
        (patched(22, "<H", 3), "3 channels"),
        (patched(24, "<I", 0), "0 Hz"),
        (patched(40, "<I", 4002)[:-2], "last sample is cut"),
        (patched(40, "<I", 4002), "is truncated"),
        (patched(40, "<I", 0xFFFFFFFF), "is truncated"),
    ],
)
def test_what_is_no_such_wav_is_refused(tmp_path, data, message):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message) as raised:
        read_wav(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_wav_and_a_folder_are_refused(tmp_path):
    for path, message in ((tmp_path / "a.wav", "No such file"), (tmp_path, "Is a directory"), (Path("a\0"), "null")):
        with pytest.raises(UsageError, match=message):
            read_wav(path)


@pytest.mark.parametrize("rate", [0, -1, 44100.0, 10**6])
def test_a_sample_rate_that_makes_no_sense_is_refused(rate):
    with pytest.raises(UsageError, match="the sample rate is"):
        wav_bytes(np.zeros((2, 4), np.float32), rate)


def test_levels_that_are_no_floats_are_refused():
    with pytest.raises(UsageError, match="the audio is int16, expected floats"):
        wav_bytes(np.ones((2, 4), np.int16), 44100)
