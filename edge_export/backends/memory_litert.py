"""The memory that a LiteRT program needs, read from the graph of the `.tflite` as an interpreter shows it."""

import math
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from edge_export.backends.litert_graph import DELEGATE, WEIGHT, Op, ops_in
from edge_export.backends.memory import Array, Operation, Weights, graph_memory, program_memory
from runtime_py.manifest import MemorySpec

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

PRODUCT, TRANSPOSED_CONVOLUTION, LINEAR = "BATCH_MATMUL", "TRANSPOSE_CONV", "FULLY_CONNECTED"
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", TRANSPOSED_CONVOLUTION)
# fmt: off
ELEMENTWISE = frozenset({
    "ABS", "ADD", "COS", "DIV", "EXP", "GELU", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NEG", "RESHAPE", "RSQRT",
    "SIN", "SOFTMAX", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH",
})
# fmt: on


def model_memory(interpreter: "Interpreter", float16: bool) -> MemorySpec:
    """Of the main graph; with `float16`, as if XNNPACK computed in that, and packed its weights in it.

    XNNPACK packs weights that several operations share once, and what it packed in float16 it does not keep. Inputs
    and outputs have buffers beside the arena.
    """
    ops = [op for op in ops_in(interpreter) if op.kind != DELEGATE]
    outside = {int(each["index"]) for each in (*interpreter.get_input_details(), *interpreter.get_output_details())}
    made = {number for op in ops for number in op.outputs}
    arrays = {
        number: _array(interpreter, number, planned=number in made - outside, float16=float16)
        for number in {number for op in ops for number in (*op.inputs, *op.outputs) if number >= 0}
    }
    buffers = sum(_details_bytes(interpreter, number) for number in outside)
    graph = graph_memory(arrays, list(_operations(ops, arrays)), shared_weights=True)
    return program_memory([graph], buffers, kept_bytes=0 if float16 else graph.packed_bytes)


def _array(interpreter: "Interpreter", number: int, *, planned: bool, float16: bool) -> Array:
    details = interpreter._get_tensor_details(number, 0)
    dtype = np.dtype(details["dtype"])
    halved = float16 and dtype == np.float32
    shape = tuple(map(int, details["shape"]))
    return Array(shape=shape, element_bytes=2 if halved else dtype.itemsize, planned=planned)


def _details_bytes(interpreter: "Interpreter", number: int) -> int:
    details = interpreter._get_tensor_details(number, 0)
    return math.prod(map(int, details["shape"])) * np.dtype(details["dtype"]).itemsize


def _operations(ops: list[Op], arrays: dict[int, Array]) -> Iterator[Operation]:
    """The graph's, and before each that has int8 weights the conversion of its input that XNNPACK puts there."""
    unused = count(max(arrays, default=0) + 1)
    for op in ops:
        inputs = tuple(number for number in op.inputs if number >= 0)
        weights = _weights(op, arrays)
        if weights is not None and arrays[weights.array].element_bytes == 1:
            source, converted = _input(op), next(unused)
            arrays[converted] = Array(shape=arrays[source].shape, element_bytes=1, planned=True)
            yield Operation(inputs=(source,), outputs=(converted,))
            inputs = tuple(converted if number == source else number for number in inputs)
        yield Operation(
            inputs=inputs,
            outputs=op.outputs,
            weights=weights,
            in_place=op.kind in ELEMENTWISE,
            pointers=_pointers(op, arrays),
        )


def _input(op: Op) -> int:
    return op.inputs[2 if op.kind == TRANSPOSED_CONVOLUTION else 0]


def _weights(op: Op, arrays: Mapping[int, Array]) -> Weights | None:
    if op.kind not in (PRODUCT, LINEAR, *CONVOLUTIONS):
        return None
    shape, output = arrays[op.inputs[WEIGHT]].shape, arrays[op.outputs[0]].shape
    parts = math.prod(shape[:-2]) if op.kind == PRODUCT else _stride(op, arrays)
    return Weights(array=op.inputs[WEIGHT], channels=output[-1], parts=parts)


def _stride(op: Op, arrays: Mapping[int, Array]) -> int:
    """Of a transposed convolution, 1 of all else; told by its sizes [1, height, width, channels]."""
    if op.kind != TRANSPOSED_CONVOLUTION:
        return 1
    before, after = (math.prod(arrays[number].shape[1:3]) for number in (_input(op), op.outputs[0]))
    return max(1, round(after / before))


def _pointers(op: Op, arrays: Mapping[int, Array]) -> int:
    """One for each value of the kernel [out, height, width, in] and each pixel of the output that it touches.

    A convolution of single pixels reads its input where it lies.
    """
    if op.kind not in CONVOLUTIONS:
        return 0
    kernel = -(-math.prod(arrays[op.inputs[WEIGHT]].shape[1:3]) // _stride(op, arrays))
    return 0 if kernel == 1 else kernel * math.prod(arrays[op.outputs[0]].shape[1:3])
