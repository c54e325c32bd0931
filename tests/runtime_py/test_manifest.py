"""The contract: it round-trips, and whatever breaks it is refused with the path of the offence."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.errors import BundleError
from runtime_py.manifest import (
    SCHEMA_VERSION,
    AudioSpec,
    ConditioningSpec,
    GoldenSpec,
    GraphSpec,
    LatentSpec,
    Manifest,
    ManifestError,
    ModelSpec,
    ProgramSpec,
    RecipeSpec,
    RuleSpec,
    SamplerSpec,
    TargetSpec,
    TensorSpec,
    TokenizerSpec,
    dump_manifest,
    load_manifest,
    parse_manifest,
    sealed,
)
from tests.shared import replaced

HASH = "0123456789abcdef" * 4


def tensor(name: str, position: int = 0, shape: tuple[int, ...] = (1, 64, 16)) -> TensorSpec:
    return TensorSpec(name=name, position=position, dtype="float32", shape=shape)


def program(name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> ProgramSpec:
    graph = GraphSpec(delegates=1, delegated=10, undelegated={"cat": 1})
    return ProgramSpec(
        name=name, file=f"{name}.pte", sha256=HASH, bytes=10, inputs=inputs, outputs=outputs, graph=graph
    )


MANIFEST = Manifest(
    schema_version=SCHEMA_VERSION,
    model=ModelSpec(
        name="test",
        model_type="diffusion_cond",
        diffusion_objective="rf_denoiser",
        checkpoint_sha256=HASH,
        parameters={"dit": 12},
        license="none",
    ),
    target=TargetSpec(name="host", cpu_features=("asimd",)),
    backend="executorch",
    recipe=RecipeSpec(
        name="fp32",
        rules=(RuleSpec(submodule="dit", operator="linear", pattern="*", weights="float32", activations="float32"),),
        thresholds={"dit": 80.0},
        float16=("decoder",),
        straight=False,
    ),
    conditioning=ConditioningSpec(tokens=64, seconds_min=0.0, seconds_max=256.0),
    latent=LatentSpec(shape=(64, 16), hop=2048, margin=3),
    audio=AudioSpec(sample_rate=44100, channels=2),
    sampler=SamplerSpec(kind="pingpong", sigmas=(1.0, 0.8807970881462097, 0.0), logsnr=(-6.0, 2.0)),
    programs=(
        program("dit", (tensor("latent"), tensor("sigma", 1, (1,))), (tensor("velocity"),)),
        program("decoder", (tensor("latent"),), (tensor("audio", shape=(1, 2, 32768)),)),
    ),
    tokenizer=TokenizerSpec(file="tokenizer.json", sha256=HASH, bytes=10, kind="sentencepiece-unigram"),
    golden=GoldenSpec(
        file="golden.safetensors", sha256=HASH, bytes=10, prompt="birds, 鳥", seconds=0.5, seed=0, steps=2
    ),
    toolchain={"torch": "2.13.0"},
)


def altered(path: str, value: Any) -> str:
    """The manifest's JSON with the value at a dotted path replaced; "..." as value deletes the key."""
    return resealed(replaced(json.loads(dump_manifest(MANIFEST)), path, value))


def resealed(document: dict) -> str:
    """JSON text with the seal that it should have: what is wrong with it is something else."""
    return sealed(json.dumps({**document, "seal": ""}))


def test_round_trip():
    assert parse_manifest(dump_manifest(MANIFEST)) == MANIFEST


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"position": 0', '"position": 00'),
        ("44100", "48000"),
        ('"steps": 2', '"steps": 3'),
        ("\n}", "\n }"),
        ('"seal": "', '"seal":  "'),
    ],
)
def test_an_altered_manifest_is_noticed_even_where_the_contract_still_holds(old, new):
    text = dump_manifest(MANIFEST)
    assert old in text
    with pytest.raises(ManifestError, match=r"seal: is not that of this file|not valid JSON"):
        parse_manifest(text.replace(old, new))


