"""Playing many prompts at once is playing each alone; Euler steps by hand; guidance by hand."""

import numpy as np
import pytest
import torch

from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import CheckpointError, GenerationError
from edge_export.model.layers import SnakeBeta
from post_training.play import BundlePlayer, NetworkPlayer, check_rate, euler, snakes_in_place
from runtime_py.bundle import open_bundle
from runtime_py.request import Request

SECONDS = 0.5


def requested(prompt: str, seed: int) -> Request:
    return Request(prompt=prompt, seconds=SECONDS, seed=seed, steps=2)


REQUESTS = (requested("warm rain", 3), requested("a beep", 4), requested("warm rain", 5))


@pytest.fixture(scope="module")
def checkpoint(oracle) -> Checkpoint:
    return open_checkpoint(oracle)


@pytest.fixture(scope="module")
def network(checkpoint) -> NetworkPlayer:
    return NetworkPlayer(checkpoint, device="cpu", threads=2)


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return float(np.abs(one - other).max()) < 1e-4 * float(np.abs(one).max())


def test_a_batch_is_its_clips(network):
    together = network.play(REQUESTS)
    assert together.shape == (3, 2, round(SECONDS * network.rate)) and together.dtype == np.float32
    for request, made in zip(REQUESTS, together):
        assert close(network.play([request])[0], made)
    assert not close(together[0], together[2])


def test_snakes_in_place_are_the_same_bit_for_bit(checkpoint):
    latent = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        quick = snakes_in_place(checkpoint.decoder())
        assert not any(isinstance(module, SnakeBeta) for module in quick.modules())
        assert torch.equal(quick(latent), checkpoint.decoder()(latent))


def test_the_network_plays_what_run_plays(network, built):
    """`edge-export run --engine reference`, and an fp32 bundle, sound the same."""
    bundle = BundlePlayer(open_bundle(built("executorch", "fp32")))
    assert bundle.rate == network.rate
    theirs, ours = (player.play(REQUESTS[:1]) for player in (bundle, network))
    assert close(theirs, ours)


def test_guidance_of_one_is_none_and_of_zero_forgets_the_prompt(network):
    one, other = (network.play([requested(prompt, 1)], guidance=0.0) for prompt in ("rain", "beep"))
    assert close(one, other)
    prompted = network.play([requested("rain", 1)], guidance=1.0)
    assert not close(one, prompted)


def test_guidance_goes_beyond_the_prompt(network):
    latent = np.random.default_rng(0).standard_normal((1, *network.spec.latent.shape)).astype(np.float32)
    with torch.inference_mode():
        free, prompted, guided = (
            network.velocity(["rain"], SECONDS, guidance)(latent, np.float32(0.5)) for guidance in (0.0, 1.0, 4.0)
        )
    assert np.allclose(guided, free + 4 * (prompted - free), atol=1e-4)


def test_euler_by_hand():
    seen = []

    def velocity(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
        seen.append(float(sigma))
        return latent

    # x (1 - 1/2) twice
    assert euler(velocity, np.array([4.0], np.float32), 2).tolist() == [1.0]
    assert seen == [1.0, 0.5]


def test_a_straight_flow_needs_one_step():
    clean, noise = np.float32([3.0]), np.float32([-1.0])
    for steps in (1, 7):
        assert euler(lambda *_: noise - clean, noise, steps) == pytest.approx(clean)


def test_nan_is_refused():
    with pytest.raises(GenerationError, match="NaN or infinity at sigma 1"):
        euler(lambda latent, _: latent * np.nan, np.ones(1, np.float32), 2)


def test_another_sample_rate_is_refused(network):
    check_rate(network, 44100, "it")
    with pytest.raises(CheckpointError, match="the judge hears 22050 Hz"):
        check_rate(network, 22050, "it")
