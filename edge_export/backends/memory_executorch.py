"""The memory that an ExecuTorch program needs, read from what was delegated to XNNPACK and what was planned.

It reads the delegates' own graphs, by the schema that the executorch package carries.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import fx

from edge_export.backends.memory import (
    Array,
    GraphMemory,
    Operation,
    Weights,
    graph_memory,
    packed_bytes,
    program_memory,
)
from runtime_py.manifest import MemorySpec

NO_TENSOR = 2**32 - 1
ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int32": 4, "qint32": 4, "qcint32": 4, "pfp32": 4}  # others: 1
OUTSIDE = 1 | 2  # a tensor's flags: an input or an output of the delegate
# fmt: off
ELEMENTWISE = frozenset({
    "Abs", "Add", "Ceiling", "Clamp", "Cos", "Div", "ELU", "Exp", "Floor", "Gelu", "Hardswish", "LeakyReLU", "Log",
    "Maximum", "Minimum", "Multiply", "Negate", "ReciprocalSquareRoot", "Sigmoid", "Sin", "Softmax", "Square",
    "SquareRoot", "StaticReshape", "Subtract", "Tanh",
})
# fmt: on
TRANSPOSED_CONVOLUTION = "ConvTranspose2d"
CONVOLUTIONS = frozenset({"Conv2d", "DepthwiseConv2d", TRANSPOSED_CONVOLUTION})
SIDES = ("height", "width")
TRANSPOSED = 1  # a flag of linears and of products: the weights lie [in, out], or the second factor [out, in]
# What json does not read in flatc's numbers.
INFINITE = re.compile(r"(?<=: )(-?)inf\b")

Node = Mapping[str, Any]


def lowered_memory(top: fx.GraphModule, planned_bytes: int) -> MemorySpec:
    """Of a lowered graph that has `planned_bytes` of its own between and around its delegates."""
    nodes = [node for node in top.graph.nodes if node.op == "get_attr" and node.name.startswith("lowered_module")]
    return delegates_memory([getattr(top, str(node.target)).processed_bytes for node in nodes], planned_bytes)


def delegates_memory(payloads: Iterable[bytes], planned_bytes: int) -> MemorySpec:
    """Of XNNPACK delegates as they are in a program: each a header and a graph.

    As ExecuTorch's wheels run them: in one arena, and every operation packs its own copy of weights. With a cache of
    packed weights, as its presets for Android and Apple have it and as a file keeps them, equal ones are packed once.
    """
    graphs = [_read_graph(payload) for payload in payloads]
    return program_memory([_graph_memory(graph) for graph in graphs], planned_bytes, kept_bytes=_kept_bytes(graphs))


def _graph_memory(graph: Node) -> GraphMemory:
    arrays = _arrays(graph)
    return graph_memory(arrays, [_operation(node, arrays) for node in graph["xnodes"]])


def _kept_bytes(graphs: Iterable[Node]) -> int:
    """Of what a file of packed weights holds; 0 where it must not be used, or is of no use.

    It must not where it would give an operation the weights of another: they are known by the bytes of weights and bias
    alone, so of two operations with equal bytes and other scales the second gets what was packed for the first. It is
    of no use where most is of transposed convolutions: each of them packs first, and looks for its weights then.
    """
    ways: dict[tuple[str, ...], str] = {}
    total = again = 0
    for graph in graphs:
        arrays, values = _arrays(graph), _values(graph)
        for node in graph["xnodes"]:
            kind, fields = node["xnode_union_type"].removeprefix("XNN"), node["xnode_union"]
            weights = _weights(kind, fields, arrays)
            if weights is None or not (name := _name_in_cache(graph, values, weights.array, fields)):
                continue
            way = json.dumps([kind, _way_to_pack(fields), _quantization(graph, values, fields)], sort_keys=True)
            size = packed_bytes(arrays[weights.array], weights)
            if kind == TRANSPOSED_CONVOLUTION:
                again += size
            elif name not in ways:
                total += size
            if ways.setdefault(name, way) != way:
                return 0
    return 0 if again > total else total + again


def _values(graph: Node) -> dict[int, Node]:
    """Tensors by number; quantized ones are one level down, beside their scales."""
    unions = [value["xvalue_union"] for value in graph["xvalues"]]
    return {union.get("tensor_value", union)["id_out"]: union for union in unions}


def _arrays(graph: Node) -> dict[int, Array]:
    return {number: _array(value.get("tensor_value", value)) for number, value in _values(graph).items()}


def _name_in_cache(graph: Node, values: Mapping[int, Node], weights: int, fields: Node) -> tuple[str, ...]:
    """What the cache calls packed weights: the hash of weights and that of the bias; empty of what the run makes."""
    bias = fields.get("bias_id", NO_TENSOR)
    name = _constant(graph, values[weights])
    return () if not name else (name,) if bias == NO_TENSOR else (name, _constant(graph, values[bias]))


def _constant(graph: Node, value: Node) -> str:
    return str(graph["constant_data"][value.get("tensor_value", value)["constant_buffer_idx"]]["named_key"])


def _way_to_pack(fields: Node) -> dict[str, Any]:
    """What of an operation can decide how its weights are packed: not tensors' numbers, nor how its input is padded."""
    return {key: value for key, value in fields.items() if not key.endswith("_id") and not key.startswith("padding")}


