"""Requests are refused before any work is done; events come in the order of the data, pieces of sound among them."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.bundle import Bundle
from runtime_py.engine import Tensors
from runtime_py.errors import GenerationError, UsageError
from runtime_py.generate import (
    Event,
    Generation,
    Request,
    StageTime,
    bundle_programs,
    check_request,
    collect,
    decode,
    default_seconds,
    generate,
    joined,
    kept_loaded,
    pieces,
    step_sigmas,
)
from runtime_py.manifest import LatentSpec, Manifest, ProgramSpec
from runtime_py.tokenizer import Prompt
from tests.runtime_py.test_manifest import MANIFEST, program, tensor

REQUEST = Request(prompt="birds", seconds=0.5, seed=3)
PROMPT = Prompt(ids=np.zeros(64, np.int32), mask=np.ones(64, np.float32), tokens=2, dropped=0, unknown=0)
HOP, CHANNELS = 4, 2


class Echo:
    """Stands in for every program: finite, shaped as the manifest says, remembering what it was given.

    Its sound at each moment depends on the latents that are within `reach` of it, and on no others; outside of what
    it is given it hears zeros, as convolutions do.
    """

    def __init__(self, fill: float = 0.1, *, reach: int = 3, hop: int = 2048) -> None:
        self.fill, self.reach, self.hop = fill, reach, hop
        self.seen: list[dict[str, np.ndarray]] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        self.seen.append(dict(inputs))
        if "input_ids" in inputs:
            return {"cross_k": np.ones((4, 65, 8), np.float32), "global_cond": np.ones((1, 8), np.float32)}
        if "sigma" in inputs:
            return {"velocity": self.fill * np.ones_like(inputs["latent"])}
        return {"audio": self.fill * self.sound(inputs["latent"])}

    def sound(self, latent: np.ndarray) -> np.ndarray:
        """[1, latent channels, length] -> [1, CHANNELS, length * hop]"""
        length = latent.shape[-1]
        heard = np.pad(latent[0].sum(0), self.reach)
        weights = 1 + np.arange(2 * self.reach + 1)
        moments = np.array([weights @ heard[moment : moment + len(weights)] for moment in range(length)])
        within = np.arange(1, self.hop + 1) / self.hop
        left = (moments[:, None] * within).reshape(-1)
        return np.stack([left, -left])[None].astype(np.float32)


def of_window(length: int, window: int, margin: int) -> Manifest:
    """A manifest for a clip of `length` latents of HOP samples, at one sample a second, decoded in windows."""
    shape = (1, CHANNELS, window * HOP)
    decoder = program("decoder", (tensor("latent", shape=(1, 64, window)),), (tensor("audio", shape=shape),))
    made = dataclasses.replace(
        MANIFEST,
        latent=LatentSpec(shape=(64, length), hop=HOP, margin=margin),
        audio=dataclasses.replace(MANIFEST.audio, sample_rate=1),
        programs=(MANIFEST.programs[0], decoder),
    )
    made.validate("")
    return made


def by_stage(**programs: Any) -> Callable[[str], Any]:
    return lambda stage: programs[stage]


def stages(events: list[Event]) -> list[str]:
    return [event.stage for event in events]


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


def test_the_longest_clip_has_as_many_samples_as_the_latent():
    request = dataclasses.replace(REQUEST, seconds=MANIFEST.seconds_limit)
    made = collect(generate(MANIFEST, lambda stage: Echo(), request, PROMPT))
    assert made.audio.shape == (2, MANIFEST.latent.samples)


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
    assert set(program.seen[1]) == {"latent", "sigma", "cross_k", "global_cond"}
    assert [float(inputs["sigma"][0]) for inputs in program.seen[1:3]] == list(MANIFEST.sampler.sigmas[:2])
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


def test_audio_is_cut_to_the_sample():
    made = collect(generate(MANIFEST, lambda stage: Echo(), REQUEST, PROMPT))
    assert made.audio.shape == (2, 22050)
    assert len(made.times["dit"].runs) == 2


def test_nan_from_the_dit_names_the_step():
    with pytest.raises(GenerationError, match="step 1"):
        list(generate(MANIFEST, lambda stage: Echo(float("nan")), REQUEST, PROMPT))


def test_nan_from_the_decoder_is_refused():
    programs = by_stage(conditioner=Echo(), dit=Echo(), decoder=Echo(float("nan")))
    with pytest.raises(GenerationError, match="decoder"):
        list(generate(MANIFEST, programs, REQUEST, PROMPT))


def test_other_step_counts_use_the_same_range_of_logsnr():
    schedule = step_sigmas(MANIFEST, 8)
    assert len(schedule) == 9
    assert schedule[1] == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-6)
    assert np.array_equal(step_sigmas(MANIFEST, None), np.array(MANIFEST.sampler.sigmas, np.float32))


# Windows


@st.composite
def clips(draw: st.DrawFn) -> tuple[Manifest, int]:
    """A manifest whose decoder takes windows, and how many samples to play."""
    margin = draw(st.integers(0, 4))
    length = draw(st.integers(2 * margin + 2, 40))
    window = draw(st.integers(2 * margin + 1, length))
    return of_window(length, window, margin), draw(st.integers(1, length * HOP))


@settings(deadline=None)
@given(clips())
def test_windows_joined_are_the_sound_of_the_whole(clip):
    manifest, samples = clip
    latent = np.random.default_rng(0).standard_normal((1, *manifest.latent.shape), dtype=np.float32)
    decoder = Echo(reach=manifest.latent.margin, hop=HOP)
    events = list(decode(manifest, lambda stage: decoder, latent, samples))
    whole = decoder.fill * decoder.sound(latent)[0, :, :samples]
    np.testing.assert_allclose(joined(events), whole, rtol=1e-5, atol=1e-5)
    assert all(inputs["latent"].shape == (1, 64, manifest.window) for inputs in decoder.seen)
    assert all(event.tensors["audio"].shape[1] >= 1 for event in events)


def test_a_margin_that_is_too_small_is_heard():
    """What the test above is worth: a decoder that hears one latent further than the manifest says is not the whole."""
    manifest, decoder = of_window(40, 12, 3), Echo(reach=4, hop=HOP)
    latent = np.random.default_rng(0).standard_normal((1, *manifest.latent.shape), dtype=np.float32)
    found = joined(decode(manifest, lambda stage: decoder, latent, 160))
    assert not np.allclose(found, decoder.fill * decoder.sound(latent)[0], atol=1e-2)


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (9 * HOP, 1), (9 * HOP + 1, 2), (15 * HOP, 2), (160, 6)])
def test_only_as_many_windows_are_decoded_as_the_seconds_need(samples, count):
    """Windows of 12 with margins of 3 give 9 latents, then 6 each, and the last one its end as well."""
    manifest, decoder = of_window(40, 12, 3), Echo(reach=3, hop=HOP)
    request = Request(prompt="birds", seconds=samples, seed=0)
    events = list(generate(manifest, by_stage(conditioner=Echo(), dit=Echo(), decoder=decoder), request, PROMPT))
    assert stages(events)[3:] == ["decoder"] * count
    assert [(event.index, event.count) for event in events[3:]] == [(index + 1, count) for index in range(count)]
    assert len(decoder.seen) == count
    assert joined(events[3:]).shape == (CHANNELS, samples)


def test_the_decoder_is_loaded_once_for_all_windows():
    opened: list[str] = []

    def open_program(stage: str) -> Echo:
        opened.append(stage)
        return Echo(hop=HOP)

    request = Request(prompt="birds", seconds=160)
    events = list(generate(of_window(40, 12, 3), open_program, request, PROMPT))
    assert opened == ["conditioner", "dit", "decoder"]
    assert [event.load > 0 for event in events[3:]] == [True] + [False] * 5


def test_pieces_can_be_played_while_the_rest_is_still_to_be_decoded():
    decoder = Echo(hop=HOP)
    latent = np.zeros((1, 64, 40), np.float32)
    made = decode(of_window(40, 12, 3), lambda stage: decoder, latent, 160)
    next(made)
    assert len(decoder.seen) == 1


def test_a_piece_is_the_callers_own_and_no_view_of_a_whole_window():
    events = list(decode(of_window(40, 12, 3), lambda _: Echo(hop=HOP), np.ones((1, 64, 40), np.float32), 160))
    assert all(event.tensors["audio"].base is None for event in events)


def test_programs_of_another_window_than_the_bundles_can_be_run():
    manifest = of_window(40, 12, 3)
    latent = np.random.default_rng(1).standard_normal((1, 64, 40), dtype=np.float32)
    whole, parts = Echo(hop=HOP), Echo(hop=HOP)
    (once,) = decode(manifest, lambda _: whole, latent, 150, window=40)
    assert whole.seen[0]["latent"].shape == (1, 64, 40)
    np.testing.assert_allclose(
        once.tensors["audio"], joined(decode(manifest, lambda _: parts, latent, 150)), rtol=1e-5, atol=1e-5
    )


def test_nan_beyond_the_seconds_asked_for_is_never_heard():
    """Of a window only what is kept is looked at: its ends are made of what is not there."""

    class Ends(Echo):
        def sound(self, latent: np.ndarray) -> np.ndarray:
            made = super().sound(latent)
            made[..., -1] = np.nan
            return made

    decoder, latent = Ends(hop=HOP), np.ones((1, 64, 40), np.float32)
    manifest = of_window(40, 12, 3)
    assert np.isfinite(joined(decode(manifest, lambda _: decoder, latent, 159))).all()
    with pytest.raises(GenerationError, match="decoder"):
        joined(decode(manifest, lambda _: decoder, latent, 160))


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize(("seconds", "window"), [(160, None), (160, 40), (1, None), (77, None)])
def test_pieces_names_what_generate_will_do(seconds, window, conditioned):
    manifest, request = of_window(40, 12, 3), Request(prompt="birds", seconds=seconds, steps=3)
    given_ = {"cross_k": np.ones(1, np.float32)} if conditioned else None
    events = generate(manifest, lambda _: Echo(hop=HOP), request, PROMPT, conditioning=given_, window=window)
    named = {"dit": "dit, step {} of {}", "decoder": "decoder, window {} of {}", "conditioner": "conditioner"}
    said = [named[event.stage].format(event.index, event.count) for event in events]
    assert pieces(manifest, request, window=window, conditioned=conditioned) == said


# Again


def test_conditioning_that_is_given_is_not_computed_again_and_plays_the_same():
    first = collect(generate(MANIFEST, lambda stage: Echo(), REQUEST, PROMPT))
    assert set(first.conditioning) == {"cross_k", "global_cond"}
    dit = Echo()
    programs = by_stage(dit=dit, decoder=Echo())
    events = list(generate(MANIFEST, programs, REQUEST, PROMPT, conditioning=first.conditioning))
    assert stages(events) == ["dit", "dit", "decoder"]
    assert all(dit.seen[0][name] is tensor for name, tensor in first.conditioning.items())
    again = collect(events)
    assert np.array_equal(again.audio, first.audio)
    assert again.conditioning == {}
    assert set(again.times) == {"dit", "decoder"}
    assert again.first_audio == pytest.approx(sum(time.total for time in again.times.values()))


def test_programs_that_are_kept_loaded_are_opened_once():
    opened: list[str] = []

    def open_program(stage: str) -> Echo:
        opened.append(stage)
        return Echo()

    kept = kept_loaded(open_program)
    first, second = (collect(generate(MANIFEST, kept, REQUEST, PROMPT)) for _ in range(2))
    assert opened == ["conditioner", "dit", "decoder"]
    assert np.array_equal(first.audio, second.audio)
    assert kept("dit") is kept("dit")


def test_programs_that_fail_to_open_are_tried_again():
    fails = [True, False]

    def open_program(stage: str) -> Echo:
        if fails.pop(0):
            raise GenerationError("not yet")
        return Echo()

    kept = kept_loaded(open_program)
    with pytest.raises(GenerationError, match="not yet"):
        kept("dit")
    assert isinstance(kept("dit"), Echo)


def test_first_audio_is_all_but_the_later_windows():
    times = {
        "conditioner": StageTime(load=1, runs=(2,)),
        "dit": StageTime(load=4, runs=(8, 16)),
        "decoder": StageTime(load=32, runs=(64, 128, 256)),
    }
    made = Generation(audio=np.zeros((2, 1)), conditioning={}, times=times)
    assert made.first_audio == 1 + 2 + 4 + 8 + 16 + 32 + 64


def test_times_are_those_of_the_events():
    events = [
        Event(stage=stage, index=1, count=1, load=load, run=run, tensors={"audio": np.full((2, 1), run)})
        for stage, load, run in (("dit", 5.0, 1.0), ("dit", 0.0, 2.0), ("decoder", 3.0, 7.0), ("decoder", 0.0, 8.0))
    ]
    made = collect(events)
    assert made.times == {"dit": StageTime(load=5, runs=(1, 2)), "decoder": StageTime(load=3, runs=(7, 8))}
    assert made.audio.tolist() == [[7, 8]] * 2
    assert made.first_audio == 5 + 1 + 2 + 3 + 7


def test_a_bundles_programs_are_opened_by_its_engine_and_in_float16_where_the_recipe_says_so(tmp_path, monkeypatch):
    opened = []

    def load(path: Path, spec: ProgramSpec, *, threads: int | None, float16: bool) -> Echo:
        opened.append((path, spec.name, threads, float16))
        return Echo()

    engines = {"executorch": SimpleNamespace(prepare=lambda: opened.append("prepared"), load=load)}
    monkeypatch.setattr("runtime_py.generate.engine_for", engines.__getitem__)
    open_program = bundle_programs(Bundle(folder=tmp_path, manifest=MANIFEST), threads=3)
    assert opened == ["prepared"]
    assert all(isinstance(open_program(stage), Echo) for stage in ("dit", "decoder"))
    assert opened[1:] == [(tmp_path / "dit.pte", "dit", 3, False), (tmp_path / "decoder.pte", "decoder", 3, True)]
