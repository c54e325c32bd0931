"""Safetensors read with numpy alone: as the library reads them, and nothing that is not one."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from runtime_py.errors import BundleError
from runtime_py.safetensors import parse_safetensors, read_safetensors

TENSORS: dict[str, np.ndarray] = {
    "single": np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 2, 3),
    "half": np.array([1.5, -2], np.float16),
    "whole": np.array([[-7], [2**31 - 1]], np.int32),
    "long": np.array(2**62, np.int64),
    "empty": np.zeros((0, 4), np.float32),
}


def file_of(table: object, body: bytes = b"") -> bytes:
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(**changed: object) -> bytes:
    return file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changed}}, bytes(8))


def test_tensors_come_back_as_the_library_wrote_them(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"made": "here"})
    found = read_safetensors(tmp_path / "a.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "truncated"),
        (b"\xff" * 8, "truncated, or has too long a table"),
        (save(TENSORS)[:200], "truncated|outside"),
        (save(TENSORS)[:-1], "outside the file"),
        (file_of([]), "no table"),
        (file_of({"a": 1}), "is not made of"),
        (file_of({"a": {"dtype": "F32", "shape": [2]}}), "is not made of"),
        (entry(dtype="F8"), "none of the types"),
        (entry(dtype=["F32"]), "none of the types"),
        (entry(shape=[-2]), "no list of sizes"),
        (entry(shape=[2.0]), "no list of sizes"),
        (entry(shape=[True, 2]), "no list of sizes"),
        (entry(shape=[1] * 9), "no list of sizes"),
        (entry(shape=[3]), "another size"),
        (entry(shape=[2**62, 2**62]), "another size"),
        (entry(data_offsets=[8, 0]), "outside"),
        (entry(data_offsets=[4, 12]), "outside"),
        (entry(data_offsets=[0, 8, 8]), "no list of sizes"),
        (file_of({"a": {"dtype": float("nan")}}), "NaN"),
    ],
)
def test_what_is_no_safetensors_file_is_told_in_one_line(tmp_path, data, said):
    path = tmp_path / "golden.safetensors"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=said) as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value)


def test_a_file_too_large_to_be_true_is_not_read(tmp_path):
    path = tmp_path / "golden.safetensors"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(BundleError, match="larger than 1024 MiB"):
        read_safetensors(path)


def test_a_file_that_is_missing_is_one_line(tmp_path):
    with pytest.raises(BundleError, match="cannot read"):
        read_safetensors(tmp_path / "none")


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data):
    whole = bytearray(save({"a": np.arange(4, dtype=np.float32)}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        parse_safetensors(bytes(whole))