def test_two_swapped_inputs_are_noticed():
    inputs = MANIFEST.programs[0].inputs
    document = json.loads(dump_manifest(MANIFEST))
    for spec, position in zip(document["programs"][0]["inputs"], reversed(range(len(inputs)))):
        spec["position"] = position
    with pytest.raises(ManifestError, match="seal: is not that of this file"):
        parse_manifest(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def test_a_manifest_without_a_seal_is_refused():
    document = json.loads(dump_manifest(MANIFEST))
    del document["seal"]
    with pytest.raises(ManifestError, match="seal: is missing"):
        parse_manifest(json.dumps(document))


def test_the_seal_is_sha256_of_the_file_with_an_empty_seal():
    text = dump_manifest(MANIFEST)
    seal = json.loads(text)["seal"]
    assert hashlib.sha256(text.replace(seal, "").encode()).hexdigest() == seal


def test_a_later_version_is_called_that_even_with_unknown_keys():
    document = json.loads(dump_manifest(MANIFEST)) | {"schema_version": SCHEMA_VERSION + 1, "novel": 1}
    with pytest.raises(ManifestError, match="upgrade edge-export"):
        parse_manifest(json.dumps(document))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("novel", 1, "novel: is not a key"),
        ("programs.0.novel", 1, r"programs\[0\].novel: is not a key"),
        ("sampler", ..., "sampler: is missing"),
        ("programs.0.inputs.0.shape", ..., r"programs\[0\].inputs\[0\].shape: is missing"),
        ("backend", 3, "backend: expected str, found int"),
        ("audio.sample_rate", True, "audio.sample_rate: expected int, found bool"),
        ("latent.shape", "64", "latent.shape: expected a list"),
        ("latent.shape", [64, 0], "latent.shape"),
        ("latent.shape", [1 << 20, 1 << 20], "latent.shape"),
        ("latent.margin", ..., "latent.margin: is missing"),
        ("latent.margin", -1, "latent.margin: is out of bounds"),
        ("latent.margin", 1 << 21, "latent.margin: is out of bounds"),
        ("latent.margin", 1e300, "latent.margin: expected int, found float"),
        ("recipe.straight", ..., "recipe.straight: is missing"),
        ("recipe.straight", 0, "recipe.straight: expected bool, found int"),
        ("recipe.float16", "decoder", "recipe.float16: expected a list, found str"),
        ("recipe.float16", [1], r"recipe.float16\[0\]: expected str, found int"),
        ("programs.1.inputs.0.name", "latents", "programs.decoder.inputs: has no 'latent'"),
        ("programs.1.outputs.0.name", "sound", "programs.decoder.outputs: has no 'audio'"),
        ("programs.1.inputs.0.shape", [64, 16], r"programs.decoder.inputs.latent.shape: is not \(1, channels, length"),
        ("programs.1.inputs.0.shape", [], "programs.decoder.inputs.latent.shape: is not"),
        ("programs.1.inputs.0.shape", [1, 32, 16], r"decoder.inputs.latent.shape: is not \(1, 64, 16\)"),
        ("programs.1.inputs.0.shape", [2, 64, 16], r"decoder.inputs.latent.shape: is not \(1, 64, 16\)"),
        ("programs.1.inputs.0.shape", [1, 64, 8], r"decoder.outputs.audio.shape: is not \(1, 2, 16384\)"),
        ("programs.1.inputs.0.shape", [1, 64, 1 << 24], "neither the whole clip nor wider than its margins"),
        ("programs.1.outputs.0.shape", [1, 1, 32768], r"decoder.outputs.audio.shape: is not \(1, 2, 32768\)"),
        ("audio.channels", 1, r"decoder.outputs.audio.shape: is not \(1, 1, 32768\)"),
        ("latent.hop", 1024, r"decoder.outputs.audio.shape: is not \(1, 2, 16384\)"),
        ("programs.0.file", "../dit.pte", "is not a plain file name"),
        ("programs.0.file", "/etc/passwd", "is not a plain file name"),
        ("programs.0.file", "a/b.pte", "is not a plain file name"),
        ("programs.0.file", "a\\b.pte", "is not a plain file name"),
        ("programs.0.file", "..", "is not a plain file name"),
        ("programs.0.file", "dit.pte\0", "is not a plain file name"),
        ("programs.0.file", "manifest.json", "names the manifest itself"),
        ("programs.0.file", "tokenizer.json", "names a file twice"),
        ("programs.0.sha256", "abc", "64 hex digits"),
        ("programs.0.bytes", -1, "out of bounds"),
        ("programs.0.inputs.1.name", "latent", "names a tensor twice"),
        ("programs.0.inputs.1.position", 0, "positions"),
        ("programs.0.inputs.1.position", 2, "positions"),
        ("programs.0.inputs.1.dtype", "bool", "is none of"),
        ("programs", [], "programs: is empty"),
        ("sampler.sigmas", [1.0, 1.0, 0.0], "must fall from 1 to 0"),
        ("sampler.sigmas", [0.9, 0.0], "must fall from 1 to 0"),
        ("sampler.sigmas", [1.0, 0.5, 0.0], "sampler.sigmas: are not those of 2 steps from logSNR -6 to 2"),
        ("sampler.logsnr", [-6.0, 3.0], "sampler.sigmas: are not those of 2 steps from logSNR -6 to 3"),
        ("sampler.kind", "euler", "expected 'pingpong'"),
        ("tokenizer.kind", "bpe", "sentencepiece-unigram"),
        ("schema_version", "1", "is not a version number"),
        ("schema_version", 0, "is not a version number"),
    ],
)
def test_a_broken_contract_is_refused_with_its_path(path, value, message):
    with pytest.raises(ManifestError, match=message):
        parse_manifest(altered(path, value))


