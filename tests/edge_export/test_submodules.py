"""The table of submodules, and what rewriting one promises: same numbers, published module untouched."""

import dataclasses
import inspect
from fnmatch import fnmatchcase

import pytest
import torch
from torch import Tensor, nn

from edge_export.backends import BACKENDS
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.model.config import ModelConfig
from edge_export.submodules import (
    AS_PUBLISHED,
    SUBMODULES,
    Part,
    Port,
    Rewrite,
    Submodule,
    programs_for,
    rewrite,
    submodules_for,
)
from edge_export.submodules.decoder import audio_layers
from quantization.layers import layers_of
from tests.edge_export.networks import NETWORKS, assert_same, config_with, kinds_in, randomized

# These pass through every rewrite as they are.
SHARED = {
    "conditioner": "prompt.t5.shared.weight",
    "dit": "transformer.layers.0.ff.ff.2.weight",
    "decoder": "layers.0.weight",
}
LATENTS, STRIDES = 35, (8, 16)
"""A clip that the decoder takes in three windows, each longer than two tiles."""

VARIANTS = {
    "as published": {},
    "three heads of 128, l2": {"dit": {"embed_dim": 384, "qk_norm": "l2"}},
    "one head, no norm": {"dit": {"embed_dim": 64, "num_heads": 1, "qk_norm": "none"}},
    "two queries a key": {"dit": {"num_heads": 6, "project_cond_tokens": False}},
    "gated t5 as wide as the conditioning": {"t5": {"gated": True, "d_model": 96}},
    "elu, tanh, scaled": {"decoder": {"use_snake": False, "final_tanh": True}, "latent_scale": 0.41},
}
each = pytest.mark.parametrize("name", list(SUBMODULES))
each_of_both = pytest.mark.parametrize(
    ("table", "name"),
    [(table, name) for table in (SUBMODULES, AS_PUBLISHED) for name in table],
    ids=lambda value: value if isinstance(value, str) else "published" if value is AS_PUBLISHED else "rewritten",
)
each_backend = pytest.mark.parametrize("backend", list(BACKENDS))


def small(decoder: dict[str, object] | None = None, **changes: object) -> ModelConfig:
    """The small network's config, with a decoder that is cut."""
    made = config_with(decoder={"strides": STRIDES, **(decoder or {})}, **changes)
    return dataclasses.replace(made, sample_size=LATENTS * made.decoder.hop)


CONFIG = small()


@pytest.fixture(scope="module")
def checkpoint(oracle) -> Checkpoint:
    return open_checkpoint(oracle)


def published(name: str, config: ModelConfig = CONFIG) -> nn.Module:
    return randomized(NETWORKS[name](config))


@pytest.mark.parametrize("mults", [(1, 2), (1, 4), (2, 2), (160, 80)], ids=str)
def test_audio_layers_are_those_that_give_as_many_channels_as_the_audio_has(mults):
    config = small({"channels": 2, "c_mults": mults})
    patterns = audio_layers(config.decoder)
    for name, layer in layers_of(published("decoder", config)).items():
        kept = any(fnmatchcase(name, pattern) for pattern in patterns)
        assert kept == (layer[0].out_channels == config.decoder.audio_channels), name


def test_of_the_published_decoder_only_the_last_layer_gives_audio(checkpoint):
    assert audio_layers(checkpoint.config.decoder) == ("layers.7",)


def inputs_of(name: str, config: ModelConfig = CONFIG) -> dict[str, Tensor]:
    """Inputs as at run time: a padded prompt, a sigma between 0 and 1."""
    part = rewrite(SUBMODULES[name], published(name, config), config, "executorch")
    inputs = part.example_inputs()
    if name == "conditioner":
        tokens = config.conditioner.tokens
        inputs["prompt_mask"] = (torch.arange(tokens) < 9).float()[None]
        inputs["input_ids"] = (torch.arange(tokens, dtype=torch.int32)[None] + 1) * inputs["prompt_mask"].int()
        inputs["seconds"] = torch.tensor([7.0])
    if name == "dit":
        inputs["sigma"] = torch.tensor([0.6])
    return inputs


