"""What XNNPACK packs of a graph's weights, and the memory it plans for the tensors in between.

A graph here is operations over numbered tensors, whatever file it came from. Nothing is run: the same graph gives
the same numbers on every machine, those of XNNPACK's widest common tiles.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from runtime_py.manifest import MemorySpec

# Weights are packed in tiles of output channels and of values: 8 to 64 and 1 to 8, as the CPU likes it. These are
# the tiles of int8 on Arm with dot products, and of both kinds of weights on x86 with AVX512.
TILE_CHANNELS, TILE_VALUES = 16, 8
# Beside each channel lie its bias and, for int8, its scale and the sum of its weights.
BIAS_BYTES, SCALE_AND_SUM_BYTES = 4, 8
POINTER_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Array:
    """A tensor; `planned` when it lies neither in the file nor with whoever calls the graph."""

    shape: tuple[int, ...]
    element_bytes: int
    planned: bool

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.element_bytes


@dataclass(frozen=True, kw_only=True)
class Weights:
    """An operation's weights, tensor `array`, and their output channels.

    parts: what is packed on its own, each with so many channels: a group, a stride of a transposed convolution, a
    matrix of a batch.
    """

    array: int
    channels: int
    parts: int = 1


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What an operation reads and writes, by number.

    in_place: it can write over what it reads. pointers: how many to input pixels a convolution keeps.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: Weights | None = None
    in_place: bool = False
    pointers: int = 0


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """Memory that is needed from one operation to another, both included."""

    bytes: int
    first: int
    last: int

    def overlaps(self, other: "Lifetime") -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, kw_only=True)
class GraphMemory:
    """Of one graph: weights as packed, the arena of a run, and pointers, which are kept from run to run."""

    packed_bytes: int
    arena_bytes: int
    pointer_bytes: int


def graph_memory(
    arrays: Mapping[int, Array], operations: Sequence[Operation], *, shared_weights: bool = False
) -> GraphMemory:
    """shared_weights: weights that several operations use are packed once, and not for each."""
    weights = [op.weights for op in operations if op.weights is not None and not arrays[op.weights.array].planned]
    to_pack = {each.array: each for each in weights}.values() if shared_weights else weights
    return GraphMemory(
        packed_bytes=sum(packed_bytes(arrays[each.array], each) for each in to_pack),
        arena_bytes=arena_bytes([*_tensors(arrays, operations), *_packed_in_the_run(arrays, operations)]),
        pointer_bytes=POINTER_BYTES * sum(op.pointers for op in operations),
    )


def program_memory(graphs: Sequence[GraphMemory], buffer_bytes: int, kept_bytes: int) -> MemorySpec:
    """Of graphs that run one after another in one arena, and the buffers between and around them."""
    return MemorySpec(
        packed_bytes=sum(graph.packed_bytes for graph in graphs),
        kept_bytes=kept_bytes,
        working_bytes=buffer_bytes
        + max((graph.arena_bytes for graph in graphs), default=0)
        + sum(graph.pointer_bytes for graph in graphs),
    )


def packed_bytes(array: Array, weights: Weights) -> int:
    """Bytes of weights in tiles: all channels rounded up, and what lies beside each."""
    values = math.prod(array.shape) // (weights.channels * weights.parts)
    beside = BIAS_BYTES + (SCALE_AND_SUM_BYTES if array.element_bytes == 1 else 0)
    channel = _round_up(values, TILE_VALUES // array.element_bytes) * array.element_bytes + beside
    return weights.parts * _round_up(weights.channels, TILE_CHANNELS) * channel


def arena_bytes(needed: Iterable[Lifetime]) -> int:
    """The size of an arena as XNNPACK and LiteRT plan it: the largest first, each in the tightest gap it fits in."""
    placed: list[tuple[int, Lifetime]] = []
    for item in sorted(needed, key=lambda item: -item.bytes):
        taken = sorted((start, start + other.bytes) for start, other in placed if item.overlaps(other))
        placed.append((_tightest_gap(taken, item.bytes), item))
    return max((start + item.bytes for start, item in placed), default=0)


def _tightest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """Where `size` bytes go between the stretches `taken`, in order of their starts; behind all where none fits."""
    end, gaps = 0, []
    for start, stop in taken:
        if start - end >= size:
            gaps.append((start - end, end))
        end = max(end, stop)
    return min(gaps)[1] if gaps else end


def _tensors(arrays: Mapping[int, Array], operations: Sequence[Operation]) -> list[Lifetime]:
    """Of each planned tensor, from where it is made to where it is read last; one written in place extends another."""
    uses: dict[int, list[int]] = {}
    for index, op in enumerate(operations):
        for number in {*op.inputs, *op.outputs}:
            if arrays[number].planned:
                uses.setdefault(number, []).append(index)
    root = {number: number for number in uses}
    for op in operations:
        if (over := _written_over(op, arrays, uses)) is not None:
            root[op.outputs[0]] = root[over]
    spans: dict[int, list[int]] = {}
    for number, indices in uses.items():
        spans.setdefault(root[number], []).extend(indices)
    return [Lifetime(bytes=arrays[number].bytes, first=min(span), last=max(span)) for number, span in spans.items()]


def _written_over(op: Operation, arrays: Mapping[int, Array], uses: Mapping[int, Collection[int]]) -> int | None:
    """The input that `op` writes its output over: of the same size, and read by nothing else."""
    if not op.in_place or op.outputs[0] not in uses:
        return None
    size = arrays[op.outputs[0]].bytes
    fit = (number for number in op.inputs if number in uses and arrays[number].bytes == size)
    return next((number for number in fit if len(uses[number]) == 2), None)


def _packed_in_the_run(arrays: Mapping[int, Array], operations: Sequence[Operation]) -> list[Lifetime]:
    """Room for weights that are no constants, such as attention's keys."""
    return [
        Lifetime(bytes=packed_bytes(arrays[op.weights.array], op.weights), first=index, last=index)
        for index, op in enumerate(operations)
        if op.weights is not None and arrays[op.weights.array].planned
    ]


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
