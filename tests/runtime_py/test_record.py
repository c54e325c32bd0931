"""A record is read as it was written, or refused in one line; whatever a stranger's file holds."""

import base64
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py import record as records
from runtime_py.bundle import Bundle, open_bundle, sha256_of
from runtime_py.errors import RecordError
from runtime_py.finishing import Finishing
from runtime_py.loop import Event
from runtime_py.machine import Machine, fast_cores
from runtime_py.record import (
    BundleIdentity,
    Record,
    Recorder,
    RunInfo,
    Runtime,
    StageRecord,
    Wav,
    check_record,
    dump_record,
    parse_record,
    read_record,
    record_layout,
    record_of,
    unsound,
)
from runtime_py.request import Request
from tests.shared import replaced

RECORD = Record(
    run=RunInfo(
        record_version=3,
        runtime=Runtime(name="edge-run", version="0.1.0", engine="executorch", engine_version="1.5.1"),
        bundle=BundleIdentity(manifest_sha256="0" * 64, model="tiny", backend="executorch", recipe="fp32"),
        label="adb:1",
        machine=Machine(
            system="Linux 6.1",
            architecture="aarch64",
            cpu="0xd0b",
            cpu_features=("asimd", "asimddp"),
            cores=8,
            memory_bytes=8_000_000_000,
        ),
        threads=4,
        request=Request(prompt="birds, 鳥", seconds=1.0, seed=7, steps=2),
        inputs="own",
        open_seconds=0.125,
        stages=(StageRecord(stage="dit", index=1, count=2, load=0.1, run=0.25, peak_rss_mb=12.5),),
    ),
    tensors={
        "input_ids": np.array([[3, 1]], np.int32),
        "audio": np.array([[0.5, -0.25], [np.nan, 1.0]], np.float32),
        "nothing": np.zeros((0, 4), np.float32),
    },
    wav=Wav(
        sha256="1" * 64, bytes=52, sample_rate=44100, channels=2, samples=2, peak=0.5, clipped=0, float32=False,
        finishing=Finishing(normalize=True),
        tags=True,
        format="wav",
    ),
)  # fmt: skip


def altered(path: str, value: object) -> str:
    """The record's JSON with the value at a dotted path replaced; ... deletes it."""
    return json.dumps(replaced(json.loads(dump_record(RECORD)), path, value))


def test_a_record_is_read_as_it_was_written():
    text = dump_record(RECORD)
    read = parse_record(text)
    assert (read.run, read.wav) == (RECORD.run, RECORD.wav)
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
        ("record_version", 2, "record_version is 2, this edge-export reads 3; make the record with a runner of this"),
        ("record_version", 4, "record_version is 4, this edge-export reads 3; make the record with a runner of this"),
        ("record_version", True, "record_version is true"),
        ("record_version", ..., "record_version is null"),
        ("tensors", ..., "tensors is missing"),
        ("tensors", [], "tensors is no object"),
        ("wav", ..., "wav is missing"),
        ("wav.bytes", "many", "wav.bytes"),
        ("machine", ..., "machine: is missing"),
        ("machine.cores", 1.5, "machine.cores: expected int"),
        ("machine.cores", 0, "machine.cores: is below 1"),
        ("machine.memory_bytes", ..., "machine.memory_bytes: is missing"),
        ("machine.more", 1, "machine.more: is not a key"),
        ("machine.no\nvel\x1b[2J", 1, "machine.no vel [2J"),
        ("device", {}, "device: is not a key"),
        ("label", ..., "label: is missing"),
        ("threads", 0, "threads: is below 1"),
        ("open_seconds", ..., "open_seconds: is missing"),
        ("open_seconds", -0.1, "open_seconds: is no number from 0 up"),
        ("request.seed", ..., "request.seed: is missing"),
        ("request.seed", -1, "seed is -1"),
        ("request.steps", None, "request.steps: is None, expected 1 to 1000"),
        ("request.steps", 0, "request.steps: is 0, expected 1 to 1000"),
        ("request.steps", 10**9, "request.steps: is 1000000000"),
        ("inputs", "mine", "inputs: is 'mine'"),
        ("stages.0.run", -1.0, "stages[0]"),
        ("stages.0.peak_rss_mb", -1.0, "stages[0]"),
        ("stages.0.stage", "mixer", "stages: does not list what each of conditioner, dit, decoder took"),
        ("stages", [], "stages: does not list what each of"),
        ("stages.0", None, "stages[0]: expected an object, found null"),
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


def test_the_keys_are_in_the_order_of_the_contract():
    document = json.loads(dump_record(RECORD))
    assert list(document) == [
        "record_version", "runtime", "bundle", "label", "machine", "threads", "request", "inputs", "open_seconds",
        "stages", "tensors", "wav",
    ]  # fmt: skip
    assert list(document["machine"]) == [
        "system", "architecture", "cpu", "cpu_features", "cores", "memory_bytes",
    ]  # fmt: skip
    assert list(document["stages"][0]) == ["stage", "index", "count", "load", "run", "peak_rss_mb"]


# Of a run


def event(stage: str, index: int, count: int) -> Event:
    return Event(stage=stage, index=index, count=count, load=0.5, run=0.25, tensors={})


EVENTS = [event("conditioner", 1, 1), event("dit", 1, 2), event("dit", 2, 2), event("decoder", 1, 1)]


