"""A record is held against the truth: what is sound passes, and whatever is altered is named."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_export.compare import Comparison, compare
from edge_export.errors import RecordError, UsageError
from runtime_py.bundle import Bundle, open_bundle
from runtime_py.engine import bundle_programs, kept_loaded
from runtime_py.generator import Generator
from runtime_py.golden import read_golden, tensors_of
from runtime_py.record import Record, Recorder, dump_record, parse_record, record_of
from runtime_py.replay import replay, replayed
from runtime_py.request import Request
from tests.fixtures.make_bundles import FOLDER

REQUEST = Request(prompt="birds in the rain", seconds=0.3, seed=5, steps=3)
both_recipes = pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic"])


def recorded(
    folder: Path, wav: Path | None = None, *, open_program=None, request: Request = REQUEST, **saved: bool
) -> Record:
    """The record of a run of the bundle here; its WAV is saved so."""
    bundle, recorder = open_bundle(folder), Recorder()
    generator = Generator(bundle, open_program or bundle_programs(bundle), keep_loaded=False)
    clip = generator.clip(request, recorder.watch(generator.events(request)))
    report = wav and clip.save(wav, **saved)
    tensors = tensors_of(generator.spec, request, generator.encode(request), recorder.events)
    return record_of(bundle, request, recorder, tensors, version="0", open_seconds=0.1, wav=report)


@pytest.fixture(scope="module")
def healthy(built, tmp_path_factory) -> Callable[[str], tuple[Record, Bundle]]:
    """A recipe's bundle, and the record of a run of it."""
    made: dict[str, tuple[Record, Bundle]] = {}

    def of(recipe: str) -> tuple[Record, Bundle]:
        if recipe not in made:
            folder = built("executorch", recipe)
            made[recipe] = recorded(folder, tmp_path_factory.mktemp("wav") / "x.wav"), open_bundle(folder)
        return made[recipe]

    return of


def changed(record: Record, **tensors: np.ndarray) -> Record:
    return dataclasses.replace(record, tensors={**record.tensors, **tensors})


def faults(comparison: Comparison) -> set[str]:
    return {
        f"{check.stage} {check.tensor.split(',')[0]}" for check in comparison.checks if not check.passed
    }  # fmt: skip


def least(comparison: Comparison, stage: str) -> float:
    return min(check.snr_db for check in comparison.checks if check.stage == stage)


@both_recipes
def test_a_run_passes_against_the_reference_it_finds_by_itself(healthy, oracle, recipe):
    record, bundle = healthy(recipe)
    made = compare(record, bundle)
    assert (made.against, made.passed, faults(made)) == ("reference", True, set())
    assert len(made.steps) == len(made.drift) == 3
    assert all(snr > (100 if recipe == "fp32" else 25) for snr in made.steps)
    assert {"tokenizer", "noise", "sampler", "wav", "conditioner", "dit", "decoder"} <= {
        check.stage for check in made.checks
    }


@both_recipes
def test_a_run_equals_its_own_bundle_and_its_own_record(healthy, tmp_path, recipe):
    record, bundle = healthy(recipe)
    against_bundle = compare(record, bundle, "bundle")
    assert against_bundle.passed
    assert against_bundle.first_differing is None
    path = tmp_path / "run.json"
    path.write_text(dump_record(record))
    against_itself = compare(parse_record(path.read_text()), bundle, str(path))
    assert against_itself.passed
    assert set(against_itself.drift) == {float("inf")}


@both_recipes
def test_a_run_on_golden_inputs_is_held_against_the_golden_vectors(healthy, recipe):
    _, bundle = healthy(recipe)
    spec, golden, recorder = bundle.manifest.generation, read_golden(bundle), Recorder()
    programs = kept_loaded(bundle_programs(bundle))
    events = list(recorder.watch(replay(spec, programs, golden, samples=spec.latent.samples)))
    request, tensors = bundle.manifest.golden.request, replayed(golden, events)
    record = record_of(bundle, request, recorder, tensors, version="0", open_seconds=0.1, inputs="golden")
    made = compare(record, bundle)
    assert (made.against, made.passed) == ("golden", True)
    sigmas = record.tensors["sigmas"] * np.float32(1.001)
    assert "inputs sigmas" in faults(compare(changed(record, sigmas=sigmas), bundle))
    velocity = record.tensors["step_velocity"] * np.float32(1.2)
    assert faults(compare(changed(record, step_velocity=velocity), bundle)) == {"dit velocity"}


def test_golden_vectors_are_of_one_request_alone(healthy):
    record, bundle = healthy("fp32")
    with pytest.raises(UsageError, match="another request than the golden vectors"):
        compare(record, bundle, "golden")


