"""Sigmas are PyTorch's, and ping-pong is the loop that a reader of the paper would write."""

import math
from collections.abc import Iterable, Iterator
from itertools import repeat

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from runtime_py.errors import GenerationError, UsageError
from runtime_py.random import TorchRandom
from runtime_py.sampler import SAMPLERS, Step, Velocity, logsnr_grid, pingpong

SHAPE = (1, 64, 16)
sigmas = SAMPLERS["pingpong"].sigmas


def field(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
    """A velocity that depends on all it is given, so that no step can be left out or swapped."""
    return np.tanh(latent[..., ::-1]) * (np.float32(0.5) + sigma) - np.float32(0.1) * sigma


def noises(count: int, seed: int = 3) -> list[np.ndarray]:
    source = TorchRandom(seed)
    return [source.randn(*SHAPE) for _ in range(count)]


def walk(velocity: Velocity, noise: Iterable[np.ndarray], schedule: np.ndarray) -> Iterator[Step]:
    """Ping-pong from the first draw of `noise`."""
    draws = iter(noise)
    return pingpong(velocity, next(draws), draws, schedule)


def by_hand(noise: list[np.ndarray], schedule: np.ndarray) -> np.ndarray:
    """The same in double precision, written out."""
    latent = noise[0].astype(np.float64)
    for index in range(len(schedule) - 1):
        clean = latent - schedule[index] * field(latent, schedule[index])
        if index == len(schedule) - 2:
            break
        latent = (1 - schedule[index + 1]) * clean + schedule[index + 1] * noise[index + 1]
    return clean


def test_eight_steps_have_the_published_librarys_sigmas(oracle):
    wanted = load_file(oracle / "expected.safetensors")["sigmas"]
    np.testing.assert_allclose(sigmas(8), wanted, rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 25, 1000])
@pytest.mark.parametrize(("low", "high"), [(-6.0, 2.0), (-4.0, 4.0)])
def test_sigmas_are_torchs(steps, low, high):
    wanted = torch.sigmoid(-torch.linspace(low, high, steps + 1))
    wanted[0], wanted[-1] = 1, 0
    np.testing.assert_allclose(
        logsnr_grid(steps, logsnr_low=low, logsnr_high=high), wanted.numpy(), rtol=0, atol=1.2e-7
    )


@pytest.mark.parametrize("steps", [1, 2, 8, 1000])
def test_sigmas_fall_from_one_to_zero(steps):
    made = sigmas(steps)
    assert (made.dtype, made.shape, made[0], made[-1]) == (np.float32, (steps + 1,), 1, 0)
    assert (np.diff(made) < 0).all()


@pytest.mark.parametrize("steps", [0, -1, 1001, 10**9])
def test_steps_that_make_no_sense_are_refused(steps):
    with pytest.raises(UsageError, match=f"^steps is {steps}, expected 1 to 1000"):
        sigmas(steps)


# A start that is noised to less than 1


def grid_of_the_published_library(steps: int, sigma_max: float) -> np.ndarray:
    """What stable-audio-tools 0.0.19 writes in `sample_rf` and its schedule of logSNR, with torch."""
    low = math.log((1 - sigma_max) / sigma_max + 1e-6) if sigma_max < 1 else -6
    made = torch.sigmoid(-torch.linspace(low, 2, steps + 1))
    made[0], made[-1] = sigma_max, 0
    return made.numpy()


@pytest.mark.parametrize("steps", [1, 2, 8, 100])
@pytest.mark.parametrize("first", [0.13, 0.3, 0.5, 0.7, 0.9, 0.999, 0.99999, 1.0])
def test_sigmas_from_a_start_are_the_published_librarys(steps, first):
    made = sigmas(steps, first=first)
    np.testing.assert_allclose(made, grid_of_the_published_library(steps, first), rtol=0, atol=1.2e-7)
    assert (made.dtype, made.shape, made[0], made[-1]) == (np.float32, (steps + 1,), np.float32(first), 0)
    assert (np.diff(made) < 0).all()


@pytest.mark.parametrize("first", [0, -0.5, 0.1, 0.1192, 1.0001, math.nan, math.inf])
def test_a_start_from_which_sigmas_would_not_fall_is_refused(first):
    with pytest.raises(UsageError, match=r"^the first sigma is .*, expected above 0\.1192 and up to 1$"):
        sigmas(8, first=first)


# The table


