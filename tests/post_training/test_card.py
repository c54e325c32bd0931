"""The model card tells what was run, and nothing that was not."""

from post_training.card import model_card
from tests.post_training.small import CONFIG


def commands(card: str) -> list[str]:
    return [line.removeprefix("    python -m post_training ") for line in card.splitlines() if line.startswith("    ")]


def test_a_run_from_a_start_names_its_own_stages_alone():
    card = model_card(CONFIG, "arc", "c.toml", ["autoencoder", "arc"], "elsewhere")
    given = "--config configs/c.toml --run RUN --start START"
    assert commands(card) == [
        f"train autoencoder {given}",
        f"train arc {given}",
        f"publish {given} --stage arc --out CHECKPOINT",
    ]
    assert "8 steps of ping-pong" in card and "without the contrastive term" not in card


def test_an_ablation_is_called_one():
    card = model_card(CONFIG, "arc-no-contrastive-least-squares", "c.toml", ["flow"])
    assert "without the contrastive term, by least squares" in card
    assert commands(card)[1] == "train arc --config configs/c.toml --run RUN --no-contrastive --least-squares"


def test_a_base_is_not_called_post_trained():
    card = model_card(CONFIG, "flow", "c.toml", ["flow"])
    assert "adversarial" not in card and "50 Euler steps" in card
    assert [command.split()[:2] for command in commands(card)] == [["train", "flow"], ["publish", "--config"]]
