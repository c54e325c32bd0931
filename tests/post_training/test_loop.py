"""The loop on a stage of one weight: it resumes bit for bit, saves whole, and stops at what is not a number."""

import json
import os
import time

import pytest
import torch
from torch import nn

from edge_export.errors import CheckpointError, GenerationError, OutputError, UsageError
from post_training import clips
from post_training.config import StageSettings
from post_training.loop import (
    RunFolder,
    descend,
    document,
    make_accelerator,
    make_optimizer,
    rate,
    run_stage,
    step_seed,
)
from tests.post_training.small import CONFIG

pytestmark = pytest.mark.train

SETTINGS = StageSettings(steps=10, batch=1, learning_rate=0.1, warmup=2, decay=0.5, log_every=1, save_every=4)


class Toy:
    """One linear layer that follows noise: what it becomes depends on every number drawn on the way."""

    def __init__(self, stop_at: int | None = None, bad_at: int | None = None, width: int = 3) -> None:
        torch.manual_seed(0)
        self.accelerator = make_accelerator()
        layer = nn.Linear(width, width)
        self.layer, self.optimizer = self.accelerator.prepare(layer, make_optimizer([layer], SETTINGS, 0.1))
        self.stop_at, self.bad_at = stop_at, bad_at

    @property
    def modules(self):
        return {"layer": self.layer}

    @property
    def optimizers(self):
        return {"layer": self.optimizer}

    def step(self, step):
        if step == self.stop_at:
            raise KeyboardInterrupt
        loss = (self.layer(torch.randn(4, self.layer.in_features)) - torch.randn(4, 1)).square().mean()
        descend(self.accelerator, loss, self.optimizer, 1.0, self.layer)
        return {"loss": loss.detach() * (float("nan") if step == self.bad_at else 1)}


def run(folder, toy, settings=SETTINGS, **more):
    return run_stage("toy", toy, RunFolder(folder), settings, 7, toy.accelerator, lambda line: None, **more)


def logged(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


@pytest.fixture
def whole(tmp_path):
    folder = tmp_path / "whole"
    folder.mkdir()
    toy = Toy()
    assert run(folder, toy).complete
    return folder, toy


@pytest.mark.parametrize("stop_at", [1, 4, 6, 9])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, whole, stop_at):
    folder = tmp_path / "resumed"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(folder, Toy(stop_at=stop_at))
    again = Toy()
    with torch.no_grad():
        again.layer.weight.add_(stop_at >= 4)  # what is loaded counts, not what a new stage begins with
    assert run(folder, again).step == 10
    expected, ours = (RunFolder(path).load() for path in (whole[0], folder))
    assert all(torch.equal(expected["modules"]["layer"][k], v) for k, v in ours["modules"]["layer"].items())
    assert str(expected["optimizers"]) == str(ours["optimizers"])
    assert logged(folder) == logged(whole[0])


def test_a_deadline_saves_and_stops(tmp_path, whole, monkeypatch):
    reached = run(tmp_path, Toy(), deadline=time.monotonic())
    assert (reached.step, reached.complete) == (0, False)
    toy = Toy()
    original, ends = toy.step, []

    def slow(step):
        ends.append(step)
        if step == 1:
            time.sleep(0.3)
        return original(step)

    monkeypatch.setattr(toy, "step", slow)
    assert run(tmp_path, toy, deadline=time.monotonic() + 0.25).step == 2 == len(ends)
    assert run(tmp_path, Toy()).complete
    assert torch.equal(RunFolder(tmp_path).load()["modules"]["layer"]["weight"], whole[1].layer.weight)


def test_a_full_disk_leaves_the_last_good_state(tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full_later(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(clips.os, "fsync", full_later)
    with pytest.raises(OutputError, match=r"state\.pt: the disk is full"):
        run(tmp_path, Toy())
    monkeypatch.undo()
    assert RunFolder(tmp_path).load()["step"] == 4
    assert run(tmp_path, Toy()).complete


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(GenerationError, match=r"loss is NaN or infinite at step 6; .*state of step 4 stays"):
        run(tmp_path, Toy(bad_at=5))
    assert RunFolder(tmp_path).load()["step"] == 4


def test_a_state_of_another_size_or_a_damaged_one(tmp_path, whole):
    with pytest.raises(CheckpointError, match="of another size"):
        run(whole[0], Toy(width=5))
    (whole[0] / "state.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"damaged .*; remove it"):
        run(whole[0], Toy())


def test_a_state_that_holds_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"format": 1, "evil": Evil()}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        RunFolder(tmp_path).load()
    assert not (tmp_path / "pwned").exists()


def test_a_folder_belongs_to_its_settings(tmp_path):
    folder = RunFolder(tmp_path / "run")
    claimed = document(CONFIG, "data", "flow")
    folder.claim(claimed)
    folder.claim(claimed)
    changed = {**claimed, "seed": 4, "flow": {**claimed["flow"], "batch": 9}}
    with pytest.raises(UsageError, match=r"flow\.batch \(4 before, 9 now\), seed \(3 before, 4 now\)"):
        folder.claim(changed)
    assert "steps" not in claimed["flow"] and "workers" not in claimed["data"]


def test_the_rate_rises_stays_and_falls():
    rates = [rate(SETTINGS, step) for step in range(11)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0])


def test_seeds_differ_by_everything():
    seeds = {
        step_seed(*what) for what in ((0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1))
    }
    assert len(seeds) == 5 and all(0 <= seed < 2**63 for seed in seeds)


def test_weight_decay_is_for_matrices_alone():
    groups = make_optimizer([nn.Linear(2, 2)], SETTINGS, 0.1).param_groups
    assert [[p.ndim for p in group["params"]] for group in groups] == [[2], [1]]
    assert groups[1]["weight_decay"] == 0
