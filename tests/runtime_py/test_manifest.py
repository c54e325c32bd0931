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
from runtime_py.generation_spec import (
    ROLES,
    AudioSpec,
    ConditioningSpec,
    FeaturesSpec,
    GenerationSpec,
    Interface,
    LatentSpec,
    SamplerSpec,
    TensorSpec,
)
from runtime_py.manifest import (
    SCHEMA_VERSION,
    FileSpec,
    GoldenSpec,
    GraphSpec,
    Manifest,
    ManifestError,
    MemorySpec,
    ModelSpec,
    ProgramSpec,
    RecipeSpec,
    RuleSpec,
    TargetSpec,
    TokenizerSpec,
    dump_manifest,
    load_manifest,
    parse_manifest,
    sealed,
)
from runtime_py.request import Request
from runtime_py.schema import SchemaError
from tests.shared import replaced

HASH = "0123456789abcdef" * 4
FEATURES = 8
"""Channels of what a decoder hands to its tail."""


def tensor(name: str, position: int = 0, shape: tuple[int, ...] = (1, 64, 16), dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, position=position, dtype=dtype, shape=shape)


def program(name: str) -> ProgramSpec:
    graph = GraphSpec(delegates=1, delegated=10, undelegated={"cat": 1})
    memory = MemorySpec(packed_bytes=1000, kept_bytes=900, working_bytes=100)
    return ProgramSpec(file=f"{name}.pte", sha256=HASH, bytes=10, graph=graph, memory=memory)


def decoder(window: int, *, hop: int = 2048) -> Interface:
    """A decoder of `window` latents."""
    audio = tensor("audio", shape=(1, 2, window * hop))
    return Interface(inputs=(tensor("latent", shape=(1, 64, window)),), outputs=(audio,))


def decoder_parts(window: int, *, rate: int, tile: int, hop: int = 2048) -> dict[str, Interface]:
    """The same as two programs, with `rate` features of one latent, of which the tail takes `tile`."""
    handed, taken = (tensor("features", shape=(1, FEATURES, length)) for length in (window * rate, tile))
    audio = tensor("audio", shape=(1, 2, tile * (hop // rate)))
    return {
        "decoder": Interface(inputs=(tensor("latent", shape=(1, 64, window)),), outputs=(handed,)),
        "decoder_tail": Interface(inputs=(taken,), outputs=(audio,)),
    }


def dit(length: int) -> Interface:
    """A dit for a clip of `length` latents."""
    latent, velocity = (tensor(name, shape=(1, 64, length)) for name in ("latent", "velocity"))
    conditioning = (tensor("cross_k", 2, (4, 65, 8)), tensor("global_cond", 3, (1, 8)))
    return Interface(inputs=(latent, tensor("sigma", 1, (1,)), *conditioning), outputs=(velocity,))


PROGRAMS = {
    "conditioner": Interface(
        inputs=(
            tensor("input_ids", shape=(1, 64), dtype="int32"),
            tensor("prompt_mask", 1, (1, 64)),
            tensor("seconds", 2, (1,)),
        ),
        outputs=(tensor("cross_k", shape=(4, 65, 8)), tensor("global_cond", 1, (1, 8))),
    ),
    "dit": dit(16),
    "decoder": decoder(16),
}
SPEC = GenerationSpec(
    conditioning=ConditioningSpec(tokens=64, seconds_min=0.0, seconds_max=256.0),
    latent=LatentSpec(shape=(64, 16), hop=2048, margin=3),
    audio=AudioSpec(sample_rate=44100, channels=2),
    sampler=SamplerSpec(
        kind="pingpong",
        parameters={"logsnr_low": -6.0, "logsnr_high": 2.0},
        sigmas=(1.0, 0.8807970881462097, 0.0),
    ),
    programs=PROGRAMS,
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
        as_published=False,
    ),
    generation=SPEC,
    programs={role: program(role) for role in PROGRAMS},
    tokenizer=TokenizerSpec(file="tokenizer.json", sha256=HASH, bytes=10, kind="sentencepiece-unigram"),
    notices=(FileSpec(file="LICENSE.txt", sha256=HASH, bytes=10),),
    golden=GoldenSpec(
        file="golden.safetensors",
        sha256=HASH,
        bytes=10,
        request=Request(prompt="birds, 鳥", seconds=0.5, seed=0, steps=2),
    ),
    toolchain={"torch": "2.13.0"},
)


TAILED = dataclasses.replace(
    MANIFEST,
    generation=dataclasses.replace(
        SPEC,
        programs=PROGRAMS | decoder_parts(16, rate=4, tile=20),
        features=FeaturesSpec(rate=4, margin=2),
    ),
    programs={role: program(role) for role in ROLES},
)
"""The same, its decoder being two programs."""


def altered(path: str, value: Any, manifest: Manifest = MANIFEST) -> str:
    """The manifest's JSON with the value at a dotted path replaced; "..." as value deletes the key."""
    return resealed(replaced(json.loads(dump_manifest(manifest)), path, value))


def resealed(document: dict) -> str:
    """JSON text with the seal that it should have: what is wrong with it is something else."""
    return sealed(json.dumps({**document, "seal": ""}))


@pytest.mark.parametrize("manifest", [MANIFEST, TAILED], ids=["one decoder", "two programs"])
def test_round_trip(manifest):
    assert parse_manifest(dump_manifest(manifest)) == manifest


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
    document = json.loads(dump_manifest(MANIFEST))
    inputs = document["generation"]["programs"]["dit"]["inputs"]
    for spec, position in zip(inputs, reversed(range(len(inputs)))):
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
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document))
    assert str(caught.value) == (
        "manifest.json: schema_version: is 6, this edge-export reads up to 5; upgrade edge-export"
    )


