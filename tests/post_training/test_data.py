"""Latents: encoded once, the same in any batch, refused when they are another's."""

from dataclasses import replace

import pytest
import torch

from edge_export.errors import UsageError
from post_training import data
from post_training.analysis import Analysis
from post_training.clips import Plan, make_clips
from post_training.data import analyse_clips
from tests.post_training.small import CONFIG, draw

CPU = torch.device("cpu")
# Latents do not care how long clips are, and short ones are quick.
PLAN = Plan(seed=1, samples=4 * 2048, data=replace(CONFIG.data, shortest=0.05))


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    made = Analysis()
    torch.manual_seed(0)
    made.fit(torch.randn(300, len(made.mean)))
    return made


@pytest.fixture
def clips(tmp_path):
    return make_clips(tmp_path / "clips", PLAN, draw)


def test_each_clip_has_its_own_latent(tmp_path, clips, analysis, monkeypatch):
    monkeypatch.setattr(data, "ANALYSED_AT_ONCE", 3)
    latents = analyse_clips(tmp_path / "latents", clips, analysis, CPU)
    assert latents.means.shape == (10, 64, 4) and latents.means.dtype == torch.float16
    expected = analysis(torch.from_numpy(clips.read(6))[None])
    assert torch.allclose(latents.means[6].float(), expected[0], atol=2e-2, rtol=1e-2)
    assert latents.captions == clips.captions and latents.seconds == clips.seconds


def test_what_is_there_is_not_made_again(tmp_path, clips, analysis, monkeypatch):
    first = analyse_clips(tmp_path / "latents", clips, analysis, CPU)
    (tmp_path / "latents" / "latents-0000004.safetensors").unlink()
    asked = []
    analyse = data.analyse
    monkeypatch.setattr(data, "analyse", lambda a, c, indices, d: asked.append(indices) or analyse(a, c, indices, d))
    again = analyse_clips(tmp_path / "latents", clips, analysis, CPU)
    assert [index for some in asked for index in some] == [4, 5, 6, 7] and torch.equal(first.means, again.means)


def test_anothers_latents_and_damaged_ones_are_refused(tmp_path, clips, analysis):
    analyse_clips(tmp_path / "latents", clips, analysis, CPU)
    other = Analysis()
    with pytest.raises(UsageError, match=r"another analysis .*; remove"):
        analyse_clips(tmp_path / "latents", clips, other, CPU)
    (tmp_path / "latents" / "latents-0000000.safetensors").write_bytes(b"none")
    with pytest.raises(UsageError, match=r"no file of latents .*; remove it"):
        analyse_clips(tmp_path / "latents", clips, analysis, CPU)
