"""The benchmark of the model: a part that was measured is not measured again, unless what it is about has changed."""

from argparse import Namespace
from types import SimpleNamespace

import pytest

from benchmarks import model
from post_training.evaluation import EvaluationRequest


@pytest.fixture
def asked(monkeypatch) -> list[EvaluationRequest]:
    """The requests that are evaluated; the weights' hash is the path's name."""
    seen: list[EvaluationRequest] = []
    monkeypatch.setattr(model, "evaluate", lambda request, sounds, progress: seen.append(request) or request)
    monkeypatch.setattr(model, "evaluation_record", lambda request: {"prompts": request.prompts})
    monkeypatch.setattr(model, "open_checkpoint", lambda path: SimpleNamespace(sha256=path.name))
    return seen


def test_a_part_is_measured_once(asked, tmp_path):
    request = EvaluationRequest(checkpoint=tmp_path / "a", prompts=7)
    assert model.measured(tmp_path, "part", request) == {"prompts": 7}
    assert model.measured(tmp_path, "part", request) == {"prompts": 7} and len(asked) == 1


def test_other_weights_or_numbers_are_measured_anew(asked, tmp_path):
    for name, prompts in (("a", 7), ("b", 7), ("b", 8)):
        model.measured(tmp_path, "part", EvaluationRequest(checkpoint=tmp_path / name, prompts=prompts))
    assert len(asked) == 3


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
