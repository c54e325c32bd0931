"""Any number of tensors is joined as torch does it, never more than four at a time."""

import pytest
import torch
from torch import Tensor, nn

from edge_export.rewrites.concat import MOST, concat
from tests.edge_export.networks import noise

COUNTS = [1, 2, 4, 5, 6, 16, 17, 65]


class Joined(nn.Module):
    def forward(self, *tensors: Tensor) -> Tensor:
        return concat(tensors, dim=-1)


def tensors(count: int) -> list[Tensor]:
    """Each of another length."""
    return [noise(2, 1 + seed % 3, seed=seed) for seed in range(count)]


@pytest.mark.parametrize("count", COUNTS)
def test_it_joins_in_order(count):
    assert torch.equal(concat(tensors(count), dim=1), torch.cat(tensors(count), dim=1))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_it_joins_along_any_axis(dim):
    parts = [noise(2, 3, 4, seed=seed) for seed in range(6)]
    assert torch.equal(concat(parts, dim), torch.cat(parts, dim))


@pytest.mark.parametrize("count", COUNTS)
def test_no_operator_takes_more_than_four_or_only_one(count):
    graph = torch.export.export(Joined(), tuple(tensors(count)), strict=False).graph
    joined = [len(node.args[0]) for node in graph.nodes if node.target is torch.ops.aten.cat.default]
    assert MOST == 4
    assert all(1 < parts <= MOST for parts in joined)
    assert sum(parts - 1 for parts in joined) == count - 1
