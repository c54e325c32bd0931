"""Layers alone in int8: the arithmetic by its definition, the sum against all at once, and nothing left behind."""

import itertools
import json
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import MissingDependency, OutputError, UsageError
from edge_export.model.autoencoder import Decoder
from edge_export.model.conditioner import Conditioner
from edge_export.model.dit import Dit
from edge_export.sensitivity import LayerError, measure_layers, suggest
from edge_export.sensitivity.inputs import ReferenceInputs
from edge_export.sensitivity.layer_error import predicted_db, worst_first
from edge_export.sensitivity.measure import layer_errors, rewritten_part
from edge_export.sensitivity.plot import plot_sensitivity
from edge_export.sensitivity.rounding import in_int8, int8_activations, int8_weights
from edge_export.sensitivity.show import sensitivity_record, sensitivity_table
from edge_export.submodules import SUBMODULES, Part, Port, rewrite
from quantization.layers import layers_of
from quantization.recipe import Recipe, Rule
from runtime_py.metrics import snr_db
from runtime_py.sampler import SAMPLERS
from tests.edge_export.networks import CONFIG, noise, randomized

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = SimpleNamespace(
    config=CONFIG,
    conditioner=lambda: randomized(Conditioner(CONFIG.conditioner)),
    dit=lambda only=None: randomized(Dit(CONFIG.dit)),
    decoder=lambda: randomized(Decoder(CONFIG.decoder)),
)
each = pytest.mark.parametrize("name", list(SUBMODULES))


@pytest.fixture(scope="module")
def checkpoint(oracle) -> Checkpoint:
    return open_checkpoint(oracle)


@pytest.fixture(scope="module")
def measured(checkpoint) -> tuple[LayerError, ...]:
    return measure_layers(checkpoint, "litert", tuple(SUBMODULES))


def small_part(name: str, backend: str = "executorch") -> Part:
    return rewrite(SUBMODULES[name], SUBMODULES[name].load(SMALL), CONFIG, backend)


def inputs_of(part: Part) -> dict[str, Tensor]:
    inputs = part.example_inputs()
    if "sigma" in inputs:
        inputs["sigma"] = torch.tensor([0.6])
    return inputs


def part_of(module: nn.Module, *shape: int) -> Part:
    """A network that is no submodule of ours, with one input and one output."""
    port = Port(name="x", dtype="float32", shape=shape)

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (self.module(x),)

    return Part(name="x", module=Wrapper().eval(), inputs=(port,), outputs=(port,))


