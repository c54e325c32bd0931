"""`compare --wav`: a WAV that says how it was made is held against its request made again; on committed bundles."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime_py.audio import read_wav, wav_bytes
from runtime_py.bundle import open_bundle
from runtime_py.engine import bundle_programs
from runtime_py.finishing import Finishing
from runtime_py.generator import Clip, Generator
from runtime_py.request import Request
from runtime_py.tags import Tags, info_chunk
from tests.fixtures.make_bundles import FOLDER, SMALLEST, write_checkpoint

REQUEST = Request(prompt="rain", seconds=0.2, seed=3, steps=1)
OTHER = {"fp32": "int8-dynamic", "int8-dynamic": "fp32"}
both_recipes = pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic"])


def bundle_of(recipe: str) -> Path:
    return FOLDER / recipe / "bundle"


@pytest.fixture(scope="module")
def clip() -> Callable[[str], Clip]:
    """What a recipe's bundle makes of REQUEST."""
    made: dict[str, Clip] = {}

    def of(recipe: str) -> Clip:
        if recipe not in made:
            bundle = open_bundle(bundle_of(recipe))
            made[recipe] = Generator(bundle, bundle_programs(bundle)).generate(REQUEST)
        return made[recipe]

    return of


@pytest.fixture(scope="session")
def smallest(run_folder) -> Path:
    """The checkpoint of the committed bundles."""
    folder = run_folder / "smallest"
    if not folder.exists():
        write_checkpoint(folder, SMALLEST)
    return folder


def changed(clip: Clip, audio: np.ndarray) -> Clip:
    return replace(clip, audio=audio.astype(np.float32))


@both_recipes
@pytest.mark.parametrize(
    "how", [{}, {"normalize": True}, {"fade": False}, {"float32": True}, {"normalize": True, "float32": True}]
)
def test_a_wav_is_byte_for_byte_what_its_bundle_makes(edge_export, clip, tmp_path, recipe, how):
    clip(recipe).save(tmp_path / "x.wav", **how)
    shown = edge_export("compare", "--wav", tmp_path / "x.wav", bundle_of(recipe), "--json", "--against", "bundle")
    made = json.loads(shown.out)
    assert (shown.code, made["passed"], made["same_bytes"], made["against"]) == (0, True, True, "bundle")
    assert made["request"] == {"prompt": "rain", "seconds": 0.2, "seed": 3, "steps": 1}
    assert made["finishing"] == {"normalize": False, "fade": True} | {key: how[key] for key in how if key != "float32"}
    assert made["checks"][0]["equal"]


def test_the_reference_is_taken_where_its_checkpoint_is(edge_export, clip, smallest, tmp_path):
    clip("fp32").save(tmp_path / "x.wav", normalize=True)
    words = ("compare", "--wav", tmp_path / "x.wav", bundle_of("fp32"))
    made = json.loads(edge_export(*words, "--json").out)
    assert (made["against"], made["same_bytes"], made["passed"]) == ("bundle", True, True)
    shown = edge_export(*words, "--checkpoint", smallest)
    assert shown.code == 0
    assert "'rain', 0.2 s, seed 3, 1 steps, normalized, executorch fp32" in shown.out
    assert "Against the fp32 reference, the request made again" in shown.out
    assert "Passed" in shown.out and "byte" not in shown.out
    made = json.loads(edge_export(*words, "--checkpoint", smallest, "--json").out)
    assert (made["against"], made["same_bytes"], made["passed"]) == ("reference", None, True)
    assert 80 == made["checks"][0]["threshold_db"] < made["checks"][0]["snr_db"]


@pytest.mark.parametrize("float32", [False, True])
@pytest.mark.parametrize("against", ["bundle", "reference"])
def test_another_sound_under_the_same_tags_is_noticed(edge_export, clip, smallest, tmp_path, against, float32):
    made, noise = clip("fp32"), np.random.default_rng(0)
    off = made.audio * (1 + 1e-3 * noise.standard_normal(made.audio.shape))
    changed(made, off).save(tmp_path / "x.wav", float32=float32)
    more = ("--against", against, *(("--checkpoint", smallest) if against == "reference" else ()))
    result = edge_export("compare", "--wav", tmp_path / "x.wav", bundle_of("fp32"), *more)
    assert result.code == 5
    assert "its sound at " in result.error and "(needs " in result.error
    assert ("The file's bytes are others" in result.out) == (against == "bundle")


def test_a_level_of_16_bits_now_and_then_is_no_other_sound(edge_export, clip, tmp_path):
    """What float32 in another order of sums comes to; two levels of every sample are another sound."""
    made, noise = clip("fp32"), np.random.default_rng(0)
    for levels, share, code in ((1, 0.01, 0), (2, 1.0, 5)):
        step = levels / 32767 * (noise.random(made.audio.shape) < share)
        changed(made, made.audio + step).save(tmp_path / "x.wav")
        result = edge_export("compare", "--wav", tmp_path / "x.wav", bundle_of("fp32"), "--against", "bundle")
        assert result.code == code
        assert "The file's bytes are others" in result.out