def one_off(array: np.ndarray, index: int = 0) -> np.ndarray:
    """The array with one of its rows far off."""
    made = array.copy()
    made[index] = made[index] + 1
    return made


@both_recipes
@pytest.mark.parametrize(
    ("tensor", "fault"),
    [
        ("input_ids", "tokenizer input_ids"),
        ("prompt_mask", "tokenizer prompt_mask"),
        ("seconds", "request seconds"),
        ("sigmas", "sampler sigmas"),
        ("noise", "noise noise"),
        ("step_latent", "sampler step_latent"),
        ("latent", "sampler latent"),
        ("global_cond", "conditioner global_cond"),
        ("step_velocity", "dit velocity"),
        ("audio", "decoder audio"),
    ],
)
def test_a_tensor_that_is_off_is_named(healthy, recipe, tensor, fault):
    record, bundle = healthy(recipe)
    made = compare(changed(record, **{tensor: one_off(record.tensors[tensor])}), bundle, "bundle")
    assert fault in faults(made)
    if tensor == "audio":
        assert "wav bytes" in faults(made)


def test_the_first_step_that_is_off_is_named(healthy):
    record, bundle = healthy("fp32")
    velocity = one_off(record.tensors["step_velocity"], 1)
    made = compare(changed(record, step_velocity=velocity), bundle, "bundle")
    assert (made.first_differing, made.first_failing) == (2, 2)
    assert made.margin < 0


@both_recipes
def test_two_tensors_of_one_shape_that_were_swapped_are_noticed(healthy, recipe):
    record, bundle = healthy(recipe)
    key, value = record.tensors["cross_k"], record.tensors["cross_v"]
    assert key.shape == value.shape
    made = compare(changed(record, cross_k=value, cross_v=key), bundle)
    assert {"conditioner cross_k", "conditioner cross_v"} <= faults(made)


@both_recipes
def test_a_bundle_that_names_two_inputs_the_wrong_way_round_is_noticed(built, copy_of, swap_inputs, recipe):
    folder = copy_of(built("executorch", recipe))
    swap_inputs(folder)
    made = compare(recorded(folder), open_bundle(folder), "reference")
    assert faults(made) == {"dit velocity"}


@pytest.mark.parametrize("name", ["dit", "decoder"])
def test_one_weight_that_changed_under_a_true_hash_is_noticed(built, copy_of, change_weight, name):
    folder = copy_of(built("executorch", "fp32"))
    change_weight(folder, name)
    made = compare(recorded(folder), open_bundle(folder), "reference")
    assert {fault.split()[0] for fault in faults(made)} == {name}


@both_recipes
def test_nan_is_named_and_nothing_else_is_compared(healthy, recipe):
    record, bundle = healthy(recipe)
    velocity = record.tensors["step_velocity"].copy()
    velocity[1, 0, 0] = np.nan
    made = compare(changed(record, step_velocity=velocity), bundle)
    assert [check.tensor for check in made.checks] == ["step_velocity, step 2"]
    assert not made.passed


def test_what_is_missing_of_another_shape_or_too_much_is_refused(healthy):
    record, bundle = healthy("fp32")
    without = {name: array for name, array in record.tensors.items() if name != "latent"}
    for tensors, said in (
        (without, "lacks the tensor 'latent'"),
        ({**record.tensors, "latent": record.tensors["latent"][..., :-1]}, "latent is float32"),
        ({**record.tensors, "latent": record.tensors["latent"].astype(np.int32)}, "latent is int32"),
        ({**record.tensors, "more": record.tensors["latent"]}, "more is float32"),
    ):
        with pytest.raises(RecordError, match=said):
            compare(dataclasses.replace(record, tensors=tensors), bundle)


def test_a_record_of_another_bundle_is_refused(healthy):
    record, _ = healthy("fp32")
    _, other = healthy("int8-dynamic")
    with pytest.raises(RecordError, match=r"of another bundle .* recipe 'fp32', not 'int8-dynamic'"):
        compare(record, other)


def test_records_of_two_requests_are_not_compared(healthy, tmp_path, built):
    record, bundle = healthy("fp32")
    other = recorded(built("executorch", "fp32"), request=dataclasses.replace(REQUEST, seed=6))
    (tmp_path / "other.json").write_text(dump_record(other))
    with pytest.raises(RecordError, match="another request"):
        compare(record, bundle, str(tmp_path / "other.json"))


# The file that was written, of a committed bundle


SAVED = [
    {}, {"normalize": True}, {"fade": False}, {"tags": False}, {"float32": True},
    {"normalize": True, "fade": False, "tags": False, "float32": True},
]  # fmt: skip
COMMITTED = FOLDER / "fp32" / "bundle"


