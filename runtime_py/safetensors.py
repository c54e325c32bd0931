"""Reads safetensors files with numpy alone: named arrays behind a table of JSON, nothing that can run.

It does not know what the tensors are for. Format: https://github.com/huggingface/safetensors#format
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py import strict_json
from runtime_py.engine import Tensors
from runtime_py.errors import BundleError

MAX_BYTES = 1 << 30
MAX_HEADER = 1 << 20
MAX_DIMENSIONS = 8
LENGTH = 8  # bytes that say how long the table is
DTYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8"}


def read_safetensors(path: Path) -> Tensors:
    """The tensors of a file by name.

    Raises:
        BundleError: it cannot be read, or is no such file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"is larger than {MAX_BYTES >> 20} MiB")
        return parse_safetensors(path.read_bytes())
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} holds no golden vectors ({error}); rebuild the bundle") from error


def parse_safetensors(data: bytes) -> Tensors:
    """The tensors in the bytes of a file; ValueError says what is wrong with them."""
    size = int.from_bytes(data[:LENGTH], "little")
    if len(data) < LENGTH or size > min(MAX_HEADER, len(data) - LENGTH):
        raise ValueError("it is truncated, or has too long a table")
    table = strict_json.parse(data[LENGTH : LENGTH + size].decode("utf-8"))
    if not isinstance(table, dict):
        raise ValueError("it has no table of tensors")
    body = memoryview(data)[LENGTH + size :]
    return {name: _tensor(name, entry, body) for name, entry in table.items() if name != "__metadata__"}


def _tensor(name: str, entry: Any, body: memoryview) -> np.ndarray:
    """One tensor out of {"dtype", "shape", "data_offsets"}; its bytes are little-endian, in C order."""
    shown = name[:60]
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown!r} is not made of dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{shown!r} is of none of the types {', '.join(DTYPES)}")
    if not _sizes(shape) or not _sizes(offsets) or len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        raise ValueError(f"{shown!r} has a shape or place that is no list of sizes")
    begin, end = offsets
    stored = np.dtype(DTYPES[dtype])
    if not begin <= end <= len(body) or end - begin != math.prod(shape) * stored.itemsize:
        raise ValueError(f"{shown!r} lies outside the file, or has another size than its shape")
    return np.frombuffer(body[begin:end], stored).astype(stored.newbyteorder("=")).reshape(shape)


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
