"""Layers by the names that recipes match: without wrappers, and pieces of one weight as one layer."""

import pytest
from torch import nn

from quantization.layers import OPERATORS, layer_name, layers_of
from quantization.recipe import OPERATORS as OF_RULES


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("module.layers.0.to_q", "layers.0.to_q"),
        ("module.module.layers.0", "layers.0"),
        ("layers.0", "layers.0"),
        ("module.layers.3.cut_12", "layers.3"),
        ("cut_0", "cut_0"),
        ("module.uncut_1", "uncut_1"),
        ("layers.cut_1.conv", "layers.cut_1.conv"),
        ("modules.0", "modules.0"),
        ("inner.module.0", "inner.module.0"),
        ("", ""),
    ],
)
def test_a_name_has_neither_our_wrappers_nor_the_piece(path, name):
    assert layer_name(path) == name


def test_every_kind_of_layer_is_an_operator_of_rules():
    assert set(OPERATORS.values()) == set(OF_RULES)


class Other(nn.Linear):
    """What a rewrite adds, which is to stay in float."""


def test_layers_come_in_the_order_of_the_network_and_by_exact_type():
    network = nn.ModuleDict(
        {
            "module": nn.ModuleDict(
                {
                    "table": nn.Embedding(3, 4),
                    "added": Other(4, 4),
                    "norm": nn.LayerNorm(4),
                    "up": nn.ConvTranspose2d(4, 4, 1),
                    "inner": nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Conv1d(4, 4, 1)),
                }
            )
        }
    )
    found = layers_of(network)
    assert [(name, OPERATORS[type(layer[0])]) for name, layer in found.items()] == [
        ("table", "embedding"),
        ("up", "conv"),
        ("inner.0", "linear"),
        ("inner.2", "conv"),
    ]
    assert found["inner.0"] == (network["module"]["inner"][0],)


def test_pieces_of_a_cut_weight_are_one_layer_in_their_order():
    pieces = {f"cut_{index}": nn.Conv2d(4, 2, 1) for index in range(11)}
    network = nn.ModuleDict({"conv": nn.ModuleDict(pieces), "next": nn.Conv2d(2, 2, 1)})
    found = layers_of(network)
    assert list(found) == ["conv", "next"]
    assert found["conv"] == tuple(pieces.values())


def test_a_layer_that_is_called_in_two_places_is_one():
    shared = nn.Linear(4, 4)
    assert list(layers_of(nn.Sequential(shared, shared))) == ["0"]


def test_a_network_of_nothing_has_no_layers():
    assert layers_of(nn.Sequential(nn.ReLU())) == {}