def test_int8_is_only_shown_unless_its_recipe_demands_something_of_a_run(edge_export, clip, reseal, copy_of, tmp_path):
    made, noise = clip("int8-dynamic"), np.random.default_rng(0)
    off = made.audio + 0.01 * noise.standard_normal(made.audio.shape)
    folder = copy_of(bundle_of("int8-dynamic"))
    changed(made, off).save(tmp_path / "x.wav")
    result = edge_export("compare", "--wav", tmp_path / "x.wav", folder, "--against", "bundle")
    assert (result.code, "Not judged" in result.out, "Passed" in result.out) == (0, True, False)
    recipe = open_bundle(folder).manifest.recipe
    reseal(folder, recipe=replace(recipe, thresholds=recipe.thresholds | {"run": 40.0}))
    generator = Generator(open_bundle(folder), bundle_programs(open_bundle(folder)))
    changed(generator.generate(REQUEST), off).save(tmp_path / "x.wav")
    result = edge_export("compare", "--wav", tmp_path / "x.wav", folder, "--against", "bundle")
    assert (result.code, "(needs 40)" in result.error) == (5, True)


def test_nan_is_too_far_off(edge_export, clip, tmp_path):
    made = clip("fp32")
    made.save(tmp_path / "x.wav", float32=True)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    start = data.index(b"data") + 8
    data[start : start + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "x.wav").write_bytes(data)
    result = edge_export("compare", "--wav", tmp_path / "x.wav", bundle_of("fp32"), "--json")
    assert (result.code, "NaN or infinity" in result.error) == (5, True)
    assert json.loads(result.out)["checks"][0]["snr_db"] is None


def test_a_whole_clip_is_not_faded(edge_export, tmp_path):
    bundle = open_bundle(bundle_of("fp32"))
    seconds = bundle.manifest.generation.seconds_limit
    whole = Generator(bundle, bundle_programs(bundle)).generate(replace(REQUEST, seconds=seconds))
    assert not whole.cut
    whole.save(tmp_path / "x.wav", float32=True)
    np.testing.assert_array_equal(read_wav(tmp_path / "x.wav")[0], whole.audio)
    result = edge_export("compare", "--wav", tmp_path / "x.wav", bundle.folder, "--against", "bundle")
    assert (result.code, "Every byte of the file is the same" in result.out) == (0, True)


def tagged(path: Path, clip: Clip, request: Request, rate: int | None = None) -> Path:
    """The clip's sound, with the tags of another request."""
    tags = Tags(bundle=clip.bundle, request=request, finishing=Finishing())
    path.write_bytes(wav_bytes(clip.audio, rate or clip.sample_rate, after=info_chunk(tags)))
    return path


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"seconds": 0.3}, {}, "holds 2 x 8820 samples at 44100 Hz, its request makes 2 x 13230 at 44100 Hz"),
        ({}, {"rate": 8000}, "holds 2 x 8820 samples at 8000 Hz"),
        ({"seconds": 99.0}, {}, "says what this bundle cannot play: seconds is 99"),
        ({"steps": 10**6}, {}, "steps is 1000000"),
        ({"seed": -1}, {}, "seed is -1"),
        ({"prompt": " "}, {}, "the prompt is empty"),
    ],
)
def test_tags_that_do_not_fit_are_refused(edge_export, clip, tmp_path, change, more, said):
    path = tagged(tmp_path / "x.wav", clip("fp32"), replace(REQUEST, **change), **more)
    result = edge_export("compare", "--wav", path, bundle_of("fp32"))
    assert (result.code, said in result.error) == (12, True), result.err


@both_recipes
def test_a_wav_of_another_bundle_or_of_none_is_refused(edge_export, clip, tmp_path, recipe):
    path = tmp_path / "x.wav"
    clip(recipe).save(path)
    result = edge_export("compare", "--wav", path, bundle_of(OTHER[recipe]))
    assert (result.code, "is of another bundle than" in result.error) == (12, True)
    clip(recipe).save(path, tags=False)
    result = edge_export("compare", "--wav", path, bundle_of(recipe))
    assert (result.code, "holds no tags of edge-export (it has none)" in result.error) == (12, True)
    result = edge_export("compare", "--wav", tmp_path / "none.wav", bundle_of(recipe))
    assert (result.code, "cannot read" in result.error) == (12, True)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["{bundle}", "--against", "golden"], 2, "cannot be held against 'golden'; choose from reference, bundle"),
        (["{bundle}", "--against", "run.json"], 2, "cannot be held against 'run.json'"),
        (["{bundle}", "--checkpoint", "nowhere"], 2, "there is no checkpoint at nowhere"),
        (["{bundle}", "--matrix"], 2, "--matrix is of records; leave it or --wav out"),
        (["{bundle}", "--report", "x.html"], 2, "--report is of records; leave it or --wav out"),
        (["{bundle}", "{bundle}"], 2, "--wav takes the bundle that the WAV was made from, and nothing else"),
        (["{bundle}/manifest.json"], 2, "--wav takes the bundle"),
        (["nowhere"], 4, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused(edge_export, clip, tmp_path, more, code, said):
    clip("fp32").save(tmp_path / "x.wav")
    words = (word.format(bundle=bundle_of("fp32")) for word in more)
    result = edge_export("compare", "--wav", tmp_path / "x.wav", *words)
    assert (result.code, said in result.error) == (code, True), result.err