def outputs_of(part: Part, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    with torch.inference_mode():
        return [tensor.numpy() for tensor in part.module(**inputs)]


def in_all(part: Part, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    """The outputs with every layer in int8 at once."""
    with in_int8(module for layer in layers_of(part.module).values() for module in layer):
        return outputs_of(part, inputs)


def names(layers: Iterable[LayerError]) -> tuple[str, ...]:
    return tuple(layer.name for layer in layers)


def error(name: str, snr: float, submodule: str = "dit", share: float = 0.0) -> LayerError:
    return LayerError(
        submodule=submodule, name=name, operator="conv", parameters=1234, snr_db=snr, weights_snr_db=45.0, share=share
    )


def refused(*arguments, **options) -> str:
    with pytest.raises(UsageError) as caught:
        measure_layers(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_are_rounded_to_127_levels_on_either_side_of_each_channel():
    weight = torch.tensor([[127.0, 3.4, -2.6], [0.0, 0.0, 0.0], [-1.27, 0.634, 0.0]])
    expected = torch.tensor([[127.0, 3.0, -3.0], [0.0, 0.0, 0.0], [-1.27, 0.63, 0.0]])
    assert torch.allclose(int8_weights(weight, 0), expected, rtol=0, atol=1e-6)
    assert torch.allclose(int8_weights(weight.T, 1), expected.T, rtol=0, atol=1e-6)


def test_activations_are_rounded_to_256_levels_from_least_to_largest():
    x = torch.tensor([[0.0, 255.0, 7.4, 99.6], [-1.0, 1.54, 0.123, 0.0]])
    expected = torch.tensor([[0.0, 255.0, 7.0, 100.0], [-1.0, 1.54, 0.12, 0.0]])
    scale = 2.54 / 255  # of the second row, whose zero point is rounded too
    made = int8_activations(x, (-1,))
    assert torch.equal(made[0], expected[0])
    assert (made[1] - expected[1]).abs().max() <= scale
    assert made[1, 3] == 0


@pytest.mark.parametrize("over", [None, (-1,)])
def test_activations_that_never_change_stay(over):
    assert torch.equal(int8_activations(torch.zeros(3, 4), over), torch.zeros(3, 4))
    assert torch.allclose(int8_activations(torch.full((3, 4), -3.0), over), torch.full((3, 4), -3.0))


def test_a_loud_token_leaves_the_others_of_a_linear_alone_but_not_of_a_convolution():
    x = noise(4, 64)
    x[0] *= 1000
    by_token, by_tensor = int8_activations(x, (-1,)), int8_activations(x)
    assert snr_db(x[1:].numpy(), by_token[1:].numpy()) > 40
    assert snr_db(x[1:].numpy(), by_tensor[1:].numpy()) < 10


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(16, 8), noise(1, 5, 16)),
        (nn.Conv2d(16, 8, (1, 3), padding=(0, 1)), noise(1, 16, 1, 20)),
        (nn.ConvTranspose2d(16, 8, (1, 4), stride=(1, 2)), noise(1, 16, 1, 20)),
    ],
    ids=["linear", "convolution", "transposed"],
)
def test_a_layer_in_int8_multiplies_rounded_weights_with_rounded_activations(layer, x):
    transposed, linear = isinstance(layer, nn.ConvTranspose2d), isinstance(layer, nn.Linear)
    randomized(layer)
    with torch.no_grad():  # one loud output channel must not spoil the others' scales
        layer.weight[(slice(None), 3) if transposed else 3] *= 1000
    with in_int8([layer]):
        made = layer(x)
    again: Any = object.__new__(type(layer))
    again.__dict__ = {**layer.__dict__, "_parameters": dict(layer._parameters)}
    again.weight = nn.Parameter(int8_weights(layer.weight, 1 if transposed else 0), requires_grad=False)
    assert torch.equal(made, again(int8_activations(x, (-1,) if linear else None)))
    quiet = [channel for channel in range(8) if channel != 3]
    pair = (tensor.movedim(-1 if linear else 1, 0)[quiet].numpy() for tensor in (layer(x), made))
    assert snr_db(*pair) > 30


def test_an_embedding_has_rounded_rows():
    table = randomized(nn.Embedding(10, 6))
    ids = torch.tensor([[3, 7]], dtype=torch.int32)
    with in_int8([table]):
        assert torch.equal(table(ids), int8_weights(table.weight, 0)[ids])


def everything_in_int8() -> Recipe:
    rule = Rule(weights="int8-channel", activations="int8-dynamic")
    return Recipe(name="", summary="", rules=(rule,), thresholds={})