def test_each_stage_has_a_peak_of_its_own(monkeypatch):
    """Of memory that only grows until it is forgotten: what one stage took does not hide what the next one does."""
    now = {"peak": 900.0}
    monkeypatch.setattr(records, "forget_peak_memory", lambda: now.update(peak=10.0))
    monkeypatch.setattr(records, "peak_memory_mb", lambda: now["peak"])
    uses = {"conditioner": 300.0, "dit": 50.0, "decoder": 700.0}

    def working(open_program):
        for each in EVENTS:
            if each.index == 1:
                open_program(each.stage)
            now["peak"] = max(now["peak"], uses[each.stage])
            yield each

    recorder = Recorder()
    opened: list[str] = []
    assert list(recorder.watch(working(recorder.opening(opened.append)))) == recorder.events == EVENTS
    assert opened == ["conditioner", "dit", "decoder"]
    assert recorder.peaks_mb == [300.0, 50.0, 50.0, 700.0]


def test_a_stages_peak_is_at_least_that_of_its_earlier_steps(monkeypatch):
    peaks = iter([40.0, 60.0])
    now = {"peak": 0.0}
    monkeypatch.setattr(records, "forget_peak_memory", lambda: now.update(peak=0.0))
    monkeypatch.setattr(records, "peak_memory_mb", lambda: now["peak"])

    def working():
        for each in EVENTS[1:3]:
            now["peak"] = max(now["peak"], next(peaks))
            yield each

    recorder = Recorder()
    list(recorder.watch(working()))
    assert recorder.peaks_mb == [40.0, 60.0]


def test_a_recorder_passes_events_on_as_they_come():
    made = []

    def working():
        for each in EVENTS:
            made.append(each)
            yield each

    recorder = Recorder()
    watched = recorder.watch(working())
    next(watched)
    assert made == recorder.events == EVENTS[:1]


@pytest.fixture
def bundle(folder) -> Bundle:
    return open_bundle(folder)


@pytest.fixture
def made(bundle) -> Record:
    """A record of this process with tensors as the bundle would make them."""
    recorder = Recorder()
    list(recorder.watch(iter(EVENTS)))
    request = Request(prompt="birds", seconds=0.5, seed=7)
    record = record_of(bundle, request, recorder, {}, version="0.1.0", open_seconds=0.5, label="here")
    shapes = record_layout(bundle, record.run)
    tensors = {name: np.zeros(shape, dtype) for name, (dtype, shape) in shapes.items()}
    return dataclasses.replace(record, tensors=tensors)


def test_the_record_of_a_run_says_where_and_of_what_it_is(made, bundle):
    run = made.run
    assert (run.record_version, run.label, run.inputs, run.open_seconds) == (3, "here", "own", 0.5)
    assert run.threads == fast_cores()
    assert run.request == Request(prompt="birds", seconds=0.5, seed=7, steps=2)
    assert run.bundle.manifest_sha256 == sha256_of(bundle.folder / "manifest.json")
    assert [(stage.stage, stage.index, stage.count) for stage in run.stages] == [
        (each.stage, each.index, each.count) for each in EVENTS
    ]
    assert all(stage.peak_rss_mb > 1 for stage in run.stages)
    assert parse_record(dump_record(made)).run == run


def test_a_record_is_held_against_its_bundle(made, bundle):
    check_record(made, bundle)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("latent", None, "lacks the tensor 'latent'"),
        ("mood", np.zeros(1, np.float32), r"mood is float32 \(1,\), expected nothing of that name"),
        ("step_latent", np.zeros((3, 64, 16), np.float32), r"step_latent is float32 .*expected float32 \(2, 64, 16\)"),
        ("audio", np.zeros((2, 22049), np.float32), r"audio is float32 \(2, 22049\), expected float32 \(2, 22050\)"),
        ("input_ids", np.zeros((1, 64), np.int64), r"input_ids is int64 .*expected int32"),
    ],
)
def test_a_record_with_other_tensors_than_its_bundles_is_refused(made, bundle, name, array, message):
    tensors = {key: value for key, value in {**made.tensors, name: array}.items() if value is not None}
    with pytest.raises(RecordError, match=message):
        check_record(dataclasses.replace(made, tensors=tensors), bundle)


@pytest.mark.parametrize("change", [{"model": "other"}, {"backend": "litert"}, {"manifest_sha256": "0" * 64}])
def test_a_record_of_another_bundle_is_refused(made, bundle, change):
    identity = dataclasses.replace(made.run.bundle, **change)
    other = dataclasses.replace(made, run=dataclasses.replace(made.run, bundle=identity))
    with pytest.raises(RecordError, match="of another bundle") as caught:
        check_record(other, bundle)
    assert next(iter(change)).removeprefix("manifest_") in str(caught.value)


def test_a_golden_record_holds_the_whole_clip(made, bundle):
    golden = dataclasses.replace(made.run, inputs="golden")
    assert record_layout(bundle, golden)["audio"] == ("float32", (2, 32768))
    assert record_layout(bundle, made.run)["audio"] == ("float32", (2, 22050))


def test_seconds_that_the_bundle_cannot_make_are_refused(made, bundle):
    run = dataclasses.replace(made.run, request=dataclasses.replace(made.run.request, seconds=1.0))
    with pytest.raises(RecordError, match=r"request\.seconds is 1, which this bundle cannot make"):
        record_layout(bundle, run)


# Strangers' files

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PLACES = [
    "record_version",
    "runtime",
    "machine.cpu_features",
    "threads",
    "open_seconds",
    "request.seconds",
    "request.seed",
    "stages",
    "stages.0",
]
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