DIT, DECODER, CONDITIONER = (f"generation.programs.{role}" for role in ("dit", "decoder", "conditioner"))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("novel", 1, "novel: is not a key"),
        ("programs.dit.novel", 1, r"programs.dit.novel: is not a key"),
        ("generation.novel", 1, "generation.novel: is not a key"),
        ("generation", ..., "generation: is missing"),
        ("generation.sampler", ..., "generation.sampler: is missing"),
        (f"{DIT}.inputs.0.shape", ..., r"generation.programs.dit.inputs\[0\].shape: is missing"),
        ("backend", 3, "backend: expected str, found int"),
        ("generation.audio.sample_rate", True, "generation.audio.sample_rate: expected int, found bool"),
        ("generation.latent.shape", "64", "generation.latent.shape: expected a list"),
        ("generation.latent.shape", [64, 0], "generation.latent.shape: must be"),
        ("generation.latent.shape", [1 << 20, 1 << 20], "generation.latent.shape: is too large"),
        ("generation.latent.margin", ..., "generation.latent.margin: is missing"),
        ("generation.latent.margin", -1, "generation.latent.margin: is out of bounds"),
        ("generation.latent.margin", 1 << 21, "generation.latent.margin: is out of bounds"),
        ("generation.latent.margin", 1e300, "generation.latent.margin: expected int, found float"),
        ("recipe.as_published", ..., "recipe.as_published: is missing"),
        ("recipe.as_published", 0, "recipe.as_published: expected bool, found int"),
        ("recipe.straight", False, "recipe.straight: is not a key"),
        ("recipe.float16", "decoder", "recipe.float16: expected a list, found str"),
        ("recipe.float16", [1], r"recipe.float16\[0\]: expected str, found int"),
        (f"{CONDITIONER}.inputs.0.name", "ids", f"{CONDITIONER}.inputs: are not input_ids int32"),
        (f"{CONDITIONER}.inputs.0.dtype", "int64", f"{CONDITIONER}.inputs: are not input_ids int32"),
        (f"{CONDITIONER}.inputs.1.shape", [1, 63], f"{CONDITIONER}.inputs: are not .*prompt_mask float32"),
        (f"{CONDITIONER}.inputs.2.shape", [], f"{CONDITIONER}.inputs: are not .*seconds float32"),
        ("generation.conditioning.tokens", 65, f"{CONDITIONER}.inputs: are not input_ids int32\\[1, 65\\]"),
        (f"{CONDITIONER}.outputs.0.name", "keys", f"{DIT}.inputs: are not latent .*, keys float32"),
        (f"{CONDITIONER}.outputs.1.shape", [1, 9], f"{DIT}.inputs: are not .* global_cond float32\\[1, 9\\]"),
        (f"{DIT}.inputs.0.name", "noise", f"{DIT}.inputs: are not latent"),
        (f"{DIT}.inputs.1.shape", [2], f"{DIT}.inputs: are not .* sigma float32\\[1\\]"),
        (f"{DIT}.inputs.2.dtype", "float16", f"{DIT}.inputs: are not .* cross_k float32"),
        (f"{DIT}.outputs.0.name", "noise", f"{DIT}.outputs: are not velocity float32"),
        (f"{DIT}.outputs.0.shape", [1, 64, 15], f"{DIT}.outputs: are not velocity float32\\[1, 64, 16\\]"),
        (f"{DECODER}.inputs.0.name", "latents", f"{DECODER}.inputs: has no 'latent'"),
        (f"{DECODER}.outputs.0.name", "sound", f"{DECODER}.outputs: are not audio float32"),
        (f"{DECODER}.inputs.0.shape", [64, 16], f"{DECODER}.inputs.latent.shape: is not \\(1, channels, length"),
        (f"{DECODER}.inputs.0.shape", [], f"{DECODER}.inputs.latent.shape: is not"),
        (f"{DECODER}.inputs.0.shape", [1, 32, 16], f"{DECODER}.inputs: are not latent float32\\[1, 64, 16\\]"),
        (f"{DECODER}.inputs.0.shape", [2, 64, 16], f"{DECODER}.inputs: are not latent float32\\[1, 64, 16\\]"),
        (f"{DECODER}.inputs.0.shape", [1, 64, 8], f"{DECODER}.outputs: are not audio float32\\[1, 2, 16384\\]"),
        (f"{DECODER}.inputs.0.shape", [1, 64, 1 << 24], "neither the whole clip nor wider than its margins"),
        (f"{DECODER}.inputs.0.dtype", "float16", f"{DECODER}.inputs: are not latent float32"),
        (f"{DECODER}.outputs.0.shape", [1, 1, 32768], f"{DECODER}.outputs: are not audio float32\\[1, 2, 32768\\]"),
        ("generation.audio.channels", 1, f"{DECODER}.outputs: are not audio float32\\[1, 1, 32768\\]"),
        ("generation.latent.hop", 1024, f"{DECODER}.outputs: are not audio float32\\[1, 2, 16384\\]"),
        ("programs.dit.file", "../dit.pte", "is not a plain file name"),
        ("programs.dit.file", "/etc/passwd", "is not a plain file name"),
        ("programs.dit.file", "a/b.pte", "is not a plain file name"),
        ("programs.dit.file", "a\\b.pte", "is not a plain file name"),
        ("programs.dit.file", "..", "is not a plain file name"),
        ("programs.dit.file", "dit.pte\0", "is not a plain file name"),
        ("programs.dit.file", "manifest.json", "programs.dit.file: names the manifest itself"),
        ("programs.dit.file", "tokenizer.json", "programs: name the file .'tokenizer.json'. twice"),
        ("golden.file", "LICENSE.txt", "programs: name the file .'LICENSE.txt'. twice"),
        ("notices.0.file", "notes/LICENSE", r"notices\[0\].file: 'notes/LICENSE' is not a plain file name"),
        ("notices.0.bytes", ..., r"notices\[0\].bytes: is missing"),
        ("notices", ..., "notices: is missing"),
        ("programs.dit.sha256", "abc", "64 hex digits"),
        ("programs.dit.bytes", -1, "out of bounds"),
        ("programs.dit.memory", ..., "programs.dit.memory: is missing"),
        ("programs.dit.memory.packed_bytes", -1, "programs.dit.memory.packed_bytes: is out of bounds"),
        ("programs.dit.memory.kept_bytes", -1, "programs.dit.memory.kept_bytes: is out of bounds"),
        ("programs.dit.memory.kept_bytes", ..., "programs.dit.memory.kept_bytes: is missing"),
        ("programs.dit.memory.working_bytes", (1 << 44) + 1, "memory.working_bytes: is out of bounds"),
        ("programs.dit.memory.working_bytes", 1.5, "memory.working_bytes: expected int, found float"),
        (f"{DIT}.inputs.1.name", "latent", f"{DIT}.inputs: names a tensor twice"),
        (f"{DIT}.inputs.1.position", 0, f"{DIT}.inputs: positions"),
        (f"{DIT}.inputs.1.position", 4, f"{DIT}.inputs: positions"),
        (f"{DIT}.inputs.1.dtype", "bool", "is none of"),
        ("programs", [], "programs: expected an object, found list"),
        ("programs", {}, r"programs: are \[\], generation.programs has"),
        ("programs.dit", ..., r"programs: are \['conditioner', 'decoder'\], generation.programs has"),
        ("generation.programs", {}, "generation.programs.conditioner: is missing"),
        (DIT, ..., f"{DIT}: is missing"),
        ("generation.programs.encoder", {"inputs": [], "outputs": []}, "programs.encoder.inputs: is empty"),
        ("generation.sampler.sigmas", [1.0, 1.0, 0.0], "must fall from 1 to 0"),
        ("generation.sampler.sigmas", [0.9, 0.0], "must fall from 1 to 0"),
        (
            "generation.sampler.sigmas",
            [1.0, 0.5, 0.0],
            "generation.sampler.sigmas: are not those of 2 steps with logsnr_low -6, logsnr_high 2",
        ),
        (
            "generation.sampler.parameters.logsnr_high",
            3.0,
            "generation.sampler.sigmas: are not those of 2 steps with logsnr_low -6, logsnr_high 3",
        ),
        ("generation.sampler.parameters.logsnr_high", -6.0, "sampler.parameters: must have logsnr_low below"),
        ("generation.sampler.parameters.logsnr_high", 1e6, "sampler.parameters: must have logsnr_low below"),
        ("generation.sampler.parameters.logsnr_high", ..., "sampler.parameters: are logsnr_low, expected logsnr_low,"),
        ("generation.sampler.parameters.rho", 7, "sampler.parameters: are logsnr_low, logsnr_high, rho, expected"),
        ("generation.sampler.kind", "euler", "expected 'pingpong'"),
        ("golden.request.steps", None, "golden.request.steps: is not a number"),
        ("golden.request.steps", ..., "golden.request.steps: is missing"),
        ("golden.request.seed", ..., "golden.request.seed: is missing"),
        ("golden.request.steps", 1001, "golden.request: steps is 1001"),
        ("golden.request.seconds", 1.0, "golden.request: seconds is 1, this model makes at most 0.743"),
        ("golden.request.seed", -1, "golden.request: seed is -1"),
        ("golden.request.prompt", " ", "golden.request: the prompt is empty"),
        ("golden.request.mood", "sad", "golden.request.mood: is not a key"),
        ("tokenizer.kind", "bpe", "sentencepiece-unigram"),
        ("schema_version", "1", "is not a version number"),
        ("schema_version", True, "is not a version number"),
        ("schema_version", 0, "is not a version number"),
    ],
)
def test_a_broken_contract_is_refused_with_its_path(path, value, message):
    with pytest.raises(ManifestError, match=message):
        parse_manifest(altered(path, value))


