"""Embeddings as tables of int8 rows: which are exchanged, how they are rounded, what comes out in which numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from quantization.embedding import Int8Embedding, quantize_embeddings
from quantization.recipe import Recipe, Rule
from quantization.recipes import recipe_for
from runtime_py.errors import UsageError

ROWS = {"weights": "int8-channel"}


def recipe(*rules: Rule) -> Recipe:
    return Recipe(name="test", summary="", rules=rules, thresholds={})


def table(weight: Tensor) -> nn.Embedding:
    return nn.Embedding.from_pretrained(weight)


class Network(nn.Module):
    """Wrapped as a part is, with one table that is called by two names."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.module = nn.ModuleDict(
            {
                "tokens": table(torch.randn(50, 16, generator=generator)),
                "inner": nn.ModuleDict({"bias": table(torch.randn(8, 4, generator=generator))}),
                "linear": nn.Linear(16, 16),
            }
        )

    def forward(self, ids: Tensor) -> Tensor:
        made: Tensor = self.module["linear"](self.module["tokens"](ids))
        return made


@pytest.fixture
def network() -> Network:
    return Network().requires_grad_(False).eval()


def exchanged(network: nn.Module) -> list[str]:
    return [name for name, part in network.named_modules() if isinstance(part, Int8Embedding)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((Rule(operator="embedding", **ROWS),), ["module.tokens", "module.inner.bias"]),
        ((Rule(operator="embedding", pattern="tokens", **ROWS),), ["module.tokens"]),
        ((Rule(pattern="inner.*"), Rule(operator="embedding", **ROWS)), ["module.tokens"]),
        ((Rule(submodule="dit", **ROWS), Rule(operator="linear", **ROWS)), []),
        ((), []),
    ],
    ids=["all", "by name", "first match", "others", "none"],
)
def test_the_first_rule_that_matches_an_embedding_decides(network, rules, expected):
    quantize_embeddings(network, "conditioner", recipe(*rules))
    assert exchanged(network) == expected
    assert type(network.module["linear"]) is nn.Linear


def test_the_recipes_there_are_exchange_the_conditioners_tables(network):
    quantize_embeddings(network, "conditioner", recipe_for("int8-dynamic"))
    assert exchanged(network) == ["module.tokens", "module.inner.bias"]


def test_an_embedding_that_is_the_whole_module_is_exchanged_in_its_wrapper():
    wrapped = nn.Sequential(table(torch.ones(2, 3)))
    quantize_embeddings(wrapped, "x", recipe(Rule(**ROWS)))
    assert exchanged(wrapped) == ["0"]


@pytest.mark.parametrize(
    "formats",
    [{"activations": "int8-dynamic"}, {"weights": "int8-channel", "activations": "int8-dynamic"}],
    ids=["activations only", "both"],
)
def test_what_an_embedding_cannot_be_given_is_refused_in_one_line(network, formats):
    with pytest.raises(UsageError, match=r"an embedding computes nothing: give inner\.bias int8-channel") as caught:
        quantize_embeddings(network, "conditioner", recipe(Rule(pattern="inner.bias", **formats)))
    assert "\n" not in str(caught.value)
    assert exchanged(network) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_each_number_is_off_by_no_more_than_half_a_level_of_its_own_row(rows):
    weight = torch.tensor(rows)
    made = Int8Embedding(table(weight))(torch.arange(len(rows)))
    level = weight.abs().amax(1, keepdim=True) / 127
    assert ((made - weight).abs() <= 0.501 * level + 1e-30).all()
    assert made.dtype == torch.float32


def test_a_loud_row_leaves_the_others_alone_and_a_silent_one_stays_silent():
    weight = torch.tensor([[1.27, -0.634, 0.0], [1e6, -3.0, 0.0], [0.0, 0.0, 0.0]])
    found = Int8Embedding(table(weight))
    assert found.rows.tolist() == [[127, -63, 0], [127, 0, 0], [0, 0, 0]]
    assert found.rows.dtype == torch.int8
    assert (found.scale > 0).all(), "what is divided by 0 becomes any number on some CPUs"
    assert torch.allclose(found(torch.tensor([0])), torch.tensor([[1.27, -0.63, 0.0]]))
    assert torch.equal(found(torch.tensor([[2, 2]])), torch.zeros(1, 2, 3))


def test_it_is_as_sensitivity_measures_it():
    from edge_export.sensitivity.rounding import int8_weights

    weight = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[3, 7, 19]], dtype=torch.int32)
    assert torch.equal(Int8Embedding(table(weight))(ids), int8_weights(weight, 0)[ids])


def test_in_a_part_that_computes_in_float16_rows_become_float16():
    found = Int8Embedding(table(torch.randn(4, 3))).half()
    assert found(torch.tensor([1])).dtype == torch.float16
    assert found.rows.dtype == torch.int8


def test_the_table_that_the_published_network_has_stays(network):
    before = network.module["tokens"]
    weight = before.weight.clone()
    quantize_embeddings(network, "conditioner", recipe(Rule(operator="embedding", **ROWS)))
    assert torch.equal(before.weight, weight)


def test_what_is_saved_is_a_quarter_and_a_scale_for_each_row(network):
    quantize_embeddings(network, "conditioner", recipe(Rule(operator="embedding", **ROWS)))
    saved = network.module["tokens"].state_dict()
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in saved.items()} == {
        "rows": (torch.int8, (50, 16)),
        "scale": (torch.float32, (50, 1)),
    }