@pytest.mark.parametrize("saved", SAVED, ids=str)
def test_the_file_is_written_again_as_the_record_says(tmp_path, saved):
    record = recorded(COMMITTED, tmp_path / "x.wav", **saved)
    bundle = open_bundle(COMMITTED)
    made = compare(parse_record(dump_record(record)), bundle, "bundle")
    assert made.passed
    assert "wav" in {check.stage for check in made.checks}
    assert record.wav is not None
    finishing = record.wav.finishing
    for lie in (
        {"finishing": dataclasses.replace(finishing, normalize=not finishing.normalize)},
        {"finishing": dataclasses.replace(finishing, fade=not finishing.fade)},
        {"tags": not record.wav.tags},
        {"float32": not record.wav.float32},
    ):
        wav = dataclasses.replace(record.wav, **lie)
        assert faults(compare(dataclasses.replace(record, wav=wav), bundle, "bundle")) == {"wav bytes"}


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3"])
def test_of_another_format_the_sound_is_judged_and_not_the_file(tmp_path, ending):
    record, bundle = recorded(COMMITTED, tmp_path / f"x.{ending}"), open_bundle(COMMITTED)
    assert record.wav.format == ending
    made = compare(parse_record(dump_record(record)), bundle, "bundle")
    assert made.passed
    assert "wav" not in {check.stage for check in made.checks}
    off = changed(record, audio=one_off(record.tensors["audio"]))
    assert faults(compare(off, bundle, "bundle")) == {"decoder audio"}


# The command


@pytest.fixture
def files(healthy, tmp_path) -> Callable[[str], tuple[Path, Path]]:
    def of(recipe: str) -> tuple[Path, Path]:
        record, bundle = healthy(recipe)
        path = tmp_path / f"{recipe}.json"
        path.write_text(dump_record(record))
        return path, bundle.folder

    return of


def test_the_command_shows_a_table_or_json(edge_export, files):
    record, bundle = files("int8-dynamic")
    shown = edge_export("compare", record, bundle)
    assert shown.code == 0
    assert "Against the fp32 reference, on equal inputs" in shown.out
    assert "Passed: every stage holds what it has to" in shown.out
    shown = json.loads(edge_export("compare", record, bundle, "--json", "--against", "bundle").out)
    assert (shown["passed"], shown["against"], shown["recipe"]) == (True, "bundle", "int8-dynamic")
    assert shown["first_differing_step"] is None
    assert [stage["stage"] for stage in shown["stages"]] == ["conditioner", "dit", "dit", "dit", "decoder"]


def test_the_command_fails_with_its_own_code(edge_export, files, healthy, tmp_path):
    record, bundle = healthy("fp32")
    path = tmp_path / "off.json"
    path.write_text(dump_record(changed(record, audio=record.tensors["audio"] * np.float32(0.5))))
    failed = edge_export("compare", path, bundle.folder)
    assert failed.code == 5
    assert "decoder audio at" in failed.error
    assert "wav bytes" in failed.error


def test_many_records_are_one_table_with_the_furthest_off_first(edge_export, files, healthy, tmp_path):
    (good, folder), (int8, int8_folder) = files("fp32"), files("int8-dynamic")
    off = tmp_path / "off.json"
    record, _ = healthy("fp32")
    off.write_text(dump_record(changed(record, step_velocity=one_off(record.tensors["step_velocity"]))))
    made = edge_export("compare", "--matrix", "--json", good, int8, off, folder, int8_folder)
    assert made.code == 5
    assert "1 of 3 records" in made.error
    shown = json.loads(made.out)
    assert [Path(each["record"]).name for each in shown["records"]] == ["off.json", "int8-dynamic.json", "fp32.json"]
    assert [each["passed"] for each in shown["records"]] == [False, True, True]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{record}"], 2, "no bundle is named"),
        (["{bundle}"], 2, "no record is named"),
        (["{record}", "{record}", "{bundle}"], 2, "add --matrix"),
        (["{record}", "{bundle}", "--against", "nonsense"], 12, "no record at nonsense"),
        (["{record}", "{bundle}", "--against", "reference", "--checkpoint", "nowhere"], 2, "checkpoint"),
        (["nowhere.json", "{bundle}"], 12, "there is no nowhere.json"),
        (["{bundle}/manifest.json", "{bundle}"], 12, "is no record"),
        (["{record}", "{bundle}", "--report", "{bundle}/report.html"], 6, "inside the bundle"),
    ],
)
def test_the_command_refuses_in_one_line(edge_export, files, arguments, code, said):
    record, bundle = files("fp32")
    made = edge_export("compare", *(each.format(record=record, bundle=bundle) for each in arguments))
    assert (made.code, said in made.error) == (code, True), made.err