TAIL = "generation.programs.decoder_tail"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("generation.features", ..., "generation.features: is missing"),
        ("generation.features", None, f"{TAIL}: is no role; expected conditioner, dit, decoder$"),
        ("generation.features", [], r"generation.features: expected an object, found list"),
        ("generation.features.tile", 20, "generation.features.tile: is not a key"),
        ("generation.features.rate", ..., "generation.features.rate: is missing"),
        ("generation.features.rate", 0, "generation.features.rate: is out of bounds"),
        ("generation.features.rate", (1 << 20) + 1, "generation.features.rate: is out of bounds"),
        ("generation.features.rate", 3, "generation.features.rate: does not divide latent.hop"),
        ("generation.features.rate", 4.0, "generation.features.rate: expected int, found float"),
        ("generation.features.rate", 2, "neither the whole window nor wider than its margins|decoder.outputs: are not"),
        ("generation.features.margin", -1, "generation.features.margin: is out of bounds"),
        ("generation.features.margin", (1 << 20) + 1, "generation.features.margin: is out of bounds"),
        ("generation.features.margin", 13, "generation.features.margin: reaches beyond latent.margin"),
        ("generation.features.margin", 10, f"{TAIL}.inputs.features.shape: is neither the whole window nor wider"),
        ("generation.latent.margin", 0, "generation.features.margin: reaches beyond latent.margin"),
        (TAIL, ..., f"{TAIL}: is missing"),
        ("programs.decoder_tail", ..., r"programs: are \['conditioner', 'dit', 'decoder'\], generation.programs has"),
        ("programs.decoder_tail.file", "dit.pte", "programs: name the file .'dit.pte'. twice"),
        (f"{TAIL}.inputs.0.name", "feature", f"{TAIL}.inputs: has no 'features'"),
        (f"{TAIL}.inputs.0.dtype", "float16", f"{TAIL}.inputs: are not features float32\\[1, 8, 20\\]"),
        (f"{TAIL}.inputs.0.shape", [8, 20], f"{TAIL}.inputs.features.shape: is not \\(1, channels, length"),
        (f"{TAIL}.inputs.0.shape", [1, 8, 65], f"{TAIL}.inputs.features.shape: is neither the whole window nor wider"),
        (f"{TAIL}.inputs.0.shape", [1, 8, 4], f"{TAIL}.inputs.features.shape: is neither the whole window nor wider"),
        (f"{TAIL}.inputs.0.shape", [1, 8, 64], f"{TAIL}.outputs: are not audio float32\\[1, 2, 32768\\]"),
        (f"{TAIL}.inputs.0.shape", [1, 9, 20], f"{DECODER}.outputs: are not features float32\\[1, 9, 64\\]"),
        (f"{TAIL}.inputs.0.shape", [2, 8, 20], f"{TAIL}.inputs: are not features float32\\[1, 8, 20\\]"),
        (f"{TAIL}.outputs.0.name", "sound", f"{TAIL}.outputs: are not audio float32\\[1, 2, 10240\\]"),
        (f"{TAIL}.outputs.0.shape", [1, 2, 10239], f"{TAIL}.outputs: are not audio float32\\[1, 2, 10240\\]"),
        (f"{DECODER}.outputs.0.name", "audio", f"{DECODER}.outputs: are not features float32\\[1, 8, 64\\]"),
        (f"{DECODER}.outputs.0.shape", [1, 8, 63], f"{DECODER}.outputs: are not features float32\\[1, 8, 64\\]"),
        (f"{DECODER}.inputs.0.shape", [1, 64, 6], "decoder.inputs.latent.shape: is neither the whole clip nor wider"),
        ("generation.latent.hop", 1024, f"{TAIL}.outputs: are not audio float32\\[1, 2, 5120\\]"),
        ("generation.latent.hop", 2050, "generation.features.rate: does not divide latent.hop"),
        ("generation.audio.channels", 1, f"{TAIL}.outputs: are not audio float32\\[1, 1, 10240\\]"),
    ],
)
def test_a_broken_tail_is_refused_with_its_path(path, value, message):
    with pytest.raises(ManifestError, match=message):
        parse_manifest(altered(path, value, TAILED))


