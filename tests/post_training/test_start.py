"""A run that goes on from a published checkpoint has its numbers, its words, and its latents."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from edge_export.errors import CheckpointError
from post_training.analysis import ANALYSIS_FILE, Analysis
from post_training.network import build_autoencoder, build_flow
from post_training.publish import Trained, publish
from post_training.runs import STAGES, Run, with_steps
from post_training.start import start_at
from post_training.text import train_spiece
from runtime_py.metrics import snr_db
from tests.post_training.small import CONFIG, draw, shaken

pytestmark = pytest.mark.train

CAPTIONS = [draw(seed, seconds=0.01).caption for seed in range(40)]


@pytest.fixture(scope="module")
def trained() -> Trained:
    torch.manual_seed(0)
    analysis = Analysis()
    analysis.fit(torch.randn(300, len(analysis.mean)))
    return Trained(
        network=CONFIG.network,
        autoencoder=shaken(build_autoencoder(CONFIG.network)).eval(),
        flow=shaken(build_flow(CONFIG.network)).eval(),
        spiece=train_spiece(CAPTIONS, CONFIG.network.pieces),
        analysis=save(analysis.state_dict()),
    )


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "model"
    publish(trained, folder, "card")
    return folder


def started(folder: Path, published: Path, config=CONFIG) -> Run:
    return Run(folder, config, draw, start=start_at(str(published), config.network))


def test_it_begins_with_the_published_numbers(published, trained):
    start = start_at(str(published), CONFIG.network)
    latent, audio = torch.randn(1, 64, 8), torch.randn(1, 2, 8 * 2048) * 0.1
    ours, theirs = start.autoencoder(), trained.autoencoder
    with torch.no_grad():
        assert snr_db(theirs.decode(latent).numpy(), ours.decode(latent).numpy()) > 45
        assert snr_db(theirs.encode(audio)[0].numpy(), ours.encode(audio)[0].numpy()) > 45
    assert "layers.0.parametrizations.weight.original0" in dict(ours.decoder.named_parameters())
    mine, its = start.flow().state_dict(), trained.flow.state_dict()
    assert all(torch.allclose(mine[name], its[name], atol=1e-3) for name in its)


def test_words_and_latents_are_the_start_s(published, trained, tmp_path):
    run = started(tmp_path, published)
    assert run.spiece == trained.spiece
    assert torch.equal(run.analysis.basis, load(trained.analysis)["basis"])
    assert (tmp_path / ANALYSIS_FILE).read_bytes() == trained.analysis


def test_stages_that_were_not_run_are_the_start_s(published, trained, tmp_path):
    run = started(tmp_path, published, with_steps(CONFIG, "arc", 1))
    assert run.train("arc").complete
    made = run.trained("arc")
    shared = made.flow.conditioner.prompt.t5.shared.weight
    assert torch.allclose(shared, trained.flow.conditioner.prompt.t5.shared.weight, atol=1e-3)
    moved = made.flow.dit.transformer.project_out.weight - trained.flow.dit.transformer.project_out.weight
    assert 0 < moved.detach().abs().max() < 0.01
    latent = torch.randn(1, 64, 8)
    with torch.no_grad():
        played, published_as = made.autoencoder.decode(latent), trained.autoencoder.decode(latent)
    gain = played.norm() / published_as.norm()  # publishing settles the loudness
    assert snr_db(published_as.numpy(), (played / gain).numpy()) > 45


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_goes_on_and_resumes(published, tmp_path, stage):
    folder = tmp_path / "new"
    assert started(folder, published, with_steps(CONFIG, stage, 1)).train(stage).step == 1
    assert started(folder, published, with_steps(CONFIG, stage, 2)).train(stage).step == 2


def test_another_size_is_refused(published):
    other = replace(CONFIG.network, embed_dim=128)
    with pytest.raises(CheckpointError, match=r"another \[network\] than the config"):
        start_at(str(published), other).flow()


def test_a_checkpoint_without_its_analysis_is_refused(published, tmp_path):
    for path in published.iterdir():
        if path.name != ANALYSIS_FILE:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(CheckpointError, match="without --start"):
        _ = started(tmp_path / "run", tmp_path).analysis