def test_a_linear_is_as_the_build_for_executorch_quantizes_it():
    """Activations to the last bit; weights by another grid: torchao's scale is the largest weight over 127.5."""
    from quantization.xnnpack import quantize_linears

    part = part_of(randomized(nn.Linear(512, 64)), 1, 20, 512)
    inputs = part.example_inputs()
    reference, ours = outputs_of(part, inputs), in_all(part, inputs)
    quantize_linears(part.module, "x", everything_in_int8())
    theirs, layer = outputs_of(part, inputs), part.module.module
    again = nn.functional.linear(int8_activations(inputs["x"], (-1,)), layer.weight.dequantize(), layer.bias)
    assert snr_db(theirs[0], again.numpy()) > 100
    assert snr_db(reference[0], ours[0]) == pytest.approx(snr_db(reference[0], theirs[0]), abs=0.5)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(16, 8, (1, 3), padding=(0, 1)), nn.ConvTranspose2d(16, 8, (1, 4), stride=(1, 2))],
    ids=["convolution", "transposed"],
)
def test_a_convolution_is_as_the_build_for_executorch_quantizes_it(layer):
    from quantization.xnnpack import quantize_convolutions

    part = part_of(randomized(layer), 1, 16, 1, 40)
    inputs = part.example_inputs()
    reference, ours = outputs_of(part, inputs), in_all(part, inputs)
    exported = torch.export.export(part.module, (), inputs).module()
    quantized = quantize_convolutions(exported, part.module, "x", everything_in_int8(), inputs)
    assert quantized is not None
    theirs = quantized(**inputs)[0]
    assert snr_db(reference[0], ours[0]) < 50
    assert snr_db(theirs.numpy(), ours[0]) > 70


@each
@pytest.mark.parametrize("backend", ["executorch", "litert"])
def test_the_summed_noise_is_that_of_all_layers_at_once(name, backend):
    part = small_part(name, backend)
    inputs = inputs_of(part)
    errors = layer_errors(part, inputs, layers_of(part.module))
    together = min(snr_db(*pair) for pair in zip(outputs_of(part, inputs), in_all(part, inputs)))
    assert predicted_db(errors) == pytest.approx(together, abs=3)
    assert together < min(error.snr_db for error in errors)
    assert sum(error.share for error in errors) == pytest.approx(1)


@each
def test_afterwards_the_network_is_as_it_was(name):
    part = small_part(name)
    inputs = inputs_of(part)
    tensors = dict(part.module.named_parameters())
    copies = {key: tensor.clone() for key, tensor in tensors.items()}
    before = outputs_of(part, inputs)
    layer_errors(part, inputs, layers_of(part.module))
    after = dict(part.module.named_parameters())
    assert after.keys() == tensors.keys()
    assert all(after[key] is tensors[key] and torch.equal(after[key], copies[key]) for key in tensors)
    assert not any(module._forward_pre_hooks for module in part.module.modules())
    assert all(np.array_equal(*pair) for pair in zip(before, outputs_of(part, inputs)))


def test_whatever_happens_weights_come_back():
    layers = [randomized(nn.Linear(4, 4)), randomized(nn.Conv2d(4, 4, 1))]
    weights = [layer.weight for layer in layers]
    with pytest.raises(KeyboardInterrupt), in_int8(layers):
        assert all(layer.weight is not weight for layer, weight in zip(layers, weights))
        raise KeyboardInterrupt
    with pytest.raises(AttributeError), in_int8([*layers, nn.ReLU()]):
        pytest.fail("a layer without weights has none to round")
    assert all(layer.weight is weight for layer, weight in zip(layers, weights))
    assert not any(layer._forward_pre_hooks for layer in layers)


def test_a_layer_made_bad_comes_first_and_the_suggestion_leaves_it_in_float():
    """Huge weights for a channel that is silent: they take the scale, and nothing is left for those that are not."""
    part = small_part("decoder")
    inputs = {"latent": inputs_of(part)["latent"].clone()}
    inputs["latent"][:, 0] = 0
    first = part.module.module.layers[0]
    good = predicted_db(layer_errors(part, inputs, layers_of(part.module)))
    with torch.no_grad():
        first.weight[:, 0] = 100
    errors = layer_errors(part, inputs, layers_of(part.module))
    assert worst_first(errors)[0].name == "layers.0"
    assert predicted_db(errors) < good - 10
    assert errors[0].share > 0.9
    assert errors[0].weights_snr_db > 40, "the weights themselves look well"
    assert names(suggest(errors, good - 1)) == ("layers.0",)