def _quantization(graph: Node, values: Mapping[int, Node], fields: Node) -> list[Any]:
    """Of each of an operation's tensors type and scales, and of constants the shape."""
    made: list[Any] = []
    for key, number in sorted(fields.items()):
        if not key.endswith("_id") or number == NO_TENSOR:
            continue
        value = values[number]
        tensor, scales = value.get("tensor_value", value), dict(value.get("quant_params", {}))
        if buffer := scales.pop("scale_buffer_idx", 0):
            scales["scales"] = graph["constant_data"][buffer]["named_key"]
        made.append([key, tensor["datatype"], scales, tensor["dims"] if _constant(graph, value) else None])
    return made


def _read_graph(payload: bytes) -> dict[str, Any]:
    """The graph as JSON, read by flatc as it was written by it."""
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
    schema = files("executorch.backends.xnnpack.serialization").joinpath("schema.fbs").read_bytes()
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(schema)
        (folder / "graph.bin").write_bytes(payload[header.flatbuffer_offset :][: header.flatbuffer_size])
        _flatc_decompile(name, str(folder / "schema.fbs"), str(folder / "graph.bin"), ["--raw-binary"])
        text = (folder / "graph.json").read_text(encoding="utf-8")
    graph: dict[str, Any] = json.loads(INFINITE.sub(r"\g<1>1e999", text))
    return graph


def _array(tensor: Node) -> Array:
    kind = tensor["datatype"].removeprefix("xnn_datatype_")
    return Array(
        shape=tuple(tensor["dims"]),
        element_bytes=ELEMENT_BYTES.get(kind, 1),
        planned=not (tensor["flags"] & OUTSIDE or tensor["constant_buffer_idx"]),
    )


def _operation(node: Node, arrays: Mapping[int, Array]) -> Operation:
    kind, fields = node["xnode_union_type"].removeprefix("XNN"), node["xnode_union"]
    numbers = {key: value for key, value in fields.items() if key.endswith("_id") and value != NO_TENSOR}
    outputs = tuple(value for key, value in numbers.items() if key.startswith("output"))
    weights = _weights(kind, fields, arrays)
    return Operation(
        inputs=tuple(value for key, value in numbers.items() if not key.startswith("output")),
        outputs=outputs,
        weights=weights,
        in_place=kind in ELEMENTWISE,
        pointers=_pointers(kind, fields, arrays[outputs[0]]),
    )


def _weights(kind: str, fields: Node, arrays: Mapping[int, Array]) -> Weights | None:
    if kind == "BatchMatrixMultiply":
        shape = arrays[fields["input2_id"]].shape
        channels = shape[-2] if fields["flags"] & TRANSPOSED else shape[-1]
        return Weights(array=fields["input2_id"], channels=channels, parts=math.prod(shape[:-2]))
    if "filter_id" not in fields:
        return None
    shape = arrays[fields["filter_id"]].shape
    return Weights(array=fields["filter_id"], channels=_channels(kind, fields, shape), parts=_parts(kind, fields))


def _channels(kind: str, fields: Node, shape: tuple[int, ...]) -> int:
    """Of a linear [out, in], its transpose, or a convolution, where a group is packed on its own."""
    if kind == "FullyConnected":
        return shape[1] if fields["flags"] & TRANSPOSED else shape[0]
    return int(fields["group_output_channels"])


def _parts(kind: str, fields: Node) -> int:
    """The convolutions that are packed one by one: of groups, and of the strides of a transposed one."""
    if kind == "FullyConnected":
        return 1
    strides = fields["subsampling_height"] * fields["subsampling_width"] if kind == TRANSPOSED_CONVOLUTION else 1
    return int(fields["groups"] * strides)


def _pointers(kind: str, fields: Node, output: Array) -> int:
    """One for each value of the kernel and each pixel [1, height, width, channels] of the output that it touches.

    A convolution of single pixels reads its input where it lies.
    """
    if kind not in CONVOLUTIONS:
        return 0
    kernel, stride = (math.prod(fields[f"{what}_{side}"] for side in SIDES) for what in ("kernel", "subsampling"))
    if kind == TRANSPOSED_CONVOLUTION:
        kernel = -(-kernel // stride)
    return 0 if kernel == 1 else kernel * math.prod(output.shape[1:3])
