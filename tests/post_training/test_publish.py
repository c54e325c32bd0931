"""A checkpoint published from here is what edge_export's strict loader asks for, and makes the same numbers."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus

from edge_export.checkpoint import open_checkpoint
from edge_export.errors import OutputError
from post_training.config import load_config
from post_training.network import build_autoencoder, build_flow, model_config, parameters
from post_training.publish import Trained, publish
from post_training.text import tokenize, train_spiece
from runtime_py.metrics import snr_db
from tests.post_training.small import CONFIG, draw, shaken

pytestmark = pytest.mark.train

SMALL = Path(__file__).parents[2] / "configs" / "small.toml"
CAPTIONS = [draw(seed, seconds=0.01).caption for seed in range(40)]


@pytest.fixture(scope="module")
def trained() -> Trained:
    torch.manual_seed(0)
    return Trained(
        network=CONFIG.network,
        autoencoder=shaken(build_autoencoder(CONFIG.network)).eval(),
        flow=shaken(build_flow(CONFIG.network)).eval(),
        spiece=train_spiece(CAPTIONS, CONFIG.network.pieces),
        analysis=b"what latents say",
    )


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "model"
    publish(trained, folder, "# A card\n")
    return folder


def close(ours: torch.Tensor, theirs: torch.Tensor, decibels: float = 45) -> bool:
    """45 dB: what half precision leaves."""
    return snr_db(ours.detach().numpy(), theirs.detach().numpy()) > decibels


def test_the_strict_loader_opens_it(published):
    checkpoint = open_checkpoint(published)
    assert checkpoint.config.latent_scale == 1
    assert checkpoint.config.latent_length == CONFIG.network.latents
    assert checkpoint.config.conditioner.seconds_max == 1  # 16 latents are 0.74 s
    assert (published / "README.md").read_text() == "# A card\n"


def test_the_loaded_network_makes_the_same_numbers(published, trained):
    checkpoint = open_checkpoint(published)
    torch.manual_seed(1)
    latent, audio = torch.randn(2, 64, 16), torch.randn(2, 2, 16 * 2048) * 0.1
    ids, mask = map(torch.from_numpy, tokenize(trained.spiece, CAPTIONS[:2], 16))
    sigma, seconds = torch.tensor([0.3, 0.9]), torch.tensor([0.2, 0.7])
    with torch.no_grad():
        cond = checkpoint.conditioner()(ids, mask, seconds)
        assert close(trained.flow(latent, sigma, ids, mask, seconds), checkpoint.dit()(latent, sigma, *cond))
        assert close(trained.autoencoder.decoder(latent), checkpoint.decoder()(latent))
        mean, std = trained.autoencoder.encode(audio)
        assert close(mean, checkpoint.encoder()(audio)[0])
        assert close(std, softplus(checkpoint.encoder()(audio)[1]))


def test_half_precision_but_for_frequencies(published):
    checkpoint = open_checkpoint(published)
    kinds = {name: checkpoint.weights.get(name).dtype for name in checkpoint.weights.shapes}
    exact = {name for name, kind in kinds.items() if kind == torch.float32}
    assert exact == {
        "model.model.transformer.rotary_pos_emb.inv_freq",
        "model.model.timestep_features.weight",
        "conditioner.conditioners.seconds_total.embedder.embedding.0.weights",
    }
    assert set(kinds.values()) == {torch.float32, torch.float16}


def test_nothing_is_overwritten(published, trained):
    with pytest.raises(OutputError, match="exists"):
        publish(trained, published, "")


def test_the_small_model_is_small_enough(tmp_path):
    network = load_config(SMALL).network
    modules = build_autoencoder(network), build_flow(network)
    spiece = train_spiece(CAPTIONS, 200)
    trained = Trained(network=network, autoencoder=modules[0], flow=modules[1], spiece=spiece, analysis=bytes(50_000))
    size = publish(trained, tmp_path / "small", "")
    assert 23e6 < size < 23.8e6  # the tokenizer of 1000 pieces adds a few kB to the letters'
    assert size == pytest.approx(2 * sum(map(parameters, modules)), rel=0.02)


def test_a_velocity_begins_at_zero_and_audio_quiet():
    flow, autoencoder = build_flow(CONFIG.network), build_autoencoder(CONFIG.network)
    ids, mask = torch.ones(1, 16, dtype=torch.int64), torch.ones(1, 16)
    assert not flow(torch.randn(1, 64, 16), torch.ones(1), ids, mask, torch.ones(1)).any()
    audio, mean, std = autoencoder(torch.randn(1, 64, 16), torch.randn(1, 2, 16 * 2048) * 0.1)
    assert 0 < audio.std() < 1 and 0 < mean.std() < 1 and 0.5 < std.mean() < 1.5


def test_the_config_is_the_published_family():
    config = model_config(load_config(SMALL).network)
    assert (config.decoder.strides, config.decoder.hop, config.dit.qk_norm) == ((256, 2, 4), 2048, "ln")
    assert config.conditioner.tokens == 64 and config.latent_length == 160 and config.dit.head_dim == 64
