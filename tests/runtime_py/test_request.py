"""A request is checked against the model before any work is done, everywhere alike."""

import dataclasses

import numpy as np
import pytest

from runtime_py.errors import UsageError
from runtime_py.request import MAX_PROMPT_CHARACTERS, Request, check_request, default_seconds, shown_limit
from tests.runtime_py.test_manifest import SPEC

REQUEST = Request(prompt="birds", seconds=0.5)


def refused(**changes: object) -> str:
    with pytest.raises(UsageError) as caught:
        check_request(dataclasses.replace(REQUEST, **changes), SPEC)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9, 0.75, 1e-9])
def test_seconds_the_model_cannot_make_are_refused(seconds):
    assert refused(seconds=seconds).startswith("seconds is")


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "x" * 200_000])
def test_prompts_that_say_nothing_or_too_much_are_refused(prompt):
    assert "prompt" in refused(prompt=prompt)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range_are_refused(steps):
    assert refused(steps=steps) == f"steps is {steps}, expected 1 to 1000"


@pytest.mark.parametrize(
    ("seed", "same", "more"),
    [
        (-1, 4294967295, "; where -1 is to draw one, as in stable-audio-tools, say --seed random"),
        (1 << 32, 0, ""),
    ],
)
def test_seeds_out_of_range_are_refused(seed, same, more):
    takes = f"torch.manual_seed takes it as {same}, which gives the same sound{more}"
    assert refused(seed=seed) == f"seed is {seed}, expected 0 to 4294967295; {takes}"


def test_the_ends_of_what_is_allowed_are_fine():
    prompt = "x" * MAX_PROMPT_CHARACTERS
    for steps, seed in ((1, 0), (1000, 0xFFFFFFFF), (None, 0)):
        check_request(Request(prompt=prompt, seconds=SPEC.seconds_limit, seed=seed, steps=steps), SPEC)
    check_request(dataclasses.replace(REQUEST, seconds=0.5 / 44100 + 1e-6), SPEC)


def test_the_limit_is_the_conditioners_where_that_is_less():
    short = dataclasses.replace(SPEC.conditioning, seconds_max=0.25)
    spec = dataclasses.replace(SPEC, conditioning=short)
    assert spec.seconds_limit == default_seconds(spec) == 0.25
    with pytest.raises(UsageError, match=r"at most 0\.250; ask for less"):
        check_request(REQUEST, spec)


def test_seven_seconds_unless_the_model_makes_less():
    assert default_seconds(SPEC) == pytest.approx(32768 / 44100)
    longer = dataclasses.replace(SPEC, latent=dataclasses.replace(SPEC.latent, shape=(64, 256)))
    assert default_seconds(longer) == 7.0


def test_what_is_left_open_is_the_bundles_own():
    assert REQUEST.resolved(SPEC) == dataclasses.replace(REQUEST, steps=2)
    given = dataclasses.replace(REQUEST, steps=5)
    assert given.resolved(SPEC) == given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": None}, "prompt is None, expected text"),
        ({"prompt": b"rain"}, "prompt is b'rain', expected text"),
        ({"seconds": "1"}, "seconds is '1', expected a number"),
        ({"seconds": True}, "seconds is True, expected a number"),
        ({"seed": "1"}, "seed is '1', expected a whole number"),
        ({"seed": 1.0}, "seed is 1.0, expected a whole number"),
        ({"steps": 2.5}, "steps is 2.5, expected a whole number"),
        ({"steps": True}, "steps is True, expected a whole number"),
    ],
)
def test_what_is_no_number_or_no_text_is_refused(changes, message):
    assert refused(**changes) == message


def test_numbers_of_numpy_are_numbers():
    check_request(Request(prompt="a", seconds=np.float32(0.25), seed=np.int64(3), steps=np.int32(2)), SPEC)
    kept = Request(prompt="a", seconds=np.float32(0.25), seed=np.int64(3), steps=np.int32(2)).resolved(SPEC)
    assert [type(value) for value in (kept.seconds, kept.seed, kept.steps)] == [float, int, int]


def test_the_limit_is_shown_so_that_typing_it_works():
    spec = dataclasses.replace(SPEC, latent=dataclasses.replace(SPEC.latent, hop=SPEC.latent.hop + 1))
    for each in (SPEC, spec):
        shown = shown_limit(each.seconds_limit)
        assert float(shown) <= each.seconds_limit < float(shown) + 0.001
    asked = float(np.nextafter(SPEC.seconds_limit, 9))
    said = refused(seconds=asked)
    assert SPEC.seconds_limit < float(said.removeprefix("seconds is ").partition(",")[0])
