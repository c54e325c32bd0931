"""Every loss against a case computed by hand, and against what must make it fall or rise."""

import math

import pytest
import torch

from post_training import losses
from post_training.losses import (
    StftDiscriminator,
    StftLoss,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    kl,
)


def tone(frequency: float, level: float = 0.3, side: float = 1.0) -> torch.Tensor:
    wave = level * torch.sin(2 * math.pi * frequency * torch.arange(8192) / 44100)
    return torch.stack([wave, side * wave])[None]


def test_kl_by_hand():
    target, mean, std = torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.full((1, 2, 3), 0.5)
    assert float(kl(target, 0.5, mean, std)) == pytest.approx(0)
    # two channels: (1/4 + 4) / (2 / 4) - 1/2, and ln 4 + (1/4 + 0) / (2 * 4) - 1/2
    mean[:, 0], std[:, 1] = 3.0, 2.0
    expected = ((0.25 + 4) / 0.5 - 0.5 + math.log(4) + 0.25 / 8 - 0.5) / 2
    assert float(kl(target, 0.5, mean, std)) == pytest.approx(expected)


def test_kl_is_least_at_the_target():
    target = torch.randn(1, 2, 3)
    std = torch.full_like(target, 0.3)
    assert kl(target, 0.3, target, std) < kl(target, 0.3, target + 0.1, std)
    assert kl(target, 0.3, target, std) < kl(target, 0.3, target, 1.2 * std)


def test_hinges_by_hand():
    real = [torch.tensor([2.0, 0.5]), torch.tensor([-1.0])]
    made = [torch.tensor([-2.0, 0.0]), torch.tensor([0.5])]
    # scale 1: (0 + 0.5) / 2 + (0 + 1) / 2; scale 2: 2 + 1.5; then the mean of both
    assert float(hinge_discriminator(real, made)) == pytest.approx((0.75 + 3.5) / 2)
    assert float(hinge_generator(made)) == pytest.approx((1.0 - 0.5) / 2)


def test_feature_matching_by_hand_and_it_teaches_the_maker_alone():
    real = [[torch.tensor([1.0, 3.0], requires_grad=True)]]
    made = [[torch.tensor([0.0, 4.0], requires_grad=True)]]
    loss = feature_matching(real, made)
    assert loss.item() == pytest.approx(1 / 2)  # mean |(1, -1)| over mean |(1, 3)|
    loss.backward()
    assert real[0][0].grad is None and made[0][0].grad is not None


@pytest.mark.parametrize("size", [512, 128])
def test_the_stft_loss_is_small_for_the_same_and_grows_with_the_difference(size):
    torch.manual_seed(0)
    stft, real = StftLoss(size), tone(440)
    same, near, far = (float(stft(made, real)) for made in (real, tone(440, 0.25), tone(1000)))
    assert same < 1e-3 < near < far


def test_the_stft_loss_hears_the_side_of_a_sound():
    stft, wide = StftLoss(512), tone(440, side=-1.0)
    torch.manual_seed(0)
    assert float(stft(tone(440, side=1.0), wide)) > 1


def test_the_terms_of_a_spectrum_by_hand():
    """One frame of two bands of a bin each: left and right the same, 3 and 0.01, made 1 and 0.01; no difference."""
    real, made = (
        torch.tensor([level, 0.01])[None, None, :, None, None] * torch.tensor([1.0, 0.0]) for level in (3.0, 1.0)
    )
    real, made = real.expand(1, 2, 2, 1, 2), made.expand(1, 2, 2, 1, 2)
    terms = float(losses.spectral_terms(made, real, torch.eye(2), faintest=0.1))
    floor = 0.1 + 0.01 * 6  # of the sum, the loudest of the four
    levels = [(3, 1), (0.01, 0.01), (3, 1), (0.01, 0.01), (6, 2), (0.02, 0.02), (0, 0), (0, 0)]
    weights = [((level + floor) / (6 + floor)) ** 0.3 for level, _ in levels]
    logs = [weight * math.log((r + floor) / (m + floor)) for weight, (r, m) in zip(weights, levels)]
    off, power = (2**2 * 2 + 4**2) / 8, (3**2 * 2 + 6**2 + 0.01**2 * 2 + 0.02**2) / 8
    expected = 2 * (math.sqrt(off / (power + 0.2**2)) + sum(logs) / sum(weights))
    assert terms == pytest.approx(expected, rel=1e-4)


