"""The benchmark of the model: a part that was measured is not measured again, unless what it is about has changed."""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import model
from edge_export.builtin import BUILTIN_CHECKPOINT
from post_training.evaluation import EvaluationRequest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def requested(monkeypatch) -> list[EvaluationRequest]:
    """The requests that are evaluated; the weights' hash is the path's name."""
    requests: list[EvaluationRequest] = []
    monkeypatch.setattr(model, "evaluate", lambda request, sounds, progress: requests.append(request) or request)
    monkeypatch.setattr(model, "evaluation_record", lambda request: {"prompts": request.prompts})
    monkeypatch.setattr(model, "open_checkpoint", lambda path: SimpleNamespace(sha256=path.name))
    return requests


def test_a_part_is_measured_once(requested, tmp_path):
    request = EvaluationRequest(checkpoint=tmp_path / "a", prompts=7)
    assert model.measured(tmp_path, "part", request) == {"prompts": 7}
    assert model.measured(tmp_path, "part", request) == {"prompts": 7} and len(requested) == 1


def test_other_weights_or_numbers_are_measured_anew(requested, tmp_path):
    for name, prompts in (("a", 7), ("b", 7), ("b", 8)):
        model.measured(tmp_path, "part", EvaluationRequest(checkpoint=tmp_path / name, prompts=prompts))
    assert len(requested) == 3


def test_every_way_of_playing_is_asked_for_and_the_base_alone(tmp_path):
    given = Namespace(base=tmp_path / "base", ablation=tmp_path / "x", bundle=tmp_path / "y", prompts=9, diverse=3)
    given.base_steps, given.guidance, given.contrastive = model.BASE_STEPS, model.GUIDANCE, tmp_path / "z"
    parts = dict(model.requests(given))
    assert parts["model"].steps == (1, 2, 4, 8) and parts["model"].bundle == tmp_path / "y"
    assert parts["no contrastive term"].checkpoint == tmp_path / "x"
    assert parts["contrastive term"].checkpoint == tmp_path / "z"
    bases = [part for name, part in parts.items() if name.startswith("base")]
    assert [(part.base_steps, part.guidance) for part in bases] == [
        ((8, 25, 50, 100), (1.0,)),
        ((8, 25, 50, 100), (4.0,)),
    ]
    assert all(part.steps == () and part.prompts == 9 for part in bases)


@pytest.mark.parametrize(
    ("module", "arguments", "code", "message"),
    [
        ("gpu", ["--checkpoint", "nowhere"], 3, "no checkpoint at nowhere"),
        ("model", ["--base", "nowhere", "--ablation", "x", "--bundle", "y"], 3, "no checkpoint at nowhere"),
        ("model", ["--base", "BUILT_IN", "--ablation", "BUILT_IN", "--bundle", "y"], 2, "no bundle at y; first:"),
        ("model", ["--base", "x", "--ablation", "x", "--bundle", "y", "--prompts", "0"], 2, "prompts is 0"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_made(module, arguments, code, message, tmp_path):
    given = [str(BUILTIN_CHECKPOINT) if argument == "BUILT_IN" else argument for argument in arguments]
    command = [sys.executable, "-m", f"benchmarks.{module}", *given]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (code, "") and message in ended.stderr
    assert ended.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