def test_a_layer_that_is_not_used_changes_nothing():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.lost = randomized(nn.Linear(8, 8)), randomized(nn.Linear(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x) + 0 * self.lost(x)

    part = part_of(Half(), 1, 8)
    used, lost = layer_errors(part, part.example_inputs(), layers_of(part.module))
    assert (used.name, used.share) == ("used", 1)
    assert (lost.name, lost.share, lost.snr_db) == ("lost", 0, math.inf)
    assert suggest([used, lost], math.inf) == (used,)


def test_a_layer_that_makes_nan_has_all_the_noise():
    part = part_of(nn.Sequential(randomized(nn.Linear(8, 8)), randomized(nn.Linear(8, 8))), 1, 8)
    inputs, layers = part.example_inputs(), layers_of(part.module)
    part.module.module[1].weight[0, 0] = math.inf
    errors = layer_errors(part, inputs, layers)
    assert [error.snr_db for error in errors] == [-math.inf, -math.inf]
    assert [error.share for error in errors] == [0.5, 0.5]
    assert predicted_db(errors) == -math.inf
    assert len(suggest(errors, 0)) == 2


def test_pieces_of_a_cut_weight_are_one_layer():
    class Cut(nn.Module):
        def __init__(self, pieces: list[nn.Conv2d]) -> None:
            super().__init__()
            for index, piece in enumerate(pieces):
                self.add_module(f"cut_{index}", piece)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([piece(x) for piece in self.children()], dim=1)

    whole = randomized(nn.Conv2d(6, 8, (1, 3)))
    pieces = [nn.Conv2d(6, 4, (1, 3)).requires_grad_(False) for _ in range(2)]
    for piece, weight, bias in zip(pieces, whole.weight.chunk(2), whole.bias.chunk(2)):
        piece.weight.copy_(weight)
        piece.bias.copy_(bias)
    parts = [part_of(nn.Sequential(nn.Identity(), layer), 1, 6, 1, 30) for layer in (whole, Cut(pieces))]
    uncut, cut = (layer_errors(part, part.example_inputs(), layers_of(part.module)) for part in parts)
    assert list(layers_of(parts[1].module)) == ["1"]
    assert cut == [replace(uncut[0], snr_db=pytest.approx(uncut[0].snr_db))]


@each
@pytest.mark.parametrize("backend", ["executorch", "litert"])
def test_a_shorter_clip_changes_no_name(checkpoint, name, backend):
    submodule, config = SUBMODULES[name], checkpoint.config
    whole = rewrite(submodule, submodule.load(checkpoint), config, backend)
    part = rewritten_part(name, checkpoint, backend, 3)
    assert list(layers_of(part.module)) == list(layers_of(whole.module))
    cut = part.inputs != whole.inputs
    assert cut == (name == "decoder")


@each
def test_inputs_are_what_the_reference_sees(checkpoint, name):
    part = rewritten_part(name, checkpoint, "executorch", 3)
    inputs = ReferenceInputs(checkpoint).of(part)
    assert {key: tuple(tensor.shape) for key, tensor in inputs.items()} == {
        port.name: port.shape for port in part.inputs
    }
    assert all(inputs[port.name].dtype == port.torch_dtype for port in part.inputs)
    assert all(tensor.float().std() > 0 for tensor in inputs.values() if tensor.numel() > 1)
    if name == "dit":
        assert inputs["sigma"] == pytest.approx(SAMPLERS["pingpong"].sigmas(8)[4])
    if name == "decoder":
        clean, length = ReferenceInputs(checkpoint).last_step["clean"], part.inputs[0].shape[-1]
        starts = [start for start in range(clean.shape[-1]) if start + length <= clean.shape[-1]]
        assert any(np.array_equal(inputs["latent"], clean[..., start : start + length]) for start in starts)


def test_every_layer_of_the_network_is_measured_once(checkpoint, measured):
    for name in SUBMODULES:
        errors = [error for error in measured if error.submodule == name]
        part = rewritten_part(name, checkpoint, "litert", 24)
        assert [error.name for error in errors] == list(layers_of(part.module))
        assert sum(error.share for error in errors) == pytest.approx(1)
        assert all(error.snr_db > 20 for error in errors)
        assert all(25 < error.weights_snr_db < 70 for error in errors)
    assert {error.operator for error in measured} == {"linear", "conv", "embedding"}


def test_a_pattern_chooses_layers_and_shares_are_among_those(checkpoint, measured):
    chosen = measure_layers(checkpoint, "litert", ("dit",), "*.ff.*")
    expected = [error for error in measured if error.submodule == "dit" and ".ff." in error.name]
    assert 0 < len(chosen) < sum(error.submodule == "dit" for error in measured)
    assert [(error.name, error.snr_db) for error in chosen] == [
        (error.name, pytest.approx(error.snr_db)) for error in expected
    ]
    assert sum(error.share for error in chosen) == pytest.approx(1)


def test_submodules_come_in_the_order_asked_for_and_once(checkpoint):
    pattern = "*layers.0*"
    errors = measure_layers(checkpoint, "executorch", ("decoder", "dit", "decoder"), pattern, latents=1)
    names = [name for name, _ in itertools.groupby(error.submodule for error in errors)]
    assert names == ["decoder", "dit"]
    assert len({(error.submodule, error.name) for error in errors}) == len(errors)


def test_progress_counts_the_layers(checkpoint):
    reports: list[tuple[str, int, int]] = []
    errors = measure_layers(
        checkpoint, "executorch", ("decoder",), "layers.?", lambda *report: reports.append(report), latents=1
    )
    assert reports[0] == ("loading the decoder", 0, 1)
    assert reports[1:] == [(f"decoder: {error.name}", done, len(errors)) for done, error in enumerate(errors)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("litert", ("decodr",)), "no submodule called 'decodr'; did you mean 'decoder'? choose from conditioner, dit"),
        (("litert", ("dit", "zzz")), "no submodule called 'zzz'; choose from conditioner, dit, decoder"),
        (("lite-rt", ("dit",)), "no backend called 'lite-rt'; did you mean 'litert'?"),
        (("litert", ()), "no layer of no submodule matches '*'"),
        (("litert", ("decoder",), "layers.1.layer.1"), "no layer of decoder matches .*; nearest: layers.1."),
        (("litert", ("dit", "decoder"), "transformer.project_int"), "no layer of dit, decoder matches .*project_in"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_what_is_nearest_before_anything_runs(
    checkpoint, monkeypatch, arguments, message
):
    monkeypatch.setattr(ReferenceInputs, "of", lambda *_: pytest.fail("ran"))
    pattern = ".*".join(map(re.escape, message.split(".*")))
    assert re.match(pattern, refused(checkpoint, *arguments))


@pytest.mark.parametrize("latents", [0, -1])
def test_a_window_of_nothing_is_refused(checkpoint, latents):
    assert f"latents is {latents}" in refused(checkpoint, "litert", ("decoder",), latents=latents)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.floats(-5, 100))
def test_the_suggestion_is_the_fewest_layers_that_reach_the_threshold(snrs, threshold):
    errors = [error(str(index), snr) for index, snr in enumerate(snrs)]
    suggested = names(suggest(errors, threshold))

    def reaches(float_layers: tuple[str, ...]) -> bool:
        return predicted_db(error for error in errors if error.name not in float_layers) >= threshold - 1e-9

    assert reaches(suggested)
    fewer = itertools.combinations([error.name for error in errors], max(0, len(suggested) - 1))
    assert not suggested or not any(
        predicted_db(e for e in errors if e.name not in left) >= threshold + 1e-9 for left in fewer
    )
    by_name = {error.name: error.snr_db for error in errors}
    assert [by_name[name] for name in suggested] == sorted(by_name[name] for name in suggested)


def test_each_submodule_reaches_the_threshold_by_itself():
    errors = [error("a", 20), error("b", 40), error("c", 20, "decoder"), error("d", 19, "decoder")]
    assert names(suggest(errors, 30)) == ("a", "d", "c")
    assert suggest(errors, 16) == ()
    assert names(suggest(errors[:2], 39.9)) == ("a",)


def test_noise_powers_add():
    assert predicted_db([error("a", 30), error("b", 30)]) == pytest.approx(30 - 10 * math.log10(2))
    assert predicted_db([error("a", math.inf)]) == math.inf


def test_the_table_shows_the_worst_first_with_numbers_to_the_right():
    table = sensitivity_table([error("fine", math.inf), error("worst", 12.34, share=0.9), error("bad", 20, share=0.1)])
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["layer"] == ["worst", "bad", "fine"]
    assert columns["SNR dB"] == ["12.3", "20.0", "equal"]
    assert columns["noise"] == ["90.0%", "10.0%", "0.0%"]
    assert columns["parameters"][0] == "1,234"
    right = {column.header for column in table.columns if column.justify == "right"}
    assert right == {"parameters", "SNR dB", "weights dB", "noise"}


def test_the_record_is_plain_json_without_infinities():
    errors = [error("fine", math.inf), error("worst", 10), error("nan", -math.inf, "decoder")]
    record = json.loads(json.dumps(sensitivity_record(errors), allow_nan=False))
    assert record["predicted_snr_db"] == {"dit": pytest.approx(10), "decoder": None}
    assert [(layer["name"], layer["snr_db"], layer["equal"]) for layer in record["layers"]] == [
        ("worst", 10, False),
        ("fine", None, True),
        ("nan", None, False),
    ]
    assert record["layers"][0] == {**vars(errors[1]), "equal": False}


def picture_size(path) -> tuple[int, int]:
    from matplotlib.image import imread

    height, width, _ = imread(path).shape
    return height, width


def test_a_picture_is_drawn_with_a_panel_for_each_submodule(tmp_path, measured):
    plot_sensitivity(tmp_path / "all.png", measured)
    plot_sensitivity(tmp_path / "dit.png", [error for error in measured if error.submodule == "dit"])
    assert (tmp_path / "all.png").read_bytes().startswith(PNG)
    (tall, width), (low, same) = picture_size(tmp_path / "all.png"), picture_size(tmp_path / "dit.png")
    assert tall > 1.5 * low
    assert width == same > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.png", "dit.png"]


def test_the_worst_forty_layers_are_drawn_and_named(tmp_path, monkeypatch):
    errors = [error(f"layer.{index}", 20 + index / 10, share=1 / 60) for index in range(60)]
    text = drawn_text(tmp_path, errors, monkeypatch)
    assert "dit: the worst 40 of 60 layers" in text
    assert "layer.39<" in text
    assert "layer.40<" not in text
    assert text.index("layer.0<") < text.index("layer.39<")


@pytest.mark.parametrize("snr", [math.inf, -math.inf, 12.0])
def test_any_noise_can_be_drawn(tmp_path, monkeypatch, snr):
    text = drawn_text(tmp_path, [error("only", snr, share=float(snr < math.inf))], monkeypatch)
    assert "only<" in text
    assert ("no change<" in text) == (snr == math.inf)


def drawn_text(tmp_path, errors, monkeypatch) -> str:
    """An SVG whose letters are text."""
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    plot_sensitivity(tmp_path / "a.svg", errors)
    return (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("name", ["a.wav", "picture", "missing/a.png"])
def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, name):
    with pytest.raises(OutputError, match=name) as caught:
        plot_sensitivity(tmp_path / name, [error("a", 20)])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"pip install 'edge-export\[plot\]'"):
        plot_sensitivity(tmp_path / "a.png", [error("a", 20)])
