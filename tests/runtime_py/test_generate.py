"""Requests are refused before any work is done; events come in the order of the data."""

import numpy as np
import pytest

from runtime_py.errors import GenerationError, UsageError
from runtime_py.generate import Request, check_request, collect, default_seconds, generate, step_sigmas
from runtime_py.tokenizer import Prompt
from tests.runtime_py.test_manifest import MANIFEST

REQUEST = Request(prompt="birds", seconds=0.5, seed=3)
PROMPT = Prompt(ids=np.zeros(64, np.int32), mask=np.ones(64, np.float32), tokens=2, dropped=0, unknown=0)


class Echo:
    """Stands in for every program: finite, shaped as the manifest says, remembering what it was given."""

    def __init__(self, fill: float = 0.1) -> None:
        self.fill, self.seen = fill, []

    def run(self, inputs):
        self.seen.append(inputs)
        if "input_ids" in inputs:
            return {"cross_attn_cond": np.ones((1, 65, 8), np.float32), "global_cond": np.ones((1, 8), np.float32)}
        if "sigma" in inputs:
            return {"velocity": np.full((1, 64, 16), self.fill, np.float32)}
        return {"audio": np.full((1, 2, 32768), self.fill, np.float32)}


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9, 0.75, 1e-9])
def test_seconds_the_model_cannot_make_are_refused(seconds):
    with pytest.raises(UsageError, match="seconds is"):
        check_request(Request(prompt="birds", seconds=seconds), MANIFEST)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "x" * 200_000])
def test_prompts_that_say_nothing_or_too_much_are_refused(prompt):
    with pytest.raises(UsageError, match="prompt"):
        check_request(Request(prompt=prompt, seconds=0.5), MANIFEST)


def test_a_long_prompt_and_the_longest_clip_are_fine():
    check_request(Request(prompt="x" * 10_000, seconds=MANIFEST.seconds_limit), MANIFEST)


def test_seven_seconds_unless_the_model_makes_less():
    assert default_seconds(MANIFEST) == pytest.approx(32768 / 44100)


def test_events_follow_the_data_and_conditioning_goes_by_name():
    program = Echo()
    events = list(generate(MANIFEST, lambda stage: program, REQUEST, PROMPT))
    assert [(event.stage, event.index, event.count) for event in events] == [
        ("conditioner", 1, 1),
        ("dit", 1, 2),
        ("dit", 2, 2),
        ("decoder", 1, 1),
    ]
    assert set(program.seen[1]) == {"latent", "sigma", "cross_attn_cond", "global_cond"}
    assert [float(inputs["sigma"][0]) for inputs in program.seen[1:3]] == [1.0, 0.5]
    assert np.array_equal(program.seen[3]["latent"], events[2].tensors["clean"])


def test_a_stage_is_let_go_before_the_next_is_loaded():
    alive = []

    class Counted(Echo):
        def __init__(self) -> None:
            super().__init__()
            assert not alive
            alive.append(1)

        def __del__(self) -> None:
            alive.clear()

    list(generate(MANIFEST, lambda stage: Counted(), REQUEST, PROMPT))


def test_audio_is_trimmed_to_the_sample():
    made = collect(generate(MANIFEST, lambda stage: Echo(), REQUEST, PROMPT), REQUEST, MANIFEST)
    assert made.audio.shape == (2, 22050)
    assert len(made.times["dit"].runs) == 2


def test_nan_from_the_dit_names_the_step():
    with pytest.raises(GenerationError, match="step 1"):
        list(generate(MANIFEST, lambda stage: Echo(float("nan")), REQUEST, PROMPT))


def test_nan_from_the_decoder_is_refused():
    programs = {"conditioner": Echo(), "dit": Echo(), "decoder": Echo(float("nan"))}
    with pytest.raises(GenerationError, match="decoder"):
        list(generate(MANIFEST, lambda stage: programs[stage], REQUEST, PROMPT))


def test_other_step_counts_use_the_same_range_of_logsnr():
    schedule = step_sigmas(MANIFEST, 8)
    assert len(schedule) == 9
    assert schedule[1] == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-6)
    assert np.array_equal(step_sigmas(MANIFEST, None), np.array([1, 0.5, 0], np.float32))