def test_features_without_a_tail_are_refused():
    with pytest.raises(ManifestError, match=rf"{TAIL}: is missing"):
        parse_manifest(altered("generation.features", {"rate": 4, "margin": 2}))


@pytest.mark.parametrize(("tile", "margin"), [(64, 2), (64, 12), (5, 2), (1, 0), (25, 12)])
def test_a_tile_is_the_whole_window_or_wider_than_its_margins(tile, margin):
    spec = dataclasses.replace(
        SPEC,
        programs=PROGRAMS | decoder_parts(16, rate=4, tile=tile),
        features=FeaturesSpec(rate=4, margin=margin),
    )
    found = parse_manifest(dump_manifest(dataclasses.replace(TAILED, generation=spec))).generation
    assert (found.tile, found.tail_hop, found.features) == (tile, 512, FeaturesSpec(rate=4, margin=margin))


def test_a_part_that_no_runtime_knows_is_refused():
    document = json.loads(dump_manifest(MANIFEST))
    document["generation"]["programs"]["mixer"] = document["generation"]["programs"]["decoder"]
    with pytest.raises(ManifestError, match=r"generation\.programs\.mixer: is no role; expected conditioner, dit"):
        parse_manifest(resealed(document))


def of_window(window: int, margin: int = 3) -> str:
    """The manifest's JSON with a decoder that takes `window` latents, and shapes to fit."""
    latent, programs = dataclasses.replace(SPEC.latent, margin=margin), PROGRAMS | {"decoder": decoder(window)}
    spec = dataclasses.replace(SPEC, latent=latent, programs=programs)
    return dump_manifest(dataclasses.replace(MANIFEST, generation=spec))