def outputs_of(module: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        made = module(*inputs.values())
    return made if isinstance(made, tuple) else (made,)


def described(tensors: dict[str, Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def declared(ports: tuple[Port, ...]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {port.name: (port.torch_dtype, port.shape) for port in ports}


@pytest.mark.parametrize("table", [SUBMODULES, AS_PUBLISHED], ids=["rewritten", "published"])
def test_the_table_is_in_the_order_they_run(table):
    assert list(table) == ["conditioner", "dit", "decoder"]
    assert all(submodule.name == name for name, submodule in table.items())


def test_the_table_as_published_rewrites_nothing():
    assert (submodules_for(as_published=True), submodules_for(as_published=False)) == (AS_PUBLISHED, SUBMODULES)
    assert [submodule.rewrites for submodule in AS_PUBLISHED.values()] == [()] * 3
    assert all(submodule.rewrites for submodule in SUBMODULES.values())


@pytest.mark.parametrize(
    ("table", "names"),
    [(SUBMODULES, ["cross_k", "cross_v", "global_cond"]), (AS_PUBLISHED, ["cross_attn_cond", "global_cond"])],
    ids=["rewritten", "published"],
)
def test_what_the_conditioner_gives_the_dit_takes_by_name(table, names):
    given, taken = declared(table["conditioner"].outputs(CONFIG)), declared(table["dit"].inputs(CONFIG))
    assert list(given) == names
    assert list(taken) == ["latent", "sigma", *names]
    assert given.items() <= taken.items()


@pytest.mark.parametrize(
    ("table", "window"), [(SUBMODULES, 21), (AS_PUBLISHED, LATENTS)], ids=["rewritten", "published"]
)
def test_the_dit_works_on_the_whole_latent_and_the_decoder_on_a_window_of_it(table, window):
    dit, decoder = table["dit"], table["decoder"]
    assert declared(dit.inputs(CONFIG))["latent"] == declared(dit.outputs(CONFIG))["velocity"]
    assert declared(dit.inputs(CONFIG))["latent"] == (torch.float32, (1, 8, LATENTS))
    assert declared(decoder.inputs(CONFIG)) == {"latent": (torch.float32, (1, 8, window))}
    assert declared(decoder.outputs(CONFIG)) == {"audio": (torch.float32, (1, 2, window * 128))}


@each_of_both
def test_the_ports_are_what_the_oracles_modules_take_and_give(checkpoint, table, name):
    submodule, config = table[name], checkpoint.config
    module = submodule.load(checkpoint)
    ports = submodule.inputs(config)
    assert [port.name for port in ports] == list(inspect.signature(module.forward).parameters)
    inputs = Part(name=name, module=module, inputs=ports, outputs=submodule.outputs(config)).example_inputs()
    assert described(inputs) == declared(ports)
    names = [port.name for port in submodule.outputs(config)]
    assert described(dict(zip(names, outputs_of(module, inputs), strict=True))) == declared(submodule.outputs(config))


@each
def test_example_inputs_are_the_same_every_time(name):
    part = rewrite(SUBMODULES[name], published(name), CONFIG, "executorch")
    first, second = part.example_inputs(), part.example_inputs()
    torch.rand(3)
    assert list(first) == [port.name for port in part.inputs]
    assert all(torch.equal(first[port], second[port]) for port in first)


def test_example_inputs_of_one_shape_differ():
    """Two inputs that were swapped must not look alike."""
    ports = tuple(Port(name=name, dtype="float32", shape=(4,)) for name in ("a", "b"))
    made = Part(name="x", module=nn.Identity(), inputs=ports, outputs=()).example_inputs()
    assert not torch.equal(made["a"], made["b"])


@each_backend
@each
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_rewrites_together_keep_the_numbers(name, variant, backend):
    config = small(**VARIANTS[variant])
    module, inputs = published(name, config), inputs_of(name, config)
    part = rewrite(SUBMODULES[name], module, config, backend)
    with torch.inference_mode():
        after = part.module(**inputs)
    for before, made in zip(outputs_of(module, inputs), after, strict=True):
        assert_same(before, made)


def test_the_decoder_is_two_programs_where_it_can_be_cut():
    table = programs_for(CONFIG, as_published=False)
    assert list(table) == ["conditioner", "dit", "decoder", "decoder_tail"]
    assert [part.stage for part in table.values()] == ["conditioner", "dit", "decoder", "decoder"]
    assert declared(table["decoder"].inputs(CONFIG)) == {"latent": (torch.float32, (1, 8, 21))}
    assert declared(table["decoder"].outputs(CONFIG)) == {"features": (torch.float32, (1, 4, 21 * 16))}
    assert declared(table["decoder_tail"].inputs(CONFIG)) == {"features": (torch.float32, (1, 4, 140))}
    assert declared(table["decoder_tail"].outputs(CONFIG)) == {"audio": (torch.float32, (1, 2, 140 * 8))}


def test_a_decoder_that_cannot_be_cut_or_is_as_published_is_one_program():
    assert programs_for(CONFIG.shortened(8), as_published=False) == SUBMODULES
    assert programs_for(CONFIG, as_published=True) == AS_PUBLISHED


class Holds:
    """A checkpoint of one decoder."""

    def __init__(self, decoder: nn.Module) -> None:
        self.decoder = lambda: decoder


@each_backend
@pytest.mark.parametrize("variant", ["as published", "elu, tanh, scaled"])
def test_the_rewritten_parts_one_after_the_other_are_the_whole(variant, backend):
    config = small(**VARIANTS[variant])
    module, latent = published("decoder", config), inputs_of("decoder", config)["latent"]
    table, whole = programs_for(config, as_published=False), Holds(module)
    head, tail = (rewrite(table[name], table[name].load(whole), config, backend) for name in list(table)[2:])
    with torch.inference_mode():
        (features,) = head.module(latent=latent)
        (audio,) = tail.module(features=features)
        assert_same(module(latent), audio)


@each_backend
def test_the_layers_of_the_parts_are_those_of_the_whole(backend):
    """Under the names that recipes know them by."""
    table, whole = programs_for(CONFIG, as_published=False), Holds(published("decoder"))
    parts = [rewrite(table[name], table[name].load(whole), CONFIG, backend) for name in list(table)[2:]]
    head, tail = (set(layers_of(part.module)) for part in parts)
    assert head and tail and not head & tail
    uncut = rewrite(SUBMODULES["decoder"], whole.decoder(), CONFIG, backend)
    assert head | tail == set(layers_of(uncut.module))


@each
def test_a_part_as_published_is_the_published_module_itself(checkpoint, name):
    submodule = AS_PUBLISHED[name]
    module = submodule.load(checkpoint)
    part = rewrite(submodule, module, checkpoint.config, "executorch")
    assert kinds_in(part.module.module) == kinds_in(module)
    inputs = part.example_inputs()
    with torch.inference_mode():
        assert all(torch.equal(*pair) for pair in zip(part.module(**inputs), outputs_of(module, inputs), strict=True))


@each
def test_inputs_are_bound_by_name(name):
    part, inputs = rewrite(SUBMODULES[name], published(name), CONFIG, "executorch"), inputs_of(name)
    turned_round = dict(reversed(inputs.items()))
    with torch.inference_mode():
        pairs = zip(part.module(**inputs), part.module(**turned_round), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@each
def test_the_published_module_is_left_as_it_is(name):
    module, inputs = published(name), inputs_of(name)
    structure, outputs = str(module), outputs_of(module, inputs)
    tensors = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    rewrite(SUBMODULES[name], module, CONFIG, "executorch")
    assert str(module) == structure
    assert list(module.state_dict()) == list(tensors)
    assert all(torch.equal(module.state_dict()[key], tensor) for key, tensor in tensors.items())
    assert all(torch.equal(*pair) for pair in zip(outputs_of(module, inputs), outputs, strict=True))


@each
def test_weights_are_shared_and_not_copied(name):
    module = published(name)
    part = rewrite(SUBMODULES[name], module, CONFIG, "executorch")
    places = {tensor.data_ptr() for tensor in (*part.module.parameters(), *part.module.buffers())}
    assert module.get_parameter(SHARED[name]).data_ptr() in places


def test_a_rewrite_for_another_backend_is_left_out_and_the_rest_keep_their_order():
    applied: list[str] = []

    def step(name: str, *backends: str) -> Rewrite:
        def apply(module: nn.Module, config: ModelConfig) -> nn.Module:
            assert config is CONFIG
            applied.append(name)
            return module

        return Rewrite(name=name, apply=apply, backends=backends)

    submodule = Submodule(
        name="x",
        load=lambda _: nn.Identity(),
        inputs=lambda _: (Port(name="a", dtype="float32", shape=(1,)),),
        outputs=lambda _: (Port(name="b", dtype="float32", shape=(1,)),),
        rewrites=(step("one"), step("two", "litert"), step("three", "litert", "executorch"), step("four")),
    )
    rewrite(submodule, nn.Identity(), CONFIG, "executorch")
    assert applied == ["one", "three", "four"]
