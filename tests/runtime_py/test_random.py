"""A seed gives PyTorch's noise, whatever was drawn before it."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.errors import UsageError
from runtime_py.random import TorchRandom

TOLERANCE = 2e-6  # float32's log and cos differ between libraries by a few units in the last place
SHAPES = [(1,), (2,), (15,), (16,), (17,), (31,), (32,), (33,), (1, 64, 16), (3, 5, 7), (1, 64, 256), (2, 8), (0,), ()]


def torch_noise(seed: int, shapes) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).numpy() for shape in shapes]


def assert_same_as_torch(seed: int, shapes) -> None:
    ours = TorchRandom(seed)
    for shape, wanted in zip(shapes, torch_noise(seed, shapes), strict=True):
        made = ours.randn(*shape)
        assert (made.shape, made.dtype) == (wanted.shape, np.float32)
        np.testing.assert_allclose(made, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("seed", [0, 1, 42, 2**31, 2**32 - 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_draw_is_torchs(seed, shape):
    assert_same_as_torch(seed, [shape])


@pytest.mark.parametrize("shapes", [[(1, 64, 16)] * 8, [(3,), (16,), (1,), (17,), (5,), (640,), (15,), (33,)]])
def test_draws_one_after_another_are_torchs(shapes):
    assert_same_as_torch(1234, shapes)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), counts=st.lists(st.integers(0, 70), max_size=12))
def test_any_seed_and_any_draws_are_torchs(seed, counts):
    assert_same_as_torch(seed, [(count,) for count in counts])


def test_a_million_numbers_are_torchs():
    assert_same_as_torch(99, [(1_000_003,)])


def test_the_kept_half_of_a_pair_waits_through_a_large_draw():
    shapes = [(1,), (64,), (1,), (2,)]
    assert_same_as_torch(5, shapes)
    assert not np.allclose(torch_noise(5, shapes)[2], torch_noise(5, [(1,), (64,), (2,), (2,)])[2][1])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    noise = TorchRandom(7).randn(1, 64, 16)
    np.testing.assert_array_equal(TorchRandom(7).randn(1, 64, 16), noise)
    for other in (0, 6, 8, 7 + 2**31):
        assert np.abs(TorchRandom(other).randn(1, 64, 16) - noise).max() > 1


def test_two_generators_do_not_disturb_each_other_or_numpys():
    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    one, two = TorchRandom(11), TorchRandom(11)
    np.testing.assert_array_equal([one.randn(20), one.randn(3)][1], [two.randn(20), two.randn(3)][1])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30, -(10**30), 1.0, 0.5, float("nan"), "7", None])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(UsageError, match=r"^seed is .*, expected 0 to 4294967295($|; torch)"):
        TorchRandom(seed)


@pytest.mark.parametrize("seed", [-1, -2, -(2**63), 2**32, 2**32 + 7, 2**64 - 1])
def test_the_seed_that_is_named_instead_gives_torchs_sound(seed):
    with pytest.raises(UsageError) as refusal:
        TorchRandom(seed)
    same = int(re.search(r"torch\.manual_seed takes it as (\d+),", str(refusal.value))[1])
    np.testing.assert_array_equal(torch_noise(seed, [(64,)]), torch_noise(same, [(64,)]))
    assert not np.array_equal(torch_noise(seed, [(64,)]), torch_noise(same ^ 1, [(64,)]))


def test_the_first_and_the_last_seed_and_numpys_integers_are_seeds():
    np.testing.assert_array_equal(TorchRandom(np.int64(2**32 - 1)).randn(4), TorchRandom(2**32 - 1).randn(4))
    assert TorchRandom(0).randn(4).shape == (4,)
