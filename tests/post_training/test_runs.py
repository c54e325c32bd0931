"""All stages, on the smallest network: they follow one another, resume bit for bit, and can be published."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from edge_export.checkpoint import open_checkpoint
from edge_export.errors import UsageError
from post_training.loop import RunFolder
from post_training.publish import publish
from post_training.runs import STAGES, Run, ablated, with_steps
from tests.post_training.small import CONFIG, draw

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    run = Run(tmp_path_factory.mktemp("run"), CONFIG, draw)
    for stage in STAGES:
        assert run.train(stage).complete
    return run


def tensors(state: object) -> list[torch.Tensor]:
    """All tensors of a saved state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list) else []
    return [tensor for part in parts for tensor in tensors(part)]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_resumes_bit_for_bit(trained, tmp_path, stage):
    """Stopped after half of its steps, with everything before it as it was."""
    for name in ("clips", "latents", "analysis.safetensors", "spiece.model", *STAGES[: STAGES.index(stage)]):
        (tmp_path / name).symlink_to(trained.folder / name)
    half = Run(tmp_path, with_steps(CONFIG, stage, 2), draw)
    assert half.train(stage).step == 2
    assert Run(tmp_path, CONFIG, draw).train(stage).step == 4
    expected, ours = (RunFolder(folder / stage).load() for folder in (trained.folder, tmp_path))
    assert len(tensors(ours)) > 20
    assert all(torch.equal(a, b) for a, b in zip(tensors(expected), tensors(ours), strict=True))


def test_the_latents_are_those_of_the_analysis(trained):
    latents = trained.latents
    assert latents.means.shape == (10, 64, 16) and len(latents.captions) == 10
    expected = trained.analysis(torch.from_numpy(trained.clips.read(7))[None])
    assert torch.allclose(latents.means[7].float(), expected[0], atol=2e-2, rtol=1e-2)


def test_what_was_trained_is_published_and_opened(trained, tmp_path):
    made = trained.trained("arc")
    publish(made, tmp_path / "model", "card")
    decoder = open_checkpoint(tmp_path / "model").decoder()
    latent = trained.latents.means[:1].float()
    theirs = made.autoencoder.decoder(latent)
    assert torch.allclose(decoder(latent), theirs, atol=0.02 * float(theirs.abs().max()))
    base, arc = trained.trained("flow").flow, made.flow
    assert not torch.equal(base.dit.transformer.project_out.weight, arc.dit.transformer.project_out.weight)
    assert torch.equal(base.conditioner.prompt.t5.shared.weight, arc.conditioner.prompt.t5.shared.weight)


def test_what_is_published_keeps_the_energy_of_the_clips(trained):
    decode = trained.trained("arc").autoencoder.decode
    clips = [torch.from_numpy(trained.clips.read(index))[None] for index in range(len(trained.clips))]
    with torch.no_grad():
        played = [decode(trained.analysis(clip)) for clip in clips]
    energy = [sum(float(each.square().sum()) for each in sounds) for sounds in (clips, played)]
    assert energy[0] == pytest.approx(energy[1], rel=1e-3) and energy[0] > 1


def test_clips_of_another_run_can_be_used(trained, tmp_path):
    run = Run(tmp_path, CONFIG, draw, clips_folder=trained.folder / "clips")
    assert np.array_equal(run.clips.read(3), trained.clips.read(3))
    assert not (tmp_path / "clips").exists()
    with pytest.raises(UsageError, match="no clips in"):
        _ = Run(tmp_path, CONFIG, draw, clips_folder=tmp_path / "none").clips


def test_a_stage_needs_the_one_before(tmp_path, trained):
    (tmp_path / "clips").symlink_to(trained.folder / "clips")
    with pytest.raises(UsageError, match=r"no .*state\.pt; first, .* train autoencoder"):
        Run(tmp_path, CONFIG, draw).trained("flow")
    with pytest.raises(UsageError, match=r"no .*state\.pt; first, .* train flow"):
        Run(tmp_path, CONFIG, draw).train("arc")


def test_the_flow_does_not_wait_for_the_autoencoder(trained, tmp_path):
    (tmp_path / "clips").symlink_to(trained.folder / "clips")
    assert Run(tmp_path, with_steps(CONFIG, "flow", 1), draw).train("flow").complete


def test_ablations_have_folders_of_their_own(trained):
    run = replace(trained, config=with_steps(ablated(CONFIG, contrastive=False, least_squares=True), "arc", 1))
    assert run.train("arc").complete
    assert (trained.folder / "arc-no-contrastive-least-squares" / "state.pt").exists()


def test_an_analysis_of_another_run_is_refused(trained, tmp_path):
    for name in ("clips", "latents", "spiece.model"):
        (tmp_path / name).symlink_to(trained.folder / name)
    analysis = load((trained.folder / "analysis.safetensors").read_bytes())
    (tmp_path / "analysis.safetensors").write_bytes(save({name: 2 * tensor for name, tensor in analysis.items()}))
    with pytest.raises(UsageError, match="of another analysis"):
        Run(tmp_path, CONFIG, draw).train("flow")
