"""A recipe applied for XNNPACK: which layers become int8, how their weights are rounded, what is left alone."""

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor, fx, nn

from quantization.layers import layer_name
from quantization.recipe import Recipe, Rule
from quantization.recipes import recipe_for
from quantization.xnnpack import _module_of, quantize_convolutions, quantize_linears
from runtime_py.errors import UsageError

INT8 = {"weights": "int8-channel", "activations": "int8-dynamic"}


def recipe(*rules: Rule) -> Recipe:
    return Recipe(name="test", summary="", rules=rules, thresholds={})


class Helper(nn.Module):
    """As rewrites make them: a linear whose weight is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.full((1, 16), 1 / 16))
        self.average: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.average)


class Network(nn.Module):
    """Wrapped as a part is: the recipe's names are those inside of `module`."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.ModuleDict(
            {"first": nn.Linear(16, 16), "second": nn.Linear(16, 16, bias=False), "helper": Helper()}
        )

    def forward(self, x: Tensor) -> Tensor:
        second: Tensor = self.module["second"](self.module["first"](x))
        return second - self.module["helper"](x)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Network().requires_grad_(False).eval()


def in_int8(network: nn.Module) -> set[str]:
    """Linears whose weight is no plain tensor any more."""
    layers = ((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear))
    return {name for name, layer in layers if type(layer.weight) not in (nn.Parameter, Tensor)}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((Rule(submodule="dit", operator="linear", **INT8),), {"module.first", "module.second"}),
        ((Rule(pattern="second", **INT8),), {"module.second"}),
        ((Rule(pattern="second"), Rule(**INT8)), {"module.first"}),
        ((Rule(submodule="decoder", **INT8), Rule(operator="conv", **INT8)), set()),
        ((), set()),
    ],
    ids=["all", "by name", "first match", "others", "none"],
)
def test_the_first_rule_that_matches_a_linear_decides(network, rules, expected):
    quantize_linears(network, "dit", recipe(*rules))
    assert in_int8(network) == expected


def test_a_helper_of_a_rewrite_keeps_float32(network):
    quantize_linears(network, "dit", recipe_for("int8-dynamic"))
    assert in_int8(network) == {"module.first", "module.second"}
    assert torch.equal(network.module["helper"].average, torch.full((1, 16), 1 / 16))


def test_weights_are_rounded_per_output_channel(network):
    weight = network.module["second"].weight
    weight[3] *= 100
    published = weight.clone()
    quantize_linears(network, "dit", recipe_for("int8-dynamic"))
    rounded = network.module["second"].weight.dequantize()
    step = published.abs().amax(dim=1, keepdim=True) / 127
    assert ((rounded - published).abs() <= 0.51 * step).all()
    assert not torch.equal(rounded, published)
    assert network.module["second"].weight.scale.numel() == len(published)


def test_tensors_shared_with_the_published_network_stay(network):
    weights = {id(tensor): tensor for tensor in network.parameters()}
    copied, before = copy.deepcopy(network, memo=dict(weights)), network.module["first"].weight.clone()
    quantize_linears(copied, "dit", recipe_for("int8-dynamic"))
    assert in_int8(copied)
    assert not in_int8(network)
    assert torch.equal(network.module["first"].weight, before)


