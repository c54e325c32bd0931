"""Packed weights and working memory of graphs made by hand, and of small programs compiled twice."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edge_export.backends import backend_for
from edge_export.backends.memory import (
    Array,
    GraphMemory,
    Lifetime,
    Operation,
    Weights,
    arena_bytes,
    graph_memory,
    packed_bytes,
    program_memory,
)
from edge_export.submodules import Part, Port
from edge_export.submodules.submodule import Named
from quantization.recipe import Recipe, Rule
from runtime_py.manifest import MemorySpec
from tests.edge_export.measure_memory import memory_of
from tests.edge_export.networks import randomized

pytestmark = pytest.mark.build

INT8 = Recipe(
    name="test",
    summary="",
    rules=(Rule(submodule="small", weights="int8-channel", activations="int8-dynamic"),),
    thresholds={},
)
FP32 = Recipe(name="test", summary="", rules=(), thresholds={})


def planned(*shape: int) -> Array:
    return Array(shape=shape, element_bytes=4, planned=True)


def constant(*shape: int, element_bytes: int = 4) -> Array:
    return Array(shape=shape, element_bytes=element_bytes, planned=False)


def lifetimes() -> st.SearchStrategy[list[Lifetime]]:
    spans = st.tuples(st.integers(1, 50), st.integers(0, 12), st.integers(0, 4))
    return st.lists(spans.map(lambda span: Lifetime(bytes=span[0], first=span[1], last=span[1] + span[2])), max_size=12)


@given(needed=lifetimes())
def test_an_arena_holds_what_lives_at_once_and_no_more_than_all(needed):
    together = [sum(item.bytes for item in needed if item.first <= moment <= item.last) for moment in range(17)]
    assert max(together) <= arena_bytes(needed) <= sum(item.bytes for item in needed)


def test_what_never_lives_at_once_shares_its_place():
    one_after_another = [
        Lifetime(bytes=size, first=2 * place, last=2 * place + 1) for place, size in enumerate((8, 5, 8))
    ]
    assert arena_bytes(one_after_another) == 8


def test_a_gap_is_filled_by_what_fits_it_best():
    long = [Lifetime(bytes=10, first=0, last=9), Lifetime(bytes=9, first=0, last=4), Lifetime(bytes=8, first=0, last=9)]
    assert arena_bytes([*long, Lifetime(bytes=7, first=5, last=9)]) == 27


def test_a_chain_written_in_place_needs_one_tensor_and_a_tensor_read_later_its_own():
    arrays = {0: constant(16), 1: planned(16), 2: planned(16), 3: planned(16), 4: constant(16)}
    chain = [Operation(inputs=(at,), outputs=(at + 1,), in_place=True) for at in range(4)]
    assert graph_memory(arrays, chain).arena_bytes == 64
    again = [*chain[:-1], Operation(inputs=(3, 1), outputs=(4,), in_place=True)]
    assert graph_memory(arrays, again).arena_bytes == 2 * 64
    apart = [Operation(inputs=op.inputs, outputs=op.outputs) for op in chain]
    assert graph_memory(arrays, apart).arena_bytes == 2 * 64


def test_weights_are_packed_in_whole_tiles_with_what_lies_beside_each_channel():
    assert packed_bytes(constant(32, 64), Weights(array=0, channels=32)) == 32 * (64 * 4 + 4)
    assert packed_bytes(constant(2, 63), Weights(array=0, channels=2)) == 16 * (64 * 4 + 4)
    assert packed_bytes(constant(32, 63, element_bytes=1), Weights(array=0, channels=32)) == 32 * (64 + 12)
    strided = Weights(array=0, channels=2, parts=8)
    assert packed_bytes(constant(2, 1, 16, 64), strided) == 8 * 16 * (2 * 64 * 4 + 4)


def test_constants_are_packed_once_where_they_are_shared_and_tensors_in_the_run():
    arrays = {0: constant(5, 16), 1: constant(16, 16), 2: planned(5, 16), 3: planned(5, 16), 4: constant(5, 5)}
    linear = [
        Operation(inputs=(at, 1), outputs=(into,), weights=Weights(array=1, channels=16))
        for at, into in ((0, 2), (0, 3))
    ]
    product = Operation(inputs=(2, 3), outputs=(4,), weights=Weights(array=3, channels=5))
    each = 16 * (16 * 4 + 4)
    for shared, packed in ((True, each), (False, 2 * each)):
        found = graph_memory(arrays, [*linear, product], shared_weights=shared)
        assert (found.packed_bytes, found.arena_bytes) == (packed, 2 * 5 * 16 * 4 + each)


def test_graphs_share_an_arena_but_no_weights_and_no_pointers():
    arrays = {0: constant(1, 1, 10, 4), 1: constant(1, 1, 10, 4)}
    conv = Operation(inputs=(0,), outputs=(1,), pointers=70)
    assert graph_memory(arrays, [conv, conv]) == GraphMemory(packed_bytes=0, arena_bytes=0, pointer_bytes=2 * 70 * 8)
    graphs = [GraphMemory(packed_bytes=5, arena_bytes=size, pointer_bytes=7) for size in (300, 200)]
    assert program_memory(graphs, 11, kept_bytes=4) == MemorySpec(
        packed_bytes=10, kept_bytes=4, working_bytes=300 + 2 * 7 + 11
    )


class Small(nn.Module):
    """All kinds: a linear, an activation, a product of two activations and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)
        self.conv = nn.Conv1d(64, 32, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = self.linear(x)
        products = torch.bmm(torch.bmm(x.sin(), x.transpose(1, 2)), x)
        return (self.conv(products.transpose(1, 2)),)


def small() -> Part:
    inputs = (Port(name="x", dtype="float32", shape=(1, 48, 64)),)
    outputs = (Port(name="y", dtype="float32", shape=(1, 32, 48)),)
    return Part(name="small", module=Named(randomized(Small()), ("x",)).eval(), inputs=inputs, outputs=outputs)


@pytest.mark.parametrize(("name", "recipe"), list(itertools.product(("executorch", "litert"), (FP32, INT8))))
def test_a_program_compiled_twice_needs_the_same(tmp_path, name, recipe):
    backend = backend_for(name)
    paths = [tmp_path / f"{number}{backend.SUFFIX}" for number in range(2)]
    first, second = (backend.compile(small(), recipe, path).memory for path in paths)
    assert first == second == memory_of(paths[0])
    element, beside = (1, 12) if recipe is INT8 and name == "litert" else (4, 4)
    weights = 64 * 64 + 32 * 64 * 3
    if recipe is FP32 or name == "litert":
        assert first.packed_bytes == weights * element + (64 + 32) * beside
    pointers, ends, tensor = 48 * 3 * 8, (64 + 32) * 48 * 4, 48 * 64 * 4
    assert pointers + ends + 2 * tensor <= first.working_bytes <= pointers + 2 * ends + 6 * tensor


class Pair(nn.Module):
    """Two linears without a bias, the second's weights being the first's times `factor`, or others."""

    def __init__(self, factor: float | None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
        if factor is not None:
            with torch.no_grad():
                self.second.weight.copy_(self.first.weight * factor)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.second(self.first(x)),)


def of_module(
    module: nn.Module, recipe: Recipe, path: Path, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> MemorySpec:
    part = Part(
        name="small",
        module=Named(module, ("x",)).eval(),
        inputs=(Port(name="x", dtype="float32", shape=inputs),),
        outputs=(Port(name="y", dtype="float32", shape=outputs),),
    )
    return backend_for("executorch").compile(part, recipe, path).memory


@pytest.mark.parametrize(
    ("factor", "recipe", "linears"),
    [
        (None, INT8, 2),
        (1.0, INT8, 1),  # equal in all: packed once
        (2.0, INT8, 0),  # equal bytes and other scales: one would be taken for the other
        (2.0, FP32, 2),
    ],
)
def test_weights_are_kept_once_and_never_where_others_could_be_taken_for_them(tmp_path, factor, recipe, linears):
    found = of_module(Pair(factor), recipe, tmp_path / "pair.pte", (5, 64), (5, 64))
    assert found.packed_bytes > 0
    assert found.kept_bytes * 2 == found.packed_bytes * linears


class Tiles(nn.Module):
    """The same layers of each half."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (torch.cat([self.layers(half) for half in x.chunk(2, dim=-1)], dim=-1),)


def test_convolutions_are_kept_once_but_transposed_ones_which_pack_before_they_look(tmp_path):
    plain, small = nn.Conv2d(32, 64, (1, 7)), nn.ConvTranspose2d(64, 16, (1, 2), stride=(1, 2))
    alone = of_module(Tiles(plain), FP32, tmp_path / "a.pte", (1, 32, 1, 32), (1, 64, 1, 20))
    assert alone.packed_bytes == 2 * alone.kept_bytes > 0
    both = of_module(Tiles(plain, small), FP32, tmp_path / "b.pte", (1, 32, 1, 32), (1, 16, 1, 40))
    transposed = both.packed_bytes - alone.packed_bytes
    assert both.kept_bytes == alone.kept_bytes + transposed > alone.kept_bytes
    large = nn.ConvTranspose2d(64, 128, (1, 2), stride=(1, 2))
    assert of_module(Tiles(plain, large), FP32, tmp_path / "c.pte", (1, 32, 1, 32), (1, 128, 1, 40)).kept_bytes == 0
