"""Bundles of the oracle on every backend and recipe: they prove themselves, and a broken one is noticed."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_export import verify as proof
from edge_export.backends import BACKENDS, backend_for
from edge_export.errors import BundleError, OutputError, UsageError, VerificationError
from edge_export.pipeline import BuildRequest, export_bundle, refuse_failures
from edge_export.progress import silent
from edge_export.submodules import SUBMODULES
from edge_export.verify import Check
from quantization.recipes import RECIPES
from runtime_py.bundle import open_bundle
from runtime_py.engine import ENGINES, bundle_programs
from runtime_py.generation_spec import GenerationSpec
from runtime_py.generator import Generator
from runtime_py.loop import decode, joined, steps_from
from runtime_py.metrics import snr_db
from tests.fixtures.make_bundles import SMALLER

KINDS = [
    (backend, name)
    for backend in BACKENDS
    for name, recipe in RECIPES.items()
    if backend_for(backend).FLOAT16 or not recipe.float16
]
kinds = pytest.mark.parametrize(("backend", "recipe"), KINDS, ids=lambda value: value)
one_of_each_backend = pytest.mark.parametrize("backend", list(BACKENDS))
OF_THE_SMALL = ("int8-dit",)
"""Recipes that are proven on the small checkpoint: they are there to compare with."""
PROMPT = "warm arpeggios on house beats 120BPM with drums effect"


@pytest.fixture
def made(built, built_small) -> Callable[[str, str], Path]:
    """(backend, recipe) -> the bundle that the recipe is proven on."""
    return lambda backend, recipe: (built_small if recipe in OF_THE_SMALL else built)(backend, recipe)


def checks_of(folder) -> dict[tuple[str, str], proof.Check]:
    return {(check.stage, check.tensor.split(",")[0]): check for check in proof.verify(open_bundle(folder))}


def worst(checks: dict[tuple[str, str], proof.Check]) -> dict[str, float]:
    """The least SNR of each submodule, in dB."""
    return {name: min(check.snr_db for (stage, _), check in checks.items() if stage == name) for name in SUBMODULES}


def test_the_tables_of_backends_and_engines_fit_together():
    assert set(BACKENDS) == set(ENGINES)


@kinds
def test_a_bundle_proves_itself_to_its_thresholds(made, backend, recipe):
    checks = checks_of(made(backend, recipe))
    assert all(check.passed for check in checks.values())
    judged = {stage for stage, _ in checks if stage in SUBMODULES}
    assert judged == set(SUBMODULES)
    thresholds = RECIPES[recipe].thresholds
    assert thresholds.keys() == set(SUBMODULES)
    assert all(check.threshold_db == thresholds[stage] for (stage, _), check in checks.items() if stage in judged)
    quantized = {rule.submodule for rule in RECIPES[recipe].rules}
    for stage, found in worst(checks).items():
        assert found >= (25 if quantized & {stage, "*"} else 80)
    assert checks["tokenizer", "input_ids"].snr_db == math.inf


@one_of_each_backend
@pytest.mark.parametrize(
    ("recipe", "stages"), [("int8-dynamic", ("conditioner", "dit", "decoder")), ("int8-dit", ("dit",))]
)
def test_int8_is_smaller_and_really_quantized(built, built_small, backend, recipe, stages):
    """Every submodule that the recipe names, and no other."""
    bundles = built_small if recipe in OF_THE_SMALL else built
    whole, small = (open_bundle(bundles(backend, name)).manifest for name in ("fp32", recipe))
    snr_db = worst(checks_of(bundles(backend, recipe)))
    for stage in SUBMODULES:
        shrunk = small.programs[stage].bytes < 0.55 * whole.programs[stage].bytes
        assert (shrunk, snr_db[stage] < 60) == (stage in stages, stage in stages)


@kinds
def test_the_manifest_describes_the_programs(made, backend, recipe):
    manifest = open_bundle(made(backend, recipe)).manifest
    roles = [*SUBMODULES, *([] if RECIPES[recipe].as_published else ["decoder_tail"])]
    assert list(manifest.programs) == list(manifest.generation.programs) == roles
    dit = manifest.generation.programs["dit"]
    width = SMALLER.d_model if recipe in OF_THE_SMALL else 768
    published = {"cross_attn_cond": (1, 65, width)}
    keys = {"cross_k": (2, 65, 128), "cross_v": (2, 65, 128)}  # depth * heads, tokens, head_dim
    assert {tensor.name: tensor.shape for tensor in dit.inputs} == {
        "latent": (1, 64, 16),
        "sigma": (1,),
        **(published if RECIPES[recipe].as_published else keys),
        "global_cond": (1, width),
    }
    assert {tensor.name for tensor in manifest.generation.programs["conditioner"].outputs} == {
        tensor.name for tensor in dit.inputs
    } - {"latent", "sigma"}
    assert manifest.programs["dit"].graph.delegates >= 1
    names = [rule.pattern for rule in manifest.recipe.rules]
    assert not any(name.startswith("@") for name in names)
    assert ("layers.7" in names) == recipe.startswith("int8-dynamic")
    assert manifest.generation.seconds_limit == pytest.approx(32768 / 44100)


@kinds
def test_the_same_seed_gives_the_same_audio_and_another_seed_another(made, backend, recipe):
    bundle = open_bundle(made(backend, recipe))

    def play(seed: int) -> np.ndarray:
        return Generator(bundle, bundle_programs(bundle)).generate(PROMPT, seconds=0.5, seed=seed).audio

    first = play(7)
    assert first.shape == (2, 22050)
    assert np.array_equal(first, play(7))
    assert not np.allclose(first, play(8), atol=1e-3)


def test_fp32_plays_what_the_published_library_played(built, oracle):
    """The whole way on the library's own noise: 8 steps, audio at 60 dB or better."""
    expected = load_file(oracle / "expected.safetensors")
    bundle = open_bundle(built("executorch", "fp32"))
    spec, open_program = bundle.manifest.generation, bundle_programs(bundle)
    ids = expected["input_ids"].astype(np.int32)
    conditioning = open_program("conditioner").run(
        {"input_ids": ids, "prompt_mask": (ids != 0).astype(np.float32), "seconds": np.ones(1, np.float32)}
    )
    noise = iter(expected["noise"])
    *_, last = steps_from(spec, open_program, next(noise), noise, expected["sigmas"], conditioning)
    latent = last.tensors["clean"]
    audio = joined(decode(spec, open_program, latent, spec.latent.samples))
    assert snr_db(expected["latent"], latent) >= 60
    assert snr_db(expected["audio"], audio[None]) >= 60


