"""The model card tells what was run, and nothing that was not."""

from pathlib import Path
from types import SimpleNamespace

from post_training.card import model_card
from tests.post_training.small import CONFIG


def commands(card: str) -> list[str]:
    return [line.removeprefix("    python -m post_training ") for line in card.splitlines() if line.startswith("    ")]


def test_a_run_from_a_start_names_its_own_stages_and_their_steps():
    start = SimpleNamespace(checkpoint=SimpleNamespace(sha256="5a" * 32))
    card = model_card(CONFIG, "arc", Path("mine/c.toml"), {"autoencoder": 7, "arc": 9}, start)
    given = "--config mine/c.toml --run RUN --start START"
    assert commands(card) == [
        f"train autoencoder {given} --steps 7",
        f"train arc {given} --steps 9",
        f"publish {given} --stage arc --out CHECKPOINT",
    ]
    assert f"(START, sha256 {'5a' * 32})" in card
    assert "8 steps of ping-pong" in card and "without the contrastive term" not in card


def test_an_ablation_is_called_one():
    stage = "arc-no-contrastive-least-squares"
    card = model_card(CONFIG, stage, Path("c.toml"), {"flow": 3, stage: 4})
    assert "without the contrastive term, by least squares" in card
    assert commands(card)[1] == "train arc --config c.toml --run RUN --steps 4 --no-contrastive --least-squares"


def test_a_base_is_not_called_post_trained():
    card = model_card(CONFIG, "flow", Path("c.toml"), {"flow": 3})
    assert "adversarial" not in card and "50 Euler steps" in card
    assert [command.split()[:2] for command in commands(card)] == [["train", "flow"], ["publish", "--config"]]


def test_a_card_names_no_path_of_the_machine(tmp_path):
    assert str(tmp_path) not in model_card(CONFIG, "flow", tmp_path / "c.toml", {"flow": 3})
