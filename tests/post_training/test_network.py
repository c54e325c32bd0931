"""Averages by hand, the autoencoder's forward, and the flow as it runs on a GPU: half the bits, the same velocity."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edge_export.model.layers import FourierFeatures
from post_training.network import (
    ExactFourierFeatures,
    averaged,
    build_autoencoder,
    build_flow,
    early_decay,
    update_average,
)
from runtime_py.metrics import snr_db
from tests.post_training.small import CONFIG, shaken


def test_the_average_by_hand():
    module = nn.BatchNorm1d(1)
    average = averaged(module)
    with torch.no_grad():
        module.weight.fill_(3.0)
    module.running_mean.fill_(7.0)
    update_average(average, module, 0.75)
    assert float(average.weight) == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert float(average.running_mean) == 7 and not average.weight.requires_grad
    assert module.weight.item() == 3


def test_the_average_forgets_its_beginning_soon():
    assert early_decay(0.999, 0) == pytest.approx(0.1) and early_decay(0.999, 90) == pytest.approx(0.91)
    assert early_decay(0.999, 10**6) == 0.999


def test_the_autoencoder_decodes_and_encodes():
    torch.manual_seed(0)
    made = shaken(build_autoencoder(CONFIG.network)).eval()
    audio, latent = torch.randn(1, 2, 4 * 2048) * 0.1, torch.randn(2, 64, 4)
    with torch.no_grad():
        played, mean, std = made(latent, audio)
        assert snr_db(made.decoder(latent).numpy(), played.numpy()) > 90
        raw_mean, raw_scale = made.encoder(audio)
    assert snr_db(raw_mean.numpy(), mean.numpy()) > 90 and (std > 1e-4).all()
    assert torch.allclose(std, nn.functional.softplus(raw_scale) + 1e-4)
    assert played.shape == (2, 2, 4 * 2048)


def test_the_filters_next_to_the_audio_lose_nothing():
    """What the encoder's first strided convolution makes, the decoder's last one turns back into the sound."""
    torch.manual_seed(0)
    # Each side wants a filter for every band: 4 channels, stride 4 are too few.
    network = replace(CONFIG.network, encoder_channels=8, decoder_channels=8)
    made = build_autoencoder(network)
    there, back = made.encoder.layers[1].layers[-1], made.decoder.layers[-4].layers[1]
    both = torch.randn(1, 2, 4096)
    inside = torch.zeros(1, 8, 4096)
    inside[:, :2] = both
    with torch.no_grad():
        again = back(there(inside))[:, :2]
    assert snr_db(both[..., 64:-64].numpy(), again[..., 64:-64].numpy()) > 60


def test_left_and_right_begin_as_one_sound_and_part_where_they_are_told_apart():
    torch.manual_seed(0)
    decoder = build_autoencoder(replace(CONFIG.network, decoder_channels=4)).decoder
    latent = torch.randn(1, 64, 4)
    playing = decoder.layers[-4].layers[1].parametrizations.weight.original0
    with torch.no_grad():
        left, right = decoder(latent)[0]
        playing[: len(playing) // 2] = 0  # the filters of the left side
        alone = decoder(latent)[0]
    assert snr_db(left.numpy(), right.numpy()) > 30
    assert alone[0].square().mean() < alone[1].square().mean() / 100


def test_the_flow_in_bfloat16_is_the_flow():
    torch.manual_seed(0)
    flow = shaken(build_flow(CONFIG.network)).eval()
    latent, sigma = torch.randn(4, 64, 16), torch.tensor([0.9, 0.5, 0.2, 0.01])
    ids, mask = torch.randint(3, 100, (4, 16)), torch.ones(4, 16)
    mask[:, 7:] = 0
    with torch.no_grad():
        exact = flow(latent, sigma, ids, mask, torch.ones(4))
        with torch.autocast("cpu", torch.bfloat16):
            half = flow(latent, sigma, ids, mask, torch.ones(4)).float()
    assert snr_db(exact.numpy(), half.numpy()) > 30


def test_times_keep_their_bits_under_autocast():
    published, ours = FourierFeatures(64), ExactFourierFeatures(64)
    ours.load_state_dict(published.state_dict())
    times = torch.linspace(0, 1, 500)[:, None]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(times), ours(times)) and ours(times).dtype == torch.float32
        under = ours(times)
    assert torch.equal(under, published(times))


def test_a_gradient_reaches_every_weight_after_one_step():
    """What begins at zero moves first; then nothing is cut off. Beyond the padding nothing counts."""
    torch.manual_seed(0)
    flow = shaken(build_flow(CONFIG.network))
    ids, mask = torch.randint(3, 100, (2, 16)), torch.ones(2, 16)
    flow(torch.randn(2, 64, 16), torch.tensor([0.3, 0.6]), ids, mask, torch.ones(2)).square().sum().backward()
    silent = [name for name, p in flow.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