@pytest.mark.parametrize(
    "rule",
    [Rule(weights="int8-channel"), Rule(activations="int8-dynamic")],
    ids=["weights only", "activations only"],
)
def test_what_xnnpack_cannot_compute_is_refused(network, rule):
    with pytest.raises(UsageError, match=r"XNNPACK cannot compute first with .* give it int8-channel"):
        quantize_linears(network, "dit", recipe(rule))
    assert not in_int8(network)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.module = nn.ModuleDict(
            {
                "first": nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
                "second": nn.ConvTranspose2d(4, 4, (1, 2), stride=(1, 2)),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        second: Tensor = self.module["second"](self.module["first"](x))
        return second


EXAMPLE = {"x": torch.randn(1, 4, 1, 8, generator=torch.Generator().manual_seed(1))}


@pytest.fixture
def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return Convolutions().requires_grad_(False).eval()


def quantized(network: nn.Module, *rules: Rule) -> fx.GraphModule | None:
    exported = torch.export.export(network, (), kwargs=EXAMPLE).module()
    return quantize_convolutions(exported, network, "decoder", recipe(*rules), EXAMPLE)


def convolutions_of(graph: fx.GraphModule) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if "conv" in str(node.target) and node.op == "call_function"]


def is_int8(convolution: fx.Node) -> bool:
    """Its weights are dequantized per channel, and what it is given by a scale of that moment."""
    x, weight = (str(node.target) for node in convolution.args[:2])
    assert ("dequantize_affine" in x or "dequantize_per_tensor" in x) == ("dequantize_per_channel" in weight), x
    return "dequantize_per_channel" in weight


def convolutions_in_int8(graph: fx.GraphModule) -> list[str]:
    """Names of the convolutions that are, in the order of the graph."""
    return [_module_of(node) for node in convolutions_of(graph) if is_int8(node)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((Rule(operator="conv", **INT8),), ["module.first", "module.second"]),
        ((Rule(pattern="first", **INT8),), ["module.first"]),
        ((Rule(pattern="first"), Rule(**INT8)), ["module.second"]),
    ],
    ids=["all", "by name", "first match"],
)
def test_the_first_rule_that_matches_a_convolution_decides(convolutions, rules, expected):
    graph = quantized(convolutions, *rules)
    assert graph is not None
    assert convolutions_in_int8(graph) == expected


def test_convolutions_without_a_rule_leave_the_graph_alone(convolutions):
    assert quantized(convolutions, Rule(operator="linear", **INT8)) is None


def test_activations_are_measured_at_run_time(convolutions):
    """Scales that were fixed by the example would break on inputs a thousand times as large."""
    graph = quantized(convolutions, Rule(operator="conv", **INT8))
    assert graph is not None
    x = 1000 * EXAMPLE["x"]
    expected = convolutions(x)
    assert (graph(x=x) - expected).abs().max() <= 0.05 * expected.abs().max()


class Tiled(nn.Module):
    """As the decoder's tail is: the same layers on one tile after another, and one layer before them."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.ModuleDict(
            {
                "head": nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
                "tail": nn.Sequential(nn.Conv2d(4, 4, (1, 1)), nn.ConvTranspose2d(4, 4, (1, 2), stride=(1, 2))),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        head = self.module["head"](x)
        return torch.cat([self.module["tail"](tile) for tile in head.chunk(3, dim=-1)], dim=-1)


@pytest.fixture
def tiled() -> nn.Module:
    torch.manual_seed(0)
    return Tiled().requires_grad_(False).eval()


def test_layers_that_are_called_again_are_quantized_every_time(tiled):
    graph = quantized(tiled, Rule(operator="conv", **INT8))
    assert graph is not None
    assert len(convolutions_of(graph)) == 1 + 3 * 2
    assert all(map(is_int8, convolutions_of(graph)))
    expected = tiled(**EXAMPLE)
    assert 0 < (graph(**EXAMPLE) - expected).abs().max() <= 0.05 * expected.abs().max()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((Rule(pattern="head", **INT8),), {"head"}),
        ((Rule(pattern="tail.1", **INT8),), {"tail.1"}),
        ((Rule(pattern="tail.0"), Rule(**INT8)), {"head", "tail.1"}),
    ],
    ids=["once", "again", "first match"],
)
def test_of_layers_that_are_called_again_those_with_a_rule_are_quantized_and_no_others(tiled, rules, expected):
    graph = quantized(tiled, *rules)
    assert graph is not None
    calls = [(layer_name(_module_of(node)), is_int8(node)) for node in convolutions_of(graph)]
    assert Counter(name for name, _ in calls) == {"head": 1, "tail.0": 3, "tail.1": 3}
    assert all(int8 == (name in expected) for name, int8 in calls)
