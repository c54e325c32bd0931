"""Small parts compiled for ExecuTorch: interfaces read back, recipes obeyed, what is not delegated named."""

import copy
import dataclasses
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_export.backends import Compiled, executorch
from edge_export.errors import BuildError, EdgeExportError, MissingDependency
from edge_export.model.conditioner import T5GatedFeedForward
from edge_export.rewrites.gelu import gelu_by_sigmoid
from edge_export.submodules import SUBMODULES, Part, Port, rewrite
from edge_export.submodules.submodule import Named
from quantization.recipe import Recipe, Rule
from quantization.recipes import RECIPES
from runtime_py.bundle import open_bundle
from runtime_py.engine import Tensors
from runtime_py.engines.executorch import load
from runtime_py.generation_spec import Interface, TensorSpec
from runtime_py.metrics import snr_db
from tests.edge_export.networks import CONFIG, NETWORKS, T5, config_with, randomized

pytestmark = pytest.mark.build

FP32 = RECIPES["fp32"]
WIDTH = 64


def floats(name: str, *shape: int) -> Port:
    return Port(name=name, dtype="float32", shape=shape)


def part_of(module: nn.Module, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> Part:
    named = Named(randomized(module), tuple(port.name for port in inputs))
    return Part(name="small", module=named.eval(), inputs=inputs, outputs=outputs)


def run(path: Path, compiled: Compiled, inputs: dict[str, Tensor]) -> Tensors:
    interface = Interface(inputs=compiled.inputs, outputs=compiled.outputs)
    return load(path, "small", interface).run({name: tensor.numpy() for name, tensor in inputs.items()})


class Difference(nn.Module):
    """Two inputs of one shape, which must not be swapped, and one of whole numbers."""

    def forward(self, left: Tensor, ids: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left - right, ids + 1


class TwoLinears(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kept = nn.Linear(WIDTH, WIDTH)
        self.inner = nn.ModuleDict({"quantized": nn.Linear(WIDTH, WIDTH)})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.kept(x), self.inner["quantized"](x)


class SumsUp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.cumsum(self.linear(x), dim=0))


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def plain(module: nn.Module) -> Part:
    """A part with one input and one output of [4, 8]."""
    return part_of(module, (floats("x", 4, 8),), (floats("y", 4, 8),))


def two_linears() -> Part:
    return part_of(TwoLinears(), (floats("x", 5, WIDTH),), (floats("kept", 5, WIDTH), floats("quantized", 5, WIDTH)))


def recipe(*rules: Rule) -> Recipe:
    return Recipe(name="test", summary="", rules=rules, thresholds={})


def test_names_positions_dtypes_and_shapes_are_read_back(tmp_path):
    shape = (2, 3)
    part = part_of(
        Difference(),
        (floats("left", *shape), Port(name="ids", dtype="int32", shape=(1, 5), plain=True), floats("right", *shape)),
        (floats("difference", *shape), Port(name="next", dtype="int32", shape=(1, 5))),
    )
    compiled = executorch.compile(part, FP32, tmp_path / "a.pte")
    assert compiled.inputs == (
        TensorSpec(name="left", position=0, dtype="float32", shape=shape),
        TensorSpec(name="ids", position=1, dtype="int32", shape=(1, 5)),
        TensorSpec(name="right", position=2, dtype="float32", shape=shape),
    )
    assert compiled.outputs == (
        TensorSpec(name="difference", position=0, dtype="float32", shape=shape),
        TensorSpec(name="next", position=1, dtype="int32", shape=(1, 5)),
    )
    inputs = part.example_inputs()
    made = run(tmp_path / "a.pte", compiled, inputs)
    assert np.array_equal(made["difference"], (inputs["left"] - inputs["right"]).numpy())
    assert np.array_equal(made["next"], np.full((1, 5), 2, np.int32))


class TracedBackwards(Part):
    """Its example inputs stand in another order than its ports."""

    def example_inputs(self) -> dict[str, Tensor]:
        return dict(reversed(super().example_inputs().items()))


def test_positions_are_the_programs_and_not_the_ports(tmp_path):
    ports = (floats("left", 2, 3), Port(name="ids", dtype="int32", shape=(1, 5), plain=True), floats("right", 2, 3))
    whole = part_of(Difference(), ports, (floats("difference", 2, 3), Port(name="next", dtype="int32", shape=(1, 5))))
    part = TracedBackwards(**vars(whole))
    compiled = executorch.compile(part, FP32, tmp_path / "a.pte")
    assert {tensor.name: tensor.position for tensor in compiled.inputs} == {"left": 2, "ids": 1, "right": 0}
    inputs = part.example_inputs()
    made = run(tmp_path / "a.pte", compiled, inputs)
    assert np.array_equal(made["difference"], (inputs["left"] - inputs["right"]).numpy())


def test_a_rule_with_a_pattern_quantizes_only_what_matches(tmp_path):
    part, published = two_linears(), two_linears()
    rule = Rule(submodule="small", pattern="inner.*", weights="int8-channel", activations="int8-dynamic")
    compiled = executorch.compile(part, recipe(rule), tmp_path / "a.pte")
    inputs = published.example_inputs()
    made, expected = run(tmp_path / "a.pte", compiled, inputs), published.module(**inputs)
    errors = [np.abs(array - tensor.numpy()).max() for array, tensor in zip(made.values(), expected, strict=True)]
    assert errors[0] <= 1e-5
    assert 1e-3 <= errors[1] <= 0.1


def test_rules_for_another_submodule_or_operator_change_nothing(tmp_path):
    part, published = two_linears(), two_linears()
    int8 = {"weights": "int8-channel", "activations": "int8-dynamic"}
    others = recipe(Rule(submodule="other", **int8), Rule(operator="conv", **int8))
    compiled = executorch.compile(part, others, tmp_path / "a.pte")
    inputs = published.example_inputs()
    made, expected = run(tmp_path / "a.pte", compiled, inputs), published.module(**inputs)
    for array, tensor in zip(made.values(), expected, strict=True):
        assert np.abs(array - tensor.numpy()).max() <= 1e-5


def test_a_rule_xnnpack_cannot_follow_is_told(tmp_path):
    rule = Rule(weights="int8-channel")
    with pytest.raises(EdgeExportError, match=r"XNNPACK .*int8-channel"):
        executorch.compile(two_linears(), recipe(rule), tmp_path / "a.pte")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_delegated_is_named_and_still_runs(tmp_path):
    part = plain(SumsUp())
    compiled = executorch.compile(part, FP32, tmp_path / "a.pte")
    assert compiled.graph.undelegated == {"cumsum": 1}
    assert compiled.graph.delegates == 2
    assert compiled.graph.delegated >= 2
    inputs = part.example_inputs()
    made = run(tmp_path / "a.pte", compiled, inputs)["y"]
    assert np.abs(made - part.module(**inputs)[0].numpy()).max() <= 1e-5


def test_a_module_that_cannot_be_exported_is_told_in_one_line(tmp_path):
    with pytest.raises(BuildError, match="ExecuTorch could not compile the small: ") as caught:
        executorch.compile(plain(Undecided()), FP32, tmp_path / "a.pte")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("declared", [floats("y", 8, 4), Port(name="y", dtype="int32", shape=(4, 8))])
def test_a_program_that_gives_other_than_declared_is_refused(tmp_path, declared):
    part = dataclasses.replace(plain(nn.Linear(8, 8)), outputs=(declared,))
    with pytest.raises(BuildError, match=r"the compiled small has outputs .*expected"):
        executorch.compile(part, FP32, tmp_path / "a.pte")


def test_without_the_toolchain_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(executorch, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"pip install 'edge-export\[executorch\]'"):
        executorch.compile(plain(nn.Linear(8, 8)), FP32, tmp_path / "a.pte")


@pytest.fixture(scope="module", params=["fp32", "int8-dynamic"])
def dit(request, tmp_path_factory) -> tuple[nn.Module, Path, Compiled, str]:
    """A dit of depth 1: as published, its program, what the backend says of it, and the recipe."""
    published = randomized(NETWORKS["dit"](CONFIG))
    path = tmp_path_factory.mktemp("dit") / "dit.pte"
    part = rewrite(SUBMODULES["dit"], published, CONFIG, "executorch")
    return published, path, executorch.compile(part, RECIPES[request.param], path), request.param


def test_the_whole_dit_is_one_delegate(dit):
    _, _, compiled, _ = dit
    assert compiled.graph.delegates == 1
    assert compiled.graph.undelegated == {}
    assert compiled.graph.delegated > 50


def test_the_dit_computes_what_the_published_one_does(dit):
    """To the recipe's threshold, which the published weights meet after compiling: none was quantized in place."""
    published, path, compiled, name = dit
    part = rewrite(SUBMODULES["dit"], published, CONFIG, "executorch")
    inputs = part.example_inputs() | {"sigma": torch.tensor([0.6])}
    expected = published(*inputs.values())
    snr = snr_db(expected.numpy(), run(path, compiled, inputs)["velocity"])
    assert snr >= RECIPES[name].thresholds["dit"]
    assert snr >= 100 if name == "fp32" else snr <= 60


def test_query_heads_that_share_a_key_leave_nothing_outside(tmp_path):
    changes = {"num_heads": 2, "project_cond_tokens": False}
    config = config_with(dit=changes)
    part = rewrite(SUBMODULES["dit"], randomized(NETWORKS["dit"](config)), config, "executorch")
    graph = executorch.compile(part, FP32, tmp_path / "dit.pte").graph
    assert (graph.delegates, graph.undelegated) == (1, {})


def test_a_gated_t5_is_as_exact_as_the_recipe_asks(tmp_path):
    """XNNPACK's own GELU is the one by erf: 75 dB from the tanh form."""
    published = randomized(T5GatedFeedForward(T5))
    ports = (floats("x", 1, 24, T5.d_model),), (floats("y", 1, 24, T5.d_model),)
    part = part_of(gelu_by_sigmoid(copy.deepcopy(published), CONFIG), *ports)
    compiled = executorch.compile(part, FP32, tmp_path / "a.pte")
    assert (compiled.graph.delegates, compiled.graph.undelegated) == (1, {})
    inputs = part.example_inputs()
    assert snr_db(published(inputs["x"]).numpy(), run(tmp_path / "a.pte", compiled, inputs)["y"]) >= 110


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_all_that_the_decoder_computes_is_one_delegate(tmp_path, scale):
    """Outside there is at most the row of height, put in and taken out."""
    config = config_with(decoder={"c_mults": (1,), "strides": (2,)}, latent_scale=scale)
    part = rewrite(SUBMODULES["decoder"], randomized(NETWORKS["decoder"](config)), config, "executorch")
    graph = executorch.compile(part, FP32, tmp_path / "decoder.pte").graph
    assert graph.delegates == 1
    assert set(graph.undelegated) <= {"unsqueeze_copy", "squeeze_copy"}


# What stays outside the delegates moves numbers and computes none. Of the conditioner: tokens looked up, an int8 row
# and its scale each, for XNNPACK has no lookup; and the seconds' own small delegate joined to that of the prompt.
OUTSIDE = {
    "conditioner": {"embedding": 2, "_to_dim_order_copy": 1, "unsqueeze_copy": 1},
    "dit": {},
    "decoder": {"unsqueeze_copy": 1, "squeeze_copy": 1},
}
DELEGATES = {"conditioner": 2, "dit": 1, "decoder": 1}


@pytest.mark.parametrize("stage", list(SUBMODULES))
def test_all_that_a_program_of_the_oracle_computes_is_delegated(built, stage):
    graph = open_bundle(built("executorch", "int8-dynamic")).manifest.programs[stage].graph
    assert graph.delegates == DELEGATES[stage]
    assert graph.delegated > 100
    assert graph.undelegated.items() <= OUTSIDE[stage].items()


def test_a_pass_that_changes_nothing_traces_nothing_and_no_byte_changes(tmp_path, monkeypatch):
    from executorch.exir.pass_base import ExportPass

    trace, traced = ExportPass.call_submodule, []

    def counted(self, *given):
        traced.append(type(self).__module__)
        return trace(self, *given)

    def xnnpacks():
        return sum(name.startswith("executorch.backends.xnnpack") for name in traced)

    monkeypatch.setattr(ExportPass, "call_submodule", counted)
    x, kept, inner = (floats(name, 1, 8, WIDTH) for name in ("x", "kept", "inner"))
    part = part_of(TwoLinears(), (x,), (kept, inner))
    executorch.compile(copy.deepcopy(part), FP32, tmp_path / "short.pte")
    short = xnnpacks()
    monkeypatch.setattr(executorch, "unchanged_graphs_kept", nullcontext)
    executorch.compile(part, FP32, tmp_path / "long.pte")
    long = xnnpacks() - short
    assert short <= long - 8
    assert (tmp_path / "short.pte").read_bytes() == (tmp_path / "long.pte").read_bytes()