def of_window(window: int, margin: int = 3) -> str:
    """The manifest's JSON with a decoder that takes `window` latents, and shapes to fit."""
    decoder = program(
        "decoder", (tensor("latent", shape=(1, 64, window)),), (tensor("audio", shape=(1, 2, window * 2048)),)
    )
    latent = dataclasses.replace(MANIFEST.latent, margin=margin)
    return dump_manifest(dataclasses.replace(MANIFEST, latent=latent, programs=(MANIFEST.programs[0], decoder)))


@pytest.mark.parametrize(("window", "margin"), [(7, 3), (15, 7), (16, 3), (16, 8), (16, 1000), (1, 0)])
def test_a_window_is_the_whole_clip_or_wider_than_its_margins(window, margin):
    manifest = parse_manifest(of_window(window, margin))
    assert (manifest.window, manifest.latent.length, manifest.latent.margin) == (window, 16, margin)


@pytest.mark.parametrize(("window", "margin"), [(6, 3), (1, 3), (15, 8), (17, 3), (17, 0)])
def test_another_window_is_refused(window, margin):
    """Of one no wider than its margins no latent's sound would be right: the runtime would never come to an end."""
    with pytest.raises(ManifestError, match=r"latent\.shape: is neither the whole clip nor wider than its margins"):
        parse_manifest(of_window(window, margin))


def test_a_program_that_takes_no_latent_has_no_window():
    with pytest.raises(ManifestError, match="programs: has no program 'decoder'"):
        _ = dataclasses.replace(MANIFEST, programs=MANIFEST.programs[:1]).window


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_version_is_called_that_and_not_by_what_it_lacks(version):
    document = json.loads(dump_manifest(MANIFEST)) | {"schema_version": version, "dropped": 1}
    del document["latent"]["margin"], document["recipe"]["straight"]
    with pytest.raises(ManifestError, match=rf"schema_version: is {version}: .*older.*build it again$") as caught:
        parse_manifest(json.dumps(document))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"schema_version": NaN}', "[" * 100_000, '{"schema_version": 1, "schema_version": 1}'],
)
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(ManifestError):
        parse_manifest(text)


def test_a_missing_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(BundleError, match="edge-export build"):
        load_manifest(tmp_path)


def test_a_manifest_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="cannot read"):
        load_manifest(tmp_path)


def test_a_huge_manifest_is_not_read(tmp_path: Path):
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(ManifestError, match="larger"):
        load_manifest(tmp_path)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


PLACES = places(json.loads(dump_manifest(MANIFEST)))


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON)
def test_any_value_anywhere_is_read_or_refused_but_never_crashes(place, value):
    document = json.loads(dump_manifest(MANIFEST))
    target = document
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
    try:
        manifest = parse_manifest(resealed(document))
    except BundleError as error:
        assert "manifest.json" in str(error)
    else:
        assert dataclasses.is_dataclass(manifest)
        assert parse_manifest(dump_manifest(manifest)) == manifest
