"""The network against what the published library recorded: one test per stage, each on recorded inputs."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edge_export.checkpoint import open_checkpoint

SECONDS = torch.tensor([1.0])  # as recorded in expected.safetensors


@pytest.fixture(scope="module")
def checkpoint(oracle):
    return open_checkpoint(oracle)


@pytest.fixture(scope="module")
def expected(oracle) -> dict[str, Tensor]:
    return load_file(oracle / "expected.safetensors")


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the expected range, and of the same shape and dtype."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert (actual - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())


def test_conditioner(checkpoint, expected):
    ids = expected["input_ids"]
    cross, global_cond = checkpoint.conditioner()(ids, (ids != 0).float(), SECONDS)
    assert_close(cross, expected["cross_attn_cond"])
    assert_close(global_cond, expected["global_cond"])


def test_dit_makes_the_recorded_velocity(checkpoint, expected):
    sigma = expected["sigmas"][:1]
    velocity = checkpoint.dit()(expected["noise"][0], sigma, expected["cross_attn_cond"], expected["global_cond"])
    assert_close(velocity, expected["velocity_0"])


def test_decoder_makes_the_recorded_audio_to_90_db(checkpoint, expected):
    audio = checkpoint.decoder()(expected["latent"])
    assert_close(audio, expected["audio"])
    error = (audio - expected["audio"]).double().square().sum()
    assert 10 * torch.log10(expected["audio"].double().square().sum() / error) >= 90


def test_encoder_makes_the_recorded_mean_and_scale(checkpoint, expected):
    mean, scale = checkpoint.encoder()(expected["audio"])
    assert_close(mean, expected["encoder_mean"])
    assert_close(scale, expected["encoder_scale"])
