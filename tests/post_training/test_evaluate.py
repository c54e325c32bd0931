"""The whole evaluation on three easy kinds and the small published-layout checkpoint, by its command line."""

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edge_export.errors import CheckpointError, UsageError
from post_training import evaluate as command
from post_training import evaluation, evaluation_report
from post_training.classifier import ClassifierConfig, train_classifier
from post_training.evaluation import Case, EvaluationRequest, SamplingSettings, check_request, measure
from runtime_py.request import Request
from tests.post_training import standin
from tests.shared import Result

pytestmark = pytest.mark.train

EVIL = 'rain <script>document.title="owned"</script> & "wind"'


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    config = ClassifierConfig(
        clips=36, held_out=8, epochs=12, batch=9, width=4, embedding=8, learning_rate=8e-3, seconds=1.0, workers=0
    )
    train_classifier(standin.draw, standin.RATE, tuple(standin.KINDS), config, path)
    return path


class Echo:
    """Plays the real clip of its prompt: a perfect model. It plays as many seeds as asked for, all different."""

    rate, longest, batch = standin.RATE, 1.0, 3

    def __init__(self, *_: object, wrong: bool = False) -> None:
        self.played: list[Request] = []
        self.wrong = wrong

    def play(self, requests, guidance=None):
        self.played += requests
        kinds = [next(kind for kind in standin.KINDS if kind in request.prompt) for request in requests]
        kinds = [list(standin.KINDS)[(standin.KINDS[kind] + self.wrong) % 3] for kind in kinds]
        clips = (
            next(
                clip
                for seed in range(request.seed, request.seed + 1000)
                if (clip := standin.draw(seed, seconds=request.seconds)).attributes.kind == kind
            )
            for request, kind in zip(requests, kinds)
        )
        return np.stack([clip.audio for clip in clips])


@pytest.fixture
def request_of(judge, oracle, monkeypatch):
    """An evaluation by players of our own."""

    def made(*players: Echo, **changes: object) -> evaluation.Evaluation:
        entries = [
            evaluation.Entry(
                name="ARC" if index == 0 else "base",
                player=player,
                sampling=SamplingSettings(steps=8, guidance=index or None),
            )
            for index, player in enumerate(players)
        ]
        monkeypatch.setattr(evaluation, "_plan", lambda request, checkpoint: iter(entries))
        request = EvaluationRequest(
            checkpoint=oracle, judge=judge, prompts=12, references=24, diverse=2, seeds=3, workers=0, **changes
        )
        return evaluation.evaluate(request, standin)

    return made


def test_who_plays_the_real_thing_adheres_and_who_plays_another_kind_does_not(request_of):
    good, bad = Echo(), Echo(wrong=True)
    found = request_of(good, bad)
    right, wrong = found.rows
    assert right.adherence >= 0.9 and wrong.adherence <= 0.1
    assert right.frechet < 3 * found.real.frechet + 1
    assert found.classifier_accuracy >= 0.9
    assert found.judged is right and found.bundle is None
    assert right.label == "ARC, 8 steps" and wrong.label == "base, 8 steps, guidance 1"
    assert right.diversity > 0 and found.real.diversity is None
    assert len(found.cases) == 12 and found.references == 24


def test_clips_through_an_autoencoder_that_loses_nothing(request_of, monkeypatch):
    monkeypatch.setattr(evaluation, "AutoencoderPlayer", lambda _: SimpleNamespace(play=lambda audio: 0.5 * audio))
    found = request_of(Echo(), autoencoder=True)
    decoded, real = found.autoencoder, found.real
    assert found.shown == (real, decoded, *found.rows)
    assert decoded.adherence == real.adherence and decoded.sampling is None
    assert 1 < decoded.log_mel_db <= 6.03 and decoded.si_sdr_db > 100  # half as loud, but for what is silent
    assert real.log_mel_db is None and request_of(Echo()).autoencoder is None


def test_each_prompt_is_played_once_and_the_first_ones_again(request_of):
    player = Echo()
    request_of(player)
    prompts = [request.prompt for request in player.played]
    assert len(prompts) == 12 + 2 * 2
    assert prompts[12:] == [prompts[0], prompts[0], prompts[1], prompts[1]]
    assert len({request.seed for request in player.played}) == len(prompts)


def test_what_the_caption_states_is_checked(judge):
    medians = {kind: dict.fromkeys(("balance", "brightness"), 0.0) for kind in standin.KINDS}
    clip = next(clip for seed in range(50) if (clip := standin.draw(seed, seconds=4.0)).attributes.bpm)
    case = Case(prompt=clip.caption, attributes=clip.attributes)
    held = {check.share: check.held for check in measure(clip.audio, standin.RATE, case, medians).checks}
    assert held == {"tempo": True, "adjectives": True}
    swapped = measure(clip.audio[::-1].copy(), standin.RATE, case, medians)
    assert {check.share: check.held for check in swapped.checks} == {"tempo": True, "adjectives": False}
    other = replace(case, attributes=replace(clip.attributes, bpm=clip.attributes.bpm * 1.2))
    assert not measure(clip.audio, standin.RATE, other, medians).checks[0].held


