"""The judge: what it learns from three easy kinds, that it learns the same twice, and what its reader refuses."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_export.errors import CheckpointError, GenerationError, OutputError, UsageError
from post_training import classifier
from post_training.classifier import ClassifierConfig, Judge, load_judge, train_classifier
from tests.post_training import standin

pytestmark = pytest.mark.train

CONFIG = ClassifierConfig(
    clips=36, held_out=12, epochs=12, batch=9, width=4, embedding=8, learning_rate=8e-3, seconds=0.5, workers=0
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are too small to share out
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("judge") / classifier.JUDGE_FILE
    trained = train_classifier(standin.draw, standin.RATE, tuple(standin.KINDS), CONFIG, made)
    assert trained.accuracy >= 0.9, trained
    return made


@pytest.fixture
def judge(path) -> Judge:
    return load_judge(path)


def examples(seeds: range, held_out: bool = True) -> list[classifier.Example]:
    return [classifier.example_of(standin.draw(seed, seconds=0.5, held_out=held_out), standin.RATE) for seed in seeds]


def test_it_tells_kinds_apart_that_it_never_heard(judge):
    clips = examples(range(5000, 5024))
    opinion = judge.listen([clip.levels for clip in clips])
    assert np.mean([found == clip.kind for found, clip in zip(opinion.kinds, clips)]) >= 0.9
    assert opinion.embeddings.shape == (24, 8) and opinion.embeddings.dtype == np.float32
    assert judge.kinds == ("beep", "hiss", "clicks")


def test_its_accuracy_is_of_the_file(judge):
    seeds = range(classifier.HELD_OUT_SEEDS, classifier.HELD_OUT_SEEDS + CONFIG.held_out)
    clips = examples(seeds)
    opinion = judge.listen([clip.levels for clip in clips], batch=5)
    assert judge.accuracy == np.mean([found == clip.kind for found, clip in zip(opinion.kinds, clips)])


def test_medians_are_by_kind(judge):
    assert judge.medians["hiss"]["brightness"] > judge.medians["beep"]["brightness"] + 2
    assert set(judge.medians["clicks"]) == set(classifier.FEATURES)


def test_the_same_config_gives_the_same_file(path, tmp_path):
    again = tmp_path / "again.safetensors"
    train_classifier(standin.draw, standin.RATE, tuple(standin.KINDS), CONFIG, again)
    assert again.read_bytes() == path.read_bytes()
    train_classifier(standin.draw, standin.RATE, tuple(standin.KINDS), replace(CONFIG, seed=1, epochs=1), again)
    assert again.read_bytes() != path.read_bytes()


def test_training_leaves_the_global_seed_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    few = replace(CONFIG, clips=20, held_out=2, epochs=1)
    train_classifier(standin.draw, standin.RATE, tuple(standin.KINDS), few, tmp_path / "j.safetensors")
    assert torch.equal(torch.randn(3), expected)


def test_levels_are_of_pairs_of_frames():
    clip = standin.draw(0, seconds=7.43)
    levels = classifier.example_of(clip, standin.RATE).levels
    assert levels.shape == (318, 64) and levels.dtype == np.float16
    assert levels.min() >= -100


def test_the_full_size_is_below_a_megabyte():
    network = classifier.Classifier(60, ClassifierConfig().width, ClassifierConfig().embedding)
    assert 2 * sum(tensor.numel() for tensor in network.state_dict().values()) < 1_000_000


def test_changed_levels_stay_levels():
    levels = torch.full((4, 50, 64), -20.0)
    moved = classifier.changed(levels, torch.Generator().manual_seed(0))
    assert moved.shape == levels.shape and moved.min() >= -100 and moved.max() <= -20 + 6 + 2
    assert not torch.equal(moved[0], moved[1])
    assert torch.equal(moved, classifier.changed(levels, torch.Generator().manual_seed(0)))


def test_workers_and_this_process_draw_the_same():
    def drawn(workers: int) -> list[classifier.Example]:
        return classifier.draw_examples(
            standin.draw,
            standin.RATE,
            range(4),
            seconds=0.5,
            held_out=False,
            workers=workers,
            progress=lambda *_: None,
            what="",
        )

    for here, there in zip(drawn(0), drawn(2), strict=True):
        assert np.array_equal(here.levels, there.levels) and here.features == there.features


def die(seed: int) -> int:
    os._exit(1)


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(GenerationError, match="a process that draws clips died"):
        list(classifier.in_workers(partial(die), range(2), 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips": 1}, "clips is 1, expected 2 or more"),
        ({"epochs": 0}, "epochs is 0"),
        ({"clips": 2, "held_out": 1}, "hold none of"),
    ],
)
def test_a_config_out_of_range(changes, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        train_classifier(
            standin.draw, standin.RATE, tuple(standin.KINDS), replace(CONFIG, **changes), tmp_path / "judge"
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    few = replace(CONFIG, clips=20, held_out=1, epochs=1)
    with pytest.raises(OutputError):
        train_classifier(standin.draw, standin.RATE, tuple(standin.KINDS), few, tmp_path / "no" / "judge")


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="no judge at"):
        load_judge(tmp_path / "judge.safetensors")


def resaved(path: Path, out: Path, *, drop: str = "", changes: dict | None = None, **tensors: torch.Tensor) -> Path:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        attributes = {**json.loads(file.metadata()["judge"]), **(changes or {})}
    kept = {name: tensor for name, tensor in load_file(path).items() if name != drop}
    save_file({**kept, **tensors}, out, {"judge": json.dumps(attributes)})
    return out


@pytest.mark.parametrize(
    "spoil",
    [
        {"drop": "embed.weight"},
        {"drop": "medians"},
        {"changes": {"format": "other"}},
        {"changes": {"kinds": [1, 2, 3]}},
        {"changes": {"kinds": 3}},
        {"changes": {"kinds": ["a", "b"]}},
        {"changes": {"features": []}},
        {"changes": {"config": {"width": 10**9, "embedding": 8}}},
        {"changes": {"config": []}},
        {"changes": {"accuracy": "high"}},
        {"extra": torch.zeros(2)},
        {"head.bias": torch.full((3,), float("nan"))},
    ],
)
def test_what_is_no_judge_is_refused_in_one_line(path, tmp_path, spoil):
    spoilt = resaved(path, tmp_path / "spoilt.safetensors", **spoil)
    with pytest.raises(CheckpointError, match="no judge of this version") as raised:
        load_judge(spoilt)
    assert "\n" not in str(raised.value)


def test_a_cut_file_and_one_too_large(path, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_judge(cut)
    cut.write_bytes(bytes(classifier.MAX_BYTES + 1))
    with pytest.raises(CheckpointError, match="larger than any judge"):
        load_judge(cut)