@pytest.mark.parametrize(("window", "margin"), [(7, 3), (15, 7), (16, 3), (16, 8), (16, 1000), (1, 0)])
def test_a_window_is_the_whole_clip_or_wider_than_its_margins(window, margin):
    spec = parse_manifest(of_window(window, margin)).generation
    assert (spec.window, spec.latent.length, spec.latent.margin) == (window, 16, margin)


@pytest.mark.parametrize(("window", "margin"), [(6, 3), (1, 3), (15, 8), (17, 3), (17, 0)])
def test_another_window_is_refused(window, margin):
    """Of one no wider than its margins no latent's sound would be right: the runtime would never come to an end."""
    with pytest.raises(ManifestError, match=r"latent\.shape: is neither the whole clip nor wider than its margins"):
        parse_manifest(of_window(window, margin))


def test_a_program_that_takes_no_latent_has_no_window():
    silent = Interface(inputs=(tensor("sigma", shape=(1,)),), outputs=(tensor("audio"),))
    with pytest.raises(SchemaError, match=r"generation\.programs\.decoder\.inputs: has no 'latent'"):
        _ = dataclasses.replace(SPEC, programs=PROGRAMS | {"decoder": silent}).window


def test_files_and_their_order_are_the_manifests():
    names = ["conditioner.pte", "dit.pte", "decoder.pte", "tokenizer.json", "LICENSE.txt", "golden.safetensors"]
    assert [spec.file for spec in parse_manifest(dump_manifest(MANIFEST)).files] == names


def test_the_keys_are_in_the_order_of_the_contract():
    document = json.loads(dump_manifest(MANIFEST))
    assert list(document) == [
        "schema_version", "model", "target", "backend", "recipe", "generation", "programs", "tokenizer", "notices",
        "golden", "toolchain", "seal",
    ]  # fmt: skip
    assert list(document["generation"]) == ["conditioning", "latent", "audio", "sampler", "programs", "features"]
    assert list(document["programs"]) == list(document["generation"]["programs"]) == ["conditioner", "dit", "decoder"]
    assert list(document["programs"]["dit"]) == ["file", "sha256", "bytes", "graph", "memory"]
    assert list(document["golden"]["request"]) == ["prompt", "seconds", "seed", "steps"]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_version_is_called_that_and_not_by_what_it_lacks(version):
    document = json.loads(dump_manifest(MANIFEST)) | {"schema_version": version, "dropped": 1}
    del document["generation"]["latent"]["margin"], document["recipe"]["as_published"]
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document))
    assert str(caught.value) == (
        f"manifest.json: schema_version: is {version}, this edge-export reads 5: made by an earlier version; "
        "build it again, or fetch a newer one"
    )


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
