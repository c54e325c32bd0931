"""The built-in checkpoint: small, in half precision, free of anyone's licence, and long enough."""

from contextlib import ExitStack

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.checkpoint import open_checkpoint
from edge_export.sensitivity.rounding import in_int8
from edge_export.submodules.decoder import audio_layers
from post_training.analysis import ANALYSIS_FILE, Analysis
from quantization.layers import layers_of
from quantization.recipe import INT8_DYNAMIC
from quantization.recipes import RECIPES
from runtime_py.metrics import snr_db

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


@pytest.mark.parametrize("spelled_out", [True, False])
def test_what_is_faint_stays_above_the_noise_of_int8(spelled_out):
    """Because the recipe keeps in float32 the layers that give audio."""
    checkpoint = open_checkpoint(BUILTIN_CHECKPOINT)
    recipe = RECIPES["int8-dynamic"]
    recipe = recipe.spelled_out(audio_layers(checkpoint.config.decoder)) if spelled_out else recipe
    decoder = checkpoint.decoder()
    quantized = [
        layer
        for name, layer in layers_of(decoder).items()
        if recipe.rule_for("decoder", "conv", name).formats == INT8_DYNAMIC
    ]
    analysis = Analysis()
    analysis.load_state_dict(load_file(BUILTIN_CHECKPOINT / ANALYSIS_FILE))
    latent = analysis(burst(latents=24))
    with torch.inference_mode(), ExitStack() as stack:
        whole = decoder(latent)
        for layer in quantized:
            stack.enter_context(in_int8(layer))
        rounded = decoder(latent)
    faint = slice(-8 * checkpoint.config.decoder.hop, None)
    snr = snr_db(whole[..., faint].numpy(), rounded[..., faint].numpy())
    assert (snr > 5) == spelled_out, snr


def burst(latents: int) -> Tensor:
    """A third of noise, the rest 45 dB softer, float32 [1, 2, latents * 2048]."""
    audio = torch.randn(1, 2, latents * 2048, generator=torch.Generator().manual_seed(0)) * 0.2
    audio[..., latents // 3 * 2048 :] *= 10 ** (-45 / 20)
    return audio
