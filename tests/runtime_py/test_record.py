"""A record is read as it was written, or refused in one line; whatever a stranger's file holds."""

import base64
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py import record as records
from runtime_py.errors import RecordError
from runtime_py.record import (
    Asked,
    Device,
    Facts,
    Played,
    Record,
    Runtime,
    StageRecord,
    Wav,
    dump_record,
    parse_record,
    read_record,
    unsound,
)
from tests.shared import replaced

RECORD = Record(
    facts=Facts(
        record_version=1,
        runtime=Runtime(name="edge-run", version="0.1.0", engine="executorch", engine_version="1.5.1"),
        bundle=Played(manifest_sha256="0" * 64, model="tiny", backend="executorch", recipe="fp32"),
        device=Device(
            label="adb:1",
            system="Linux 6.1",
            machine="aarch64",
            cpu="0xd0b",
            cpu_features=("asimd", "asimddp"),
            cores=8,
            threads=4,
        ),
        request=Asked(prompt="birds, 鳥", seconds=1.0, seed=7, steps=2),
        inputs="own",
        stages=(StageRecord(stage="dit", index=1, count=2, load=0.1, run=0.25, peak_rss_mb=12.5),),
    ),
    tensors={
        "input_ids": np.array([[3, 1]], np.int32),
        "audio": np.array([[0.5, -0.25], [np.nan, 1.0]], np.float32),
        "nothing": np.zeros((0, 4), np.float32),
    },
    wav=Wav(
        sha256="1" * 64, bytes=52, sample_rate=44100, channels=2, samples=2, peak=0.5, clipped=0, float32=False
    ),
)  # fmt: skip


def altered(path: str, value: object) -> str:
    """The record's JSON with the value at a dotted path replaced; ... deletes it."""
    return json.dumps(replaced(json.loads(dump_record(RECORD)), path, value))


def test_a_record_is_read_as_it_was_written():
    text = dump_record(RECORD)
    read = parse_record(text)
    assert (read.facts, read.wav) == (RECORD.facts, RECORD.wav)
    for name, array in RECORD.tensors.items():
        assert read.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(read.tensors[name], array)
    assert dump_record(read) == text


def test_a_record_without_a_wav_is_one(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(dump_record(dataclasses.replace(RECORD, wav=None)))
    assert read_record(path).wav is None


def test_tensors_are_little_endian_on_disk():
    data = json.loads(dump_record(RECORD))["tensors"]["input_ids"]["data"]
    assert base64.b64decode(data) == b"\3\0\0\0\1\0\0\0"


def test_nan_is_named_with_its_step():
    steps = np.zeros((3, 2, 2), np.float32)
    steps[1, 0, 0] = np.inf
    assert list(unsound({**RECORD.tensors, "step_velocity": steps})) == ["audio", "step_velocity, step 2"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("record_version", 2, "record_version is 2, this edge-export reads 1"),
        ("record_version", True, "record_version is true"),
        ("record_version", ..., "record_version is null"),
        ("tensors", ..., "tensors is missing"),
        ("tensors", [], "tensors is no object"),
        ("wav", ..., "wav is missing"),
        ("wav.bytes", "many", "wav.bytes"),
        ("device", ..., "device"),
        ("device.cores", 1.5, "device.cores"),
        ("device.more", 1, "device"),
        ("device.no\nvel\x1b[2J", 1, "device.no vel [2J"),
        ("request.steps", 0, "request.steps is 0"),
        ("request.steps", 10**9, "request.steps is 1000000000"),
        ("inputs", "mine", "inputs is 'mine'"),
        ("stages.0.run", -1.0, "stages[0]"),
        ("stages.0", None, "stages"),
        ("tensors.audio", 1, "tensors.audio"),
        ("tensors.audio.dtype", "object", "tensors.audio.dtype"),
        ("tensors.audio.shape", [2, -2], "tensors.audio.shape"),
        ("tensors.audio.shape", [2**40, 2**40], "tensors.audio.shape"),
        ("tensors.audio.shape", [2, 3], "16 bytes"),
        ("tensors.audio.data", "###", "not base64"),
        ("tensors.audio.data", "é", "not base64"),
        ("tensors.audio.data", None, "tensors.audio.data"),
    ],
)
def test_what_is_wrong_is_said(path, value, said):
    with pytest.raises(RecordError) as refused:
        parse_record(altered(path, value))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"{", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_what_is_no_record_is_refused(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"run\.json is no record"):
        read_record(path)


def test_a_folder_or_a_huge_file_is_no_record(tmp_path, monkeypatch):
    with pytest.raises(RecordError, match="not a file"):
        read_record(tmp_path)
    path = tmp_path / "run.json"
    path.write_text(dump_record(RECORD))
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 100)
    with pytest.raises(RecordError, match="larger than"):
        read_record(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PLACES = ["record_version", "runtime", "device.cpu_features", "request.seconds", "request.seed", "stages", "stages.0"]
PLACES += ["inputs", "tensors", "tensors.audio", "tensors.audio.shape", "tensors.audio.data", "wav", "wav.peak"]


@settings(max_examples=300)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_at_any_place_is_read_or_refused(place, value):
    try:
        parse_record(altered(place, value))
    except RecordError as error:
        assert "\n" not in str(error)


@settings(max_examples=300)
@given(st.data())
def test_any_damage_to_the_text_is_read_or_refused(data):
    text = dump_record(RECORD)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    try:
        parse_record(text[:start] + data.draw(st.text(max_size=10)) + text[end:])
    except RecordError as error:
        assert "\n" not in str(error)