def test_convergence_is_that_of_each_clip():
    """A soft clip that is missing costs as much as a loud one."""
    stft, loud, soft = StftLoss(512), tone(1000, 0.5), tone(2000, 0.02)
    both = torch.cat([loud, soft])
    without = [float(stft(torch.cat(made), both)) for made in ((loud * 0, soft), (loud, soft * 0))]
    assert without[1] > 0.6 * without[0]


def test_a_tone_beside_its_place_in_a_band_costs_less_than_none():
    stft, real = StftLoss(2048), tone(6000)
    beside, none = (float(stft(made, real)) for made in (tone(6040), tone(6000) * 0))
    assert beside < 0.2 * none


def test_flatness_by_hand():
    """Two bins of powers 1 and 9, a floor of nothing: the root of 3 through that of 5."""
    powers, filters = torch.tensor([1.0, 9.0])[None, None, :, None], torch.tensor([[0.5, 0.5]])
    flatness = losses.log_flatness(powers, losses.band_levels(powers, filters), filters, torch.tensor(0.0))
    assert float(flatness) == pytest.approx(math.log(3**0.5 / 5**0.5))


def test_noise_as_a_comb_of_tones_costs_more_than_other_noise():
    """Both are as loud in every band as what is to be played."""
    torch.manual_seed(0)
    stft, real, other = StftLoss(2048), *(0.1 * torch.randn(2, 1, 2, 44100))
    comb = other[..., :256].repeat(1, 1, 173)[..., :44100]
    assert float(stft(comb, real)) > 1.5 * float(stft(other, real))


def test_what_a_loud_sound_masks_weighs_little():
    """The same faint noise, beside a tone and alone."""
    torch.manual_seed(0)
    stft, faint = StftLoss(512), 1e-3 * torch.randn(1, 2, 8192)
    beside = stft(tone(440) + faint, tone(440))
    alone = stft(faint, tone(440) * 0)
    assert float(beside) < 0.2 * float(alone)


def test_silence_has_a_bounded_loss():
    """A faint error under a silent side must not weigh like an audible one."""
    torch.manual_seed(0)
    stft, mono = StftLoss(512), tone(440)
    faint = mono + 1e-4 * torch.randn(1, 2, 8192)
    assert float(stft(faint, mono)) < 0.5 and float(stft(mono * 0, mono * 0)) < 1e-3


def test_the_discriminator_sees_every_scale_and_both_channels():
    torch.manual_seed(0)
    discriminator = StftDiscriminator((256, 64), 4)
    audio = torch.randn(2, 2, 2048) * 0.1
    scores, features = discriminator(audio)
    assert [s.shape[:2] for s in scores] == [(2, 1)] * 2 and [len(f) for f in features] == [5, 5]
    assert [f.shape[2] for f in (features[0][0], features[1][0])] == [2048 // 64 + 1, 2048 // 16 + 1]
    changed = audio.clone()
    changed[:, 1] *= -1
    assert not torch.allclose(discriminator(changed)[0][0], scores[0])


def test_its_spectrogram_is_the_fourier_transform():
    scale = StftDiscriminator((64,), 4).scales[0]
    audio = torch.randn(1, 2, 256)
    made = scale.spectrogram(audio)  # [1, left re, left im, right re, right im; frames, bins]
    frame = audio[0, 1, 64 - 32 : 64 + 32] * torch.hann_window(64)
    expected = torch.fft.rfft(frame) / 8
    assert torch.allclose(torch.complex(made[0, 2, 4], made[0, 3, 4]), expected, atol=1e-5)