@one_of_each_backend
def test_two_programs_swapped_are_refused_when_loaded(built, copy_of, backend, reseal):
    folder = copy_of(built(backend, "fp32"))
    bundle = open_bundle(folder)
    conditioner, decoder = (bundle.path(bundle.manifest.programs[name]) for name in ("conditioner", "decoder"))
    data = conditioner.read_bytes()
    conditioner.write_bytes(decoder.read_bytes())
    decoder.write_bytes(data)
    reseal(folder)
    with pytest.raises(BundleError, match="conditioner"):
        checks_of(folder)


@one_of_each_backend
@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated"])
def test_a_program_that_is_none_is_refused_even_with_a_true_hash(built, copy_of, backend, damage, reseal):
    folder = copy_of(built(backend, "fp32"))
    bundle = open_bundle(folder)
    path = bundle.path(bundle.manifest.programs["dit"])
    data = path.read_bytes()
    path.write_bytes({"garbage": b"\x7f" * 5000, "empty": b"", "truncated": data[: len(data) // 2]}[damage])
    reseal(folder)
    with pytest.raises(BundleError, match="dit"):
        checks_of(folder)


def test_a_changed_sigma_is_noticed(built, copy_of, reseal):
    folder = copy_of(built("executorch", "fp32"))
    bundle = open_bundle(folder)
    spec = bundle.manifest.generation
    first, second, *rest = spec.sampler.sigmas

    def changed(sigma: float) -> GenerationSpec:
        return dataclasses.replace(spec, sampler=dataclasses.replace(spec.sampler, sigmas=(first, sigma, *rest)))

    reseal(folder, generation=changed(second - 5e-7))
    assert not checks_of(folder)["sampler", "sigmas"].passed
    reseal(folder, generation=changed(second * 0.999))
    with pytest.raises(BundleError, match="sigmas: are not those of 4 steps"):
        checks_of(folder)


@pytest.mark.parametrize(
    ("tensor", "stage"),
    [
        ("input_ids", "tokenizer"),
        ("noise", "noise"),
        ("global_cond", "conditioner"),
        ("step_velocity", "dit"),
        ("audio", "decoder"),
    ],
)
def test_a_stage_that_is_off_fails_its_own_check(built, copy_of, tensor, stage, reseal):
    folder = copy_of(built("executorch", "fp32"))
    bundle = open_bundle(folder)
    path = bundle.path(bundle.manifest.golden)
    golden = load_file(path)
    golden[tensor] = golden[tensor] + (golden[tensor].std() * 1e-2 + 1).astype(golden[tensor].dtype)
    save_file(golden, path)
    reseal(folder)
    checks = checks_of(folder)
    failed = {check.stage for check in checks.values() if not check.passed}
    assert stage in failed
    with pytest.raises(VerificationError, match=stage):
        refuse_failures(tuple(checks.values()), (str(folder),))


def test_golden_vectors_of_another_shape_are_refused(built, copy_of, reseal):
    folder = copy_of(built("executorch", "fp32"))
    bundle = open_bundle(folder)
    path = bundle.path(bundle.manifest.golden)
    golden = load_file(path)
    golden["audio"] = golden["audio"][:, :-1]
    save_file(golden, path)
    reseal(folder)
    with pytest.raises(BundleError, match="audio is"):
        checks_of(folder)


@pytest.mark.build
def test_a_build_that_fails_its_proof_leaves_nothing(tmp_path, oracle, monkeypatch):
    strict = dataclasses.replace(RECIPES["fp32"], thresholds={**RECIPES["fp32"].thresholds, "decoder": 1000.0})
    monkeypatch.setitem(RECIPES, "fp32", strict)
    request = BuildRequest(out=tmp_path / "bundle", target="host", checkpoint=oracle, recipe="fp32", steps=1)
    with pytest.raises(VerificationError, match="decoder audio at") as caught:
        export_bundle(request, silent)
    command = f"`edge-export sensitivity {oracle} --backend executorch --submodule decoder --need 1000`"
    assert command in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def failed(stage: str, needs: float | None) -> Check:
    return Check(stage=stage, tensor="x", snr_db=1.0, max_error=1.0, threshold_db=needs, passed=False)


@pytest.mark.parametrize(
    ("checks", "command"),
    [
        ([failed("dit", 25.0), failed("decoder", 28.5)], "my bundle' --submodule dit --submodule decoder --need 28.5`"),
        ([failed("decoder", 28.0), failed("run", 3.0)], "my bundle' --submodule decoder --need 28`"),
        ([failed("noise", None)], "edge-export build --recipe fp32`"),
    ],
)
def test_what_fails_names_the_command_to_run_next(checks, command):
    with pytest.raises(VerificationError) as caught:
        refuse_failures(tuple(checks), ("my bundle",))
    assert command in str(caught.value)
    assert ("edge-export sensitivity 'my bundle" in str(caught.value)) == (checks[0].stage != "noise")


def test_an_interrupted_build_leaves_nothing(tmp_path, oracle):
    def interrupt(what: str, done: int, total: int) -> None:
        if "dit" in what:
            raise KeyboardInterrupt

    request = BuildRequest(out=tmp_path / "bundle", target="host", checkpoint=oracle, recipe="fp32", steps=1)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(request, interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "windows"}, "no target called 'windows'; choose from android-arm64, ios-arm64"),
        ({"recipe": "int8-dynamic-f16", "backend": "executorch"}, "computes in float16, which executorch cannot"),
        ({"backend": "onnx"}, "no backend called 'onnx'; choose from executorch, litert"),
        ({"recipe": "int4"}, "no recipe called 'int4'; choose from fp32, int8-dynamic"),
        ({"steps": 0}, "steps is 0, expected 1 to 1000"),
    ],
)
def test_unknown_names_list_the_choices_before_any_work(tmp_path, oracle, changes, message):
    request = BuildRequest(**{"out": tmp_path / "bundle", "target": "host", "checkpoint": oracle, **changes})
    with pytest.raises(UsageError) as caught:
        export_bundle(request, lambda *_: pytest.fail("work was begun"))
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_output_that_exists_is_left_alone(tmp_path, oracle, kind):
    out = tmp_path / "bundle"
    out.mkdir() if kind == "folder" else out.write_text("mine")
    request = BuildRequest(out=out, target="host", checkpoint=oracle)
    with pytest.raises(OutputError, match="exists"):
        export_bundle(request, lambda *_: pytest.fail("work was begun"))
    assert out.is_dir() if kind == "folder" else out.read_text() == "mine"


def test_the_manifest_names_no_path_of_the_machine(built, oracle):
    text = (built("executorch", "fp32") / "manifest.json").read_text()
    assert str(oracle.parent) not in text
    assert json.loads(text)["model"]["name"] == "oracle"


def test_a_bundle_carries_its_checkpoints_notices_and_notices_when_they_change(built, oracle, tmp_path):
    built("litert", "fp32")  # whose programs are taken out of the cache
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(oracle, checkpoint, ignore=shutil.ignore_patterns("expected*"))
    (checkpoint / "LICENSE.md").write_text("of the network")
    (checkpoint / "t5-base" / "LICENSE").write_text("of the text encoder")
    request = BuildRequest(
        out=tmp_path / "bundle", target="host", checkpoint=checkpoint, backend="litert", recipe="fp32", steps=1
    )
    export_bundle(request, silent)
    assert [spec.file for spec in open_bundle(request.out).manifest.notices] == ["LICENSE.md", "t5-base-LICENSE"]
    (request.out / "LICENSE.md").write_text("of the wetworks")
    with pytest.raises(BundleError, match=r"LICENSE\.md has 15 bytes"):
        open_bundle(request.out)
