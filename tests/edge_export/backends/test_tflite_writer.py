"""A model written anew is the same model, smaller, with its weights aligned."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_export.backends.tflite_writer import (
    FLOAT16_KEY,
    FLOAT16_VALUE,
    LARGEST_SHARED,
    WEIGHTS_ALIGNMENT,
    SharingBuilder,
    rewritten,
)


def packed(model: schema.ModelT) -> bytes:
    builder = SharingBuilder(1 << 10)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def weights_of(model: schema.ModelT) -> list[bytes]:
    return [b"" if buffer.data is None else np.asarray(buffer.data).tobytes() for buffer in model.buffers]


@pytest.fixture(scope="module")
def program(built) -> bytes:
    return (built("litert", "int8-dynamic") / "dit.tflite").read_bytes()


def test_the_same_model_comes_out(program):
    before, after = (schema.ModelT.InitFromPackedBuf(each, 0) for each in (program, rewritten(program, float16=False)))
    assert weights_of(before) == weights_of(after)
    assert sum(map(len, weights_of(before))) > 10_000
    for one, other in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True):
        assert (one.name, one.buffer, one.shape.tolist()) == (other.name, other.buffer, other.shape.tolist())
        for name in ("scale", "zeroPoint"):
            assert np.array_equal(getattr(one.quantization, name), getattr(other.quantization, name))


def test_weights_kept_behind_the_model_are_taken_in():
    weights = np.random.default_rng(0).integers(0, 256, 2 * LARGEST_SHARED, np.uint8)
    model = schema.ModelT()
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].offset, model.buffers[1].size = 1 << 10, len(weights)
    head = packed(model)
    found = schema.ModelT.InitFromPackedBuf(rewritten(head.ljust(1 << 10) + weights.tobytes(), float16=False), 0)
    assert weights_of(found) == [b"", weights.tobytes()]
    assert found.buffers[1].offset == found.buffers[1].size == 0


def test_weights_are_aligned():
    model = schema.ModelT()
    model.buffers = [schema.BufferT() for _ in range(40)]
    for size, buffer in enumerate(model.buffers, start=1):
        buffer.data = np.full(size, size, np.uint8)
    made = packed(model)
    for size in range(1, 41):
        view = schema.Model.GetRootAs(made, 0).Buffers(size - 1)
        assert view.DataAsNumpy().ctypes.data % WEIGHTS_ALIGNMENT == np.frombuffer(made, np.uint8).ctypes.data % (
            WEIGHTS_ALIGNMENT
        )


def test_equal_vectors_are_written_once():
    def of(count: int) -> int:
        model = schema.ModelT()
        model.buffers = [schema.BufferT() for _ in range(count)]
        for buffer in model.buffers:
            buffer.data = np.zeros(LARGEST_SHARED, np.uint8)
        return len(packed(model))

    assert of(9) - of(1) < LARGEST_SHARED


def test_the_mark_for_float16_is_there_when_asked_for(program):
    for asked in (True, False):
        model = schema.ModelT.InitFromPackedBuf(rewritten(program, float16=asked), 0)
        marks = {
            bytes(mark.name): np.asarray(model.buffers[mark.buffer].data).tobytes() for mark in model.metadata or ()
        }
        assert marks.get(FLOAT16_KEY) == (FLOAT16_VALUE if asked else None)