def test_a_note_is_checked():
    clip = next(clip for seed in range(50) if (clip := standin.draw(seed, seconds=1.0)).attributes.note == "C")
    case = Case(prompt=clip.caption, attributes=replace(clip.attributes, adjectives=()))
    assert [check.held for check in measure(clip.audio, standin.RATE, case, {}).checks] == [True]
    case = Case(prompt=clip.caption, attributes=replace(clip.attributes, adjectives=(), note="D"))
    assert [check.held for check in measure(clip.audio, standin.RATE, case, {}).checks] == [False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": 1}, "prompts is 1, expected 2 to 10000"),
        ({"seeds": 65}, "seeds is 65"),
        ({"steps": (0,)}, "steps is 0"),
        ({"base_steps": ()}, "base-steps is empty"),
        ({"guidance": (float("nan"),)}, "guidance is nan"),
    ],
)
def test_numbers_out_of_range(changes, message):
    with pytest.raises(UsageError, match=message):
        check_request(EvaluationRequest(**changes))


def test_a_judge_of_other_kinds(judge, oracle):
    sounds = SimpleNamespace(draw=standin.draw, RATE=standin.RATE, KINDS={"beep": 0, "whale": 1})
    with pytest.raises(CheckpointError, match="trained on other kinds of sound than there are"):
        evaluation.evaluate(EvaluationRequest(judge=judge, checkpoint=oracle), sounds)


@pytest.fixture
def run(judge, monkeypatch, capfd):
    monkeypatch.setattr(evaluation, "the_sounds", lambda: standin)
    monkeypatch.setattr(evaluation, "CLIP_SECONDS", 0.5)

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments), "--judge", str(judge), "--workers", "0"])
        code = 0
        try:
            command.main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capfd.readouterr()
        return Result("python -m post_training.evaluate", code, captured.out, captured.err)

    return call


FEW = ("--prompts", 3, "--references", 4, "--seeds", 2, "--diverse", 1)


def test_json_is_one_object_on_the_last_line(run, oracle, built):
    bundle = built("executorch", "fp32")
    made = run("--checkpoint", oracle, *FEW, "--steps", "1,2", "--bundle", bundle, "--json")
    assert made.code == 0, made.err
    record = json.loads(made.out.splitlines()[-1])
    for name in ("adherence", "classifier_accuracy"):
        assert 0 <= record[name] <= 1
    assert record["frechet"] >= 0 and record["diversity"] >= 0 and record["steps"] == 2
    assert [row["steps"] for row in record["rows"]] == [None, 1, 2, 2]
    # the fp32 bundle of the checkpoint plays the same sounds
    assert record["bundle"]["adherence_lost"] == 0 and abs(record["bundle"]["frechet_growth"]) < 0.01
    assert "playing ARC, steps 1, 100 %" in made.err


def test_a_table_a_page_and_a_picture(run, oracle, tmp_path):
    page, picture = tmp_path / "page.html", tmp_path / "f.png"
    made = run(
        "--checkpoint",
        oracle,
        *FEW,
        "--steps",
        "1",
        "--base",
        oracle,
        "--base-steps",
        "1,2",
        "--guidance",
        "3",
        "--autoencoder",
        "--report",
        page,
        "--plot",
        picture,
    )
    assert made.code == 0, made.err
    assert "base, 2 steps, guidance 3" in made.out and "real clips" in made.out
    assert picture.read_bytes()[:4] == b"\x89PNG"
    text = page.read_text()
    assert "are off by" in made.out and "autoencoder" in made.out
    assert text.count("<audio") == 3 * 4 and "http" not in text.replace("http-equiv", "").replace(
        "http://www.w3.org", ""
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def test_a_prompt_is_text_on_the_page(request_of):
    found = request_of(Echo(), audible=1)
    evil = replace(found, cases=(replace(found.cases[0], prompt=EVIL), *found.cases[1:]))
    text = evaluation_report.report_html(evil)
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.seen and tags.seen.count("audio") == 2
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--checkpoint", "no/such/folder"), 3, "no checkpoint at no/such/folder"),
        (("--checkpoint", "built-in", "--prompts", 0), 2, "prompts is 0, expected 2 to 10000"),
        (("--checkpoint", "built-in", "--steps", "1,x"), 2, "--steps is '1,x', expected numbers"),
        (("--checkpoint", "built-in", "--report", "no/such/page.html"), 6, "there is no folder"),
        (("--checkpoint", "built-in", "--bundle", "no/such/bundle"), 4, "no/such/bundle"),
        (("--checkpoint", "built-in", "--base", "no/such/base"), 3, "no checkpoint at no/such/base"),
    ],
)
def test_bad_input_is_one_line(run, arguments, code, message):
    made = run(*arguments)
    errors = [line for line in made.err.splitlines() if "error" in line]
    assert (made.code, len(errors)) == (code, 1), made.err
    assert message in errors[0] and "Traceback" not in made.err
