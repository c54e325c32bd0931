"""What a WAV says of itself: written, read back, and read from strangers' files."""

import json
import struct

import numpy as np
import pytest
import soundfile

from runtime_py.audio import read_wav, wav_bytes
from runtime_py.errors import UsageError
from runtime_py.finishing import Finishing
from runtime_py.request import Request
from runtime_py.tags import MAX_INFO_BYTES, Tags, comment_of, info_chunk, read_tags

AUDIO = np.array([[0.5, -0.25, 0.125]], np.float32)
RATE = 44_100


def tags(prompt: str = "rain", seconds: float = 7.0) -> Tags:
    request = Request(prompt=prompt, seconds=seconds, seed=7, steps=8)
    return Tags(bundle="ab" * 32, request=request, finishing=Finishing())


def write(path, after: bytes):
    path.write_bytes(wav_bytes(AUDIO, RATE, after=after))
    return path


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def test_the_comment_is_as_documented():
    assert comment_of(tags()) == (
        f'{{"bundle":"{"ab" * 32}","request":{{"prompt":"rain","seconds":7.0,"seed":7,"steps":8}},'
        '"finishing":{"normalize":false,"fade":true}}'
    )


def test_the_chunk_is_title_software_comment(tmp_path):
    body = b"".join([
        b"INFO", chunk(b"INAM", b"a b\0"), chunk(b"ISFT", b"edge-export\0"),
        chunk(b"ICMT", comment_of(tags("a\nb")).encode() + b"\0"),
    ])  # fmt: skip
    assert info_chunk(tags("a\nb")) == chunk(b"LIST", body)
    with soundfile.SoundFile(write(tmp_path / "x.wav", info_chunk(tags("a\nb")))) as file:
        assert (file.title, file.software) == ("a b", "edge-export")
        assert json.loads(file.comment)["request"]["prompt"] == "a\nb"


@pytest.mark.parametrize(
    "prompt", ["rain", 'a "quoted" \\ one', "a\0b\x01\x1f\x7f\n\t", "früh 雨 🎹", "x" * 100_000, "  "]
)
def test_what_was_written_is_read_back_and_the_sound_too(tmp_path, prompt):
    path = write(tmp_path / "x.wav", info_chunk(tags(prompt, 0.1)))
    assert read_tags(path) == tags(prompt, 0.1)
    assert np.array_equal(read_wav(path)[0], read_wav(write(tmp_path / "y.wav", b""))[0])


def info(comment: bytes) -> bytes:
    return chunk(b"LIST", b"INFO" + chunk(b"ICMT", comment))


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (b"", "it has none"),
        (chunk(b"LIST", b"adtl"), "it has none"),
        (chunk(b"LIST", b"INFO" + chunk(b"INAM", b"rain")), "it has no comment"),
        (info(b"made by hand"), "its comment is no JSON"),
        (info(b"\xff"), "its comment is no JSON"),
        (info(b"[" * 1000), "nested"),
        (info(b"[]"), "expected an object"),
        (info(comment_of(tags()).replace("seed", "sead").encode()), "request.sead"),
        (info(comment_of(tags()).replace("ab", "xy").encode()), "bundle: is no sha256"),
        (info(comment_of(tags()).replace(":8", ":null").encode()), "request.steps: is missing"),
        (info(comment_of(tags()).encode())[:-9], "truncated"),
        (b"LIST" + struct.pack("<I", MAX_INFO_BYTES + 1), "too large"),
        (chunk(b"LIST", b"INFOICMT" + struct.pack("<I", 99) + b"x"), "its list is truncated"),
    ],
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path, after, reason):
    path = write(tmp_path / "x.wav", after)
    with pytest.raises(UsageError) as refusal:
        read_tags(path)
    assert str(refusal.value).startswith(f"{path} holds no tags of edge-export (")
    assert reason in str(refusal.value)


def test_no_wav_and_no_file_are_refused(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    for path, reason in ((tmp_path / "x.wav", "RIFF WAVE"), (tmp_path / "none.wav", "cannot read"), (tmp_path, "read")):
        with pytest.raises(UsageError, match=reason):
            read_tags(path)
