"""Modules are replaced wherever they are, and only those of exactly the kind."""

import pytest
import torch
from torch import nn

from edge_export.rewrites.replace import replace_each, split_linear
from tests.edge_export.networks import assert_same, noise, randomized


class Special(nn.ReLU):
    """A kind of its own, though it is a ReLU."""


def test_every_depth_and_the_outermost_are_reached():
    nested = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ModuleDict({"inner": nn.ReLU()})))
    replaced = replace_each(nested, nn.ReLU, lambda _: nn.SiLU())
    assert sum(type(part) is nn.SiLU for part in replaced.modules()) == 2
    assert type(replace_each(nn.ReLU(), nn.ReLU, lambda _: nn.SiLU())) is nn.SiLU


def test_a_subclass_is_left_alone():
    assert type(replace_each(nn.Sequential(Special()), nn.ReLU, lambda _: nn.SiLU())[0]) is Special


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_cut_in_parts_gives_the_parts(bias):
    whole, x = randomized(nn.Linear(16, 12, bias=bias)), noise(4, 16)
    parts = split_linear(whole, 3)
    assert_same(whole(x), torch.cat([part(x) for part in parts], dim=-1))
    assert all((part.bias is not None) == bias for part in parts)
