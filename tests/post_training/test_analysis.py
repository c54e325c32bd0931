"""Latents tell what a sound is like: where it lies in time, frequency and on the sides, and nothing of its phase."""

from dataclasses import replace

import pytest
import torch

from edge_export.errors import UsageError
from post_training.analysis import BANDS, SIDES, TONES, Analysis, fitted
from post_training.clips import Plan, make_clips
from tests.post_training.small import CONFIG, draw

SAMPLES = 4 * 2048


def tone(hertz: float, phase: float = 0.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(SAMPLES) / 44100 + phase).expand(1, 2, SAMPLES)


def test_a_tone_is_heard_in_its_band_and_semitone_whatever_its_phase():
    features = Analysis().features(tone(440))[0, 1]
    assert int(features[-TONES:].argmax()) == 24  # two octaves above 110 Hz
    lower = Analysis().features(tone(220))[0, 1]
    assert int(lower[:BANDS].argmax()) < int(features[:BANDS].argmax())
    assert torch.allclose(Analysis().features(tone(440, 1.5))[0, 1], features, atol=2e-2)


def test_time_and_sides_are_told():
    torch.manual_seed(0)
    audio = torch.zeros(1, 2, SAMPLES)
    audio[0, 1, 2048 : 2048 + 900] = torch.randn(900) * 0.3  # on the right, early in the second latent
    features = Analysis().features(audio)[0]
    early, late = features[1].split([BANDS + SIDES, features.shape[1] - BANDS - SIDES])
    assert early[:BANDS].mean() > 1.5 * late[:BANDS].mean()
    assert (early[BANDS:] > 0.1).all() and features[3, BANDS : BANDS + SIDES].abs().max() < 1e-6


def test_components_are_uncorrelated_with_unit_mean_square_and_the_strong_stay_stronger():
    torch.manual_seed(0)
    analysis = Analysis()
    features = torch.randn(4000, len(analysis.mean)) * torch.linspace(3, 0.1, len(analysis.mean)) + 1
    analysis.fit(features)
    latents = (features - analysis.mean) @ analysis.basis
    covariance = torch.cov(latents.T)
    assert covariance.diagonal().mean() == pytest.approx(1, abs=0.01)
    assert covariance[0, 0] > 1.5 * covariance[63, 63]
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3


def test_fewer_stretches_than_features_still_give_numbers():
    analysis = Analysis()
    torch.manual_seed(0)
    analysis.fit(torch.randn(5, len(analysis.mean)))
    assert torch.isfinite(analysis.basis).all()
    assert ((torch.randn(5, len(analysis.mean)) - analysis.mean) @ analysis.basis).abs().max() < 100


def test_it_is_fitted_once_and_a_damaged_file_is_refused(tmp_path):
    plan = Plan(seed=1, samples=SAMPLES, data=replace(CONFIG.data, shortest=0.05))
    clips = make_clips(tmp_path / "clips", plan, draw)
    path = tmp_path / "analysis.safetensors"
    first = fitted(path, clips)
    before = path.stat().st_mtime_ns
    assert torch.equal(fitted(path, clips).basis, first.basis) and path.stat().st_mtime_ns == before
    assert first(torch.from_numpy(clips.read(0))[None]).shape == (1, 64, 4)
    path.write_bytes(b"none")
    with pytest.raises(UsageError, match=r"no analysis of this version .*; choose another --run"):
        fitted(path, clips)
