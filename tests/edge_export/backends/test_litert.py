"""Small parts compiled for LiteRT: names and positions read back, rules obeyed layer by layer, failures told."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edge_export.backends import litert
from edge_export.backends.litert_graph import graph_spec, layers_in, open_graph, ops_in, weights_dtypes
from edge_export.checkpoint import open_checkpoint
from edge_export.errors import BuildError, MissingDependency
from edge_export.submodules import SUBMODULES, Part, Port, rewrite
from edge_export.submodules.submodule import Named
from quantization.recipe import Recipe, Rule
from quantization.recipes import RECIPES
from runtime_py.bundle import open_bundle
from runtime_py.engines.litert import only_signature, open_model
from runtime_py.generation_spec import TensorSpec
from runtime_py.metrics import snr_db
from tests.edge_export.networks import NETWORKS, config_with, randomized

pytestmark = pytest.mark.build

FP32 = RECIPES["fp32"]
INT8 = {"weights": "int8-channel", "activations": "int8-dynamic"}


def floats(name: str, *shape: int) -> Port:
    return Port(name=name, dtype="float32", shape=shape)


def part_of(module: nn.Module, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> Part:
    named = Named(randomized(module), tuple(port.name for port in inputs))
    return Part(name="small", module=named.eval(), inputs=inputs, outputs=outputs)


def recipe(*rules: Rule) -> Recipe:
    return Recipe(name="test", summary="", rules=rules, thresholds={})


def outputs_snr(path: Path, part: Part) -> dict[str, float]:
    inputs = part.example_inputs()
    made = only_signature(open_model(path))(**{name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.inference_mode():
        expected = part.module(**inputs)
    return {port.name: snr_db(tensor.numpy(), made[port.name]) for port, tensor in zip(part.outputs, expected)}


class Difference(nn.Module):
    """Inputs of one shape, which must not be swapped, and whole numbers between them; names out of order."""

    def forward(self, zebra: Tensor, ids: Tensor, ant: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return zebra - ant, ids + 1, zebra * ant


def difference() -> Part:
    ids = Port(name="ids", dtype="int32", shape=(1, 5), plain=True)
    return part_of(
        Difference(),
        (floats("zebra", 2, 3), ids, floats("ant", 2, 3)),
        (floats("difference", 2, 3), Port(name="next", dtype="int32", shape=(1, 5)), floats("product", 2, 3)),
    )


class Layers(nn.Module):
    """Linears of one shape: two of them equal, one behind a scale, one an output; a convolution, and attention's kind
    of product.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.inner = nn.ModuleList([nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)])
        self.scale = nn.Parameter(torch.ones(8))
        self.scaled = nn.Linear(8, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, 8, bias=False)
        self.register_buffer("helper", torch.full((1, 8), 1 / 8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x - nn.functional.linear(x, self.helper)
        x = self.first(x).relu()
        x = self.inner[0](x).tanh() + self.inner[1](x * 2)
        x = self.scaled(x * self.scale)
        return self.conv((x @ x.transpose(1, 2) @ x).transpose(1, 2)), self.last(x)


def layers() -> Part:
    module = Layers()
    part = part_of(module, (floats("x", 1, 6, 8),), (floats("y", 1, 8, 6), floats("z", 1, 6, 8)))
    module.inner[1].weight = module.inner[0].weight  # only the names tell these two apart
    return part


def dtypes_by_layer(path: Path, part: Part) -> dict[str, str]:
    """dtype of each layer's weights in the program at `path`; which layer is which is asked of a float one."""
    assert isinstance(part.module, Named)
    traced = litert.NamedOutputs(part).eval()
    layers = layers_in(open_graph(litert.convert(part, traced)), traced, part.module.module)
    scopes = weights_dtypes(open_model(path))
    return {layer.name: scopes[layer.scope] for layer in layers}


def test_names_positions_dtypes_and_shapes_are_read_back(tmp_path):
    part = difference()
    compiled = litert.compile(part, FP32, tmp_path / "a.tflite")
    assert compiled.inputs == (
        TensorSpec(name="zebra", position=0, dtype="float32", shape=(2, 3)),
        TensorSpec(name="ids", position=1, dtype="int32", shape=(1, 5)),
        TensorSpec(name="ant", position=2, dtype="float32", shape=(2, 3)),
    )
    assert compiled.outputs == (
        TensorSpec(name="difference", position=0, dtype="float32", shape=(2, 3)),
        TensorSpec(name="next", position=1, dtype="int32", shape=(1, 5)),
        TensorSpec(name="product", position=2, dtype="float32", shape=(2, 3)),
    )
    assert min(outputs_snr(tmp_path / "a.tflite", part).values()) > 120


def test_rules_decide_layer_by_layer_and_helpers_stay_in_float32(tmp_path):
    rules = recipe(Rule(pattern="inner.1"), Rule(operator="linear", **INT8))
    part, path = layers(), tmp_path / "a.tflite"
    litert.compile(part, rules, path)
    assert dtypes_by_layer(path, part) == {
        "first": "int8",
        "inner.0": "int8",
        "inner.1": "float32",
        "scaled": "int8",
        "conv": "float32",
        "last": "int8",
    }
    assert list(weights_dtypes(open_model(path)).values()).count("int8") == 4
    assert all(20 < snr < 80 for snr in outputs_snr(path, part).values())


def test_a_rule_for_convolutions_quantizes_them_transposed_or_not(tmp_path):
    config = config_with()
    decoder = randomized(NETWORKS["decoder"](config))
    part = rewrite(SUBMODULES["decoder"], decoder, config, "litert")
    compiled = litert.compile(part, recipe(Rule(operator="conv", **INT8)), tmp_path / "a.tflite")
    convolutions = [m for m in decoder.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    assert list(weights_dtypes(open_model(tmp_path / "a.tflite")).values()) == ["int8"] * len(convolutions)
    assert compiled.graph.undelegated == {}


VARIANTS = {
    "l2, two queries a key": ("dit", {"dit": {"num_heads": 4, "project_cond_tokens": False, "qk_norm": "l2"}}),
    "one head, no norm": ("dit", {"dit": {"embed_dim": 64, "num_heads": 1, "qk_norm": "none"}}),
    "gated t5": ("conditioner", {"t5": {"gated": True, "d_model": 96}}),
    "elu, tanh, scaled": ("decoder", {"decoder": {"use_snake": False, "final_tanh": True}, "latent_scale": 0.41}),
}
# An embedding's int8 rows and their scales are looked up outside XNNPACK. The oracle's dit has one head: its queries
# times keys are no batch, which LiteRT computes by itself.
OUTSIDE = {
    "conditioner": {"CAST": 1, "EMBEDDING_LOOKUP": 2, "RESHAPE": 2},
    "dit": {"FULLY_CONNECTED": 4},
    "decoder": {},
}


@pytest.mark.parametrize(("stage", "changes"), list(VARIANTS.values()), ids=list(VARIANTS))
def test_every_kind_of_network_compiles_to_itself_and_into_delegates(tmp_path, stage, changes):
    config = config_with(**changes)
    part = rewrite(SUBMODULES[stage], randomized(NETWORKS[stage](config)), config, "litert")
    compiled = litert.compile(part, FP32, tmp_path / "a.tflite")
    assert min(outputs_snr(tmp_path / "a.tflite", part).values()) >= 110
    assert compiled.graph.undelegated.keys() <= OUTSIDE[stage].keys()


@pytest.mark.parametrize("stage", list(SUBMODULES))
def test_delegated_and_undelegated_are_all_the_operations_there_are(built, stage):
    bundle = open_bundle(built("litert", "int8-dynamic"))
    program = bundle.manifest.programs[stage]
    path = bundle.path(program)
    in_file = ops_in(open_graph(path.read_bytes()))
    graph = graph_spec(open_model(path))
    assert graph == program.graph
    assert graph.delegates >= 1
    assert graph.delegated + sum(graph.undelegated.values()) == len(in_file)
    assert graph.undelegated == OUTSIDE[stage]


def test_the_linears_of_the_oracles_dit_are_int8_and_nothing_else_is(built, oracle):
    checkpoint = open_checkpoint(oracle)
    part = rewrite(SUBMODULES["dit"], SUBMODULES["dit"].load(checkpoint), checkpoint.config, "litert")
    assert isinstance(part.module, Named)
    network = part.module.module
    fp32, int8 = (
        bundle.path(bundle.manifest.programs["dit"])
        for bundle in (open_bundle(built("litert", recipe)) for recipe in ("fp32", "int8-dynamic"))
    )
    layers = layers_in(open_graph(fp32.read_bytes()), litert.NamedOutputs(part), network)
    linears = {name for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    assert {layer.name for layer in layers} == linears
    quantized = {scope for scope, dtype in weights_dtypes(open_model(int8)).items() if dtype == "int8"}
    assert quantized == {layer.scope for layer in layers}


class Folded(nn.Module):
    """A linear whose weights are used, changed, without calling it: nothing in the graph says whose they are."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.hidden.weight * 3)


def test_a_layer_that_cannot_be_told_in_the_graph_is_no_layer_to_pass_over(tmp_path):
    part = part_of(Folded(), (floats("x", 4, 8),), (floats("y", 4, 8),))
    with pytest.raises(BuildError, match="recipe test quantizes hidden: not to be told"):
        litert.compile(part, recipe(Rule(**INT8)), tmp_path / "a.tflite")


def test_a_convolution_too_large_for_the_quantizer_is_named():
    with torch.device("meta"):
        part = Part(name="decoder", module=Named(nn.Sequential(nn.Conv1d(2048, 1024, 7)), ()), inputs=(), outputs=())
    with pytest.raises(BuildError, match="quantizes 0: of over 32 MiB"):
        litert.layers_to_quantize(b"", part, litert.NamedOutputs(part), recipe(Rule(**INT8)))


def test_a_layer_the_quantizer_passes_over_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "_quantize", lambda program, _: program)
    with pytest.raises(BuildError, match=r"first, inner\.0, inner\.1 and 2 more: passed over by litert-quantizer"):
        litert.compile(layers(), recipe(Rule(operator="linear", **INT8)), tmp_path / "a.tflite")


def test_swapped_outputs_are_noticed_by_their_numbers(tmp_path, monkeypatch):
    class Swapped(litert.NamedOutputs):
        def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
            made = super().forward(**inputs)
            return made | {"difference": made["product"], "product": made["difference"]}

    monkeypatch.setattr(litert, "NamedOutputs", Swapped)
    with pytest.raises(BuildError, match=r"difference of the compiled program is .* dB from the network's"):
        litert.compile(difference(), FP32, tmp_path / "a.tflite")


def test_an_interface_that_is_not_the_parts_is_refused(tmp_path):
    part = part_of(nn.Linear(8, 8), (floats("x", 4, 8),), (floats("y", 8, 4),))
    with pytest.raises(BuildError, match="outputs"):
        litert.compile(part, FP32, tmp_path / "a.tflite")


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_what_the_toolchain_raises_becomes_one_line(tmp_path):
    part = part_of(Undecided(), (floats("x", 4, 8),), (floats("y", 4, 8),))
    with pytest.raises(BuildError, match="small: the LiteRT toolchain failed") as caught:
        litert.compile(part, FP32, tmp_path / "a.tflite")
    assert "\n" not in str(caught.value)


def test_ctrl_c_passes_through(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(litert, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        litert.compile(difference(), FP32, tmp_path / "a.tflite")


@pytest.mark.parametrize("package", ["litert_torch", "litert_quantizer"])
def test_a_missing_toolchain_is_told_with_the_way_to_install_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=r"edge-export\[litert-export\]"):
        litert.compile(difference(), FP32, tmp_path / "a.tflite")


def test_compiling_prints_nothing(tmp_path):
    """In a process of its own: the test runner's streams are not those that toolchains write to."""
    script = (
        "import pathlib, sys; from tests.edge_export.backends import test_litert as small;"
        "small.litert.compile(small.layers(), small.recipe(small.Rule(**small.INT8)), pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.tflite"], capture_output=True, text=True, check=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("", "")