def test_parameters_of_none_are_the_published_ones():
    sampler = SAMPLERS["pingpong"]
    assert dict(sampler.defaults) == {"logsnr_low": -6.0, "logsnr_high": 2.0}
    assert np.array_equal(sampler.sigmas(8), sampler.sigmas(8, {"logsnr_low": -6.0, "logsnr_high": 2.0}))
    assert sampler.steps is pingpong


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_every_sampler_takes_its_own_parameters_and_ends_at_zero(sampler):
    assert sampler.problem(sampler.defaults) is None
    made = sampler.sigmas(8)
    assert (made[0], made[-1]) == (1, 0)
    *_, last = sampler.steps(field, noises(1)[0], iter(noises(8)), made)
    assert (last.index, last.clean.shape, last.clean.dtype) == (7, SHAPE, np.float32)


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({}, "are none, expected logsnr_low, logsnr_high"),
        ({"logsnr_low": -6.0}, "are logsnr_low, expected logsnr_low, logsnr_high"),
        ({"logsnr_low": -6.0, "logsnr_high": math.inf}, "are not all finite"),
        ({"logsnr_low": 2.0, "logsnr_high": 2.0}, "must have logsnr_low below logsnr_high"),
        ({"logsnr_low": 3.0, "logsnr_high": 2.0}, "must have logsnr_low below logsnr_high"),
        ({"logsnr_low": -6.0, "logsnr_high": 1e4}, "must have logsnr_low below logsnr_high, both within -100..100"),
        ({"logsnr_low": -1e4, "logsnr_high": 2.0}, "must have logsnr_low below logsnr_high, both within -100..100"),
    ],
)
def test_what_is_wrong_with_parameters_is_named(parameters, problem):
    found = SAMPLERS["pingpong"].problem(parameters)
    assert found is not None and found.startswith(problem)


# Ping-pong


@pytest.mark.parametrize("steps", [1, 2, 8, 30])
def test_pingpong_is_the_plain_loop(steps):
    noise, schedule = noises(steps), sigmas(steps)
    taken = list(walk(field, noise, schedule))
    np.testing.assert_allclose(taken[-1].clean, by_hand(noise, schedule), rtol=0, atol=2e-5)
    assert [step.index for step in taken] == list(range(steps))
    assert taken[-1].clean.dtype == np.float32


def test_a_step_holds_what_entered_the_network_and_what_came_out():
    seen = []

    def remembering(latent, sigma):
        seen.append((latent, sigma))
        return field(latent, sigma)

    noise, schedule = noises(8), sigmas(8)
    taken = list(walk(remembering, noise, schedule))
    np.testing.assert_array_equal(taken[0].latent, noise[0])
    np.testing.assert_array_equal([sigma for _, sigma in seen], schedule[:-1])
    for step, (latent, sigma) in zip(taken, seen, strict=True):
        np.testing.assert_array_equal(step.latent, latent)
        np.testing.assert_array_equal(step.velocity, field(latent, sigma))
        np.testing.assert_array_equal(step.clean, latent - sigma * step.velocity)
        assert step.sigma == float(sigma)
    for before, after, sigma, drawn in zip(taken, taken[1:], schedule[1:], noise[1:]):
        np.testing.assert_allclose(after.latent, (1 - sigma) * before.clean + sigma * drawn, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_it_draws_noise_once_a_step_and_only_when_that_step_is_asked_for(steps):
    drawn = []

    def counting():
        for noise in noises(steps + 5):
            drawn.append(noise)
            yield noise

    for count, _ in enumerate(walk(field, counting(), sigmas(steps)), start=1):
        assert len(drawn) == count
    assert len(drawn) == steps


def test_a_perfect_velocity_lands_on_the_clean_latent_at_once():
    clean = noises(1, seed=9)[0]

    def perfect(latent, sigma):
        return (latent - clean) / sigma

    for step in walk(perfect, noises(8), sigmas(8)):
        np.testing.assert_allclose(step.clean, clean, rtol=0, atol=1e-6)


def test_without_velocity_one_step_gives_the_noise_back():
    noise = noises(1)
    (step,) = walk(lambda latent, sigma: np.zeros_like(latent), noise, sigmas(1))
    np.testing.assert_array_equal(step.clean, noise[0])


def test_a_schedule_in_double_precision_still_gives_float32():
    (*_, last) = walk(field, noises(4), sigmas(4).astype(np.float64))
    (*_, wanted) = walk(field, noises(4), sigmas(4))
    assert last.clean.dtype == np.float32
    np.testing.assert_array_equal(last.clean, wanted.clean)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("wrong", [1, 3, 8])
def test_the_step_that_returned_no_number_is_named(bad, wrong):
    calls = []

    def failing(latent, sigma):
        calls.append(sigma)
        made = np.zeros_like(latent)
        made[0, 5, 7] = bad if len(calls) == wrong else 0
        return made

    with pytest.raises(GenerationError, match=rf"NaN or infinity in step {wrong};"):
        list(walk(failing, repeat(noises(1)[0]), sigmas(8)))
    assert len(calls) == wrong
