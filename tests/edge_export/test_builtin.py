"""The built-in checkpoint: small, in half precision, free of anyone's licence, and long enough."""

from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.checkpoint import open_checkpoint

MOST_BYTES = 24_000_000


def test_it_is_small_and_plays_seven_seconds_of_stereo():
    config = open_checkpoint(BUILTIN_CHECKPOINT).config
    assert sum(path.stat().st_size for path in BUILTIN_CHECKPOINT.rglob("*") if path.is_file()) <= MOST_BYTES
    assert config.sample_rate == 44100
    assert config.latent_length * config.decoder.hop >= 7 * config.sample_rate


def test_its_card_says_how_it_was_made():
    card = (BUILTIN_CHECKPOINT / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "python -m post_training train arc" in card
