"""Events come in the order of the data, pieces of sound among them; programs are opened when their turn comes."""

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.errors import GenerationError, UsageError
from runtime_py.generation_spec import FeaturesSpec, GenerationSpec, LatentSpec
from runtime_py.loop import (
    Event,
    Generation,
    StageTime,
    collect,
    decode,
    denoise,
    encode_prompt,
    generate,
    joined,
    latent_noise,
    pieces,
    steps_from,
)
from runtime_py.request import Request
from runtime_py.tokenizer import Prompt
from tests.runtime_py.echo import CHANNELS, Echo, EchoHead, EchoTail
from tests.runtime_py.test_manifest import PROGRAMS, SPEC, decoder, decoder_parts, dit

REQUEST = Request(prompt="birds", seconds=0.5, seed=3)
PROMPT = Prompt(ids=np.zeros(64, np.int32), mask=np.ones(64, np.float32), tokens=2, dropped=0, unknown=0)
HOP = 4


def of_window(length: int, window: int, margin: int) -> GenerationSpec:
    """For a clip of `length` latents of HOP samples, at one sample a second, decoded in windows."""
    made = dataclasses.replace(
        SPEC,
        latent=LatentSpec(shape=(64, length), hop=HOP, margin=margin),
        audio=dataclasses.replace(SPEC.audio, sample_rate=1),
        programs=PROGRAMS | {"dit": dit(length), "decoder": decoder(window, hop=HOP)},
    )
    made.validate("generation")
    return made


def by_stage(**programs: Any) -> Callable[[str], Any]:
    return lambda stage: programs[stage]


def stages(events: list[Event]) -> list[str]:
    return [event.stage for event in events]


def test_the_longest_clip_has_as_many_samples_as_the_latent():
    request = dataclasses.replace(REQUEST, seconds=SPEC.seconds_limit)
    made = collect(generate(SPEC, lambda stage: Echo(), request, PROMPT))
    assert made.audio.shape == (2, SPEC.latent.samples)


def test_events_follow_the_data_and_conditioning_goes_by_name():
    program = Echo()
    events = list(generate(SPEC, lambda stage: program, REQUEST, PROMPT))
    assert [(event.stage, event.index, event.count) for event in events] == [
        ("conditioner", 1, 1),
        ("dit", 1, 2),
        ("dit", 2, 2),
        ("decoder", 1, 1),
    ]
    assert set(program.seen[1]) == {"latent", "sigma", "cross_k", "global_cond"}
    assert [float(inputs["sigma"][0]) for inputs in program.seen[1:3]] == list(SPEC.sampler.sigmas[:2])
    assert np.array_equal(program.seen[3]["latent"], events[2].tensors["clean"])


def test_a_stage_is_let_go_before_the_next_is_loaded():
    alive: list[int] = []

    class Counted(Echo):
        def __init__(self) -> None:
            super().__init__()
            assert not alive
            alive.append(1)

        def __del__(self) -> None:
            alive.clear()

    list(generate(SPEC, lambda stage: Counted(), REQUEST, PROMPT))


def test_audio_is_cut_to_the_sample():
    made = collect(generate(SPEC, lambda stage: Echo(), REQUEST, PROMPT))
    assert made.audio.shape == (2, 22050)
    assert len(made.times["dit"].runs) == 2


def test_nan_from_the_dit_names_the_step():
    with pytest.raises(GenerationError, match="step 1"):
        list(generate(SPEC, lambda stage: Echo(float("nan")), REQUEST, PROMPT))


def test_nan_from_the_decoder_is_refused():
    programs = by_stage(conditioner=Echo(), dit=Echo(), decoder=Echo(float("nan")))
    with pytest.raises(GenerationError, match="decoder"):
        list(generate(SPEC, programs, REQUEST, PROMPT))


# Windows


@st.composite
def clips(draw: st.DrawFn) -> tuple[GenerationSpec, int]:
    """A model whose decoder takes windows, and how many samples to play."""
    margin = draw(st.integers(0, 4))
    length = draw(st.integers(2 * margin + 2, 40))
    window = draw(st.integers(2 * margin + 1, length))
    return of_window(length, window, margin), draw(st.integers(1, length * HOP))


@settings(deadline=None)
@given(clips())
def test_windows_joined_are_the_sound_of_the_whole(clip):
    spec, samples = clip
    latent = np.random.default_rng(0).standard_normal((1, *spec.latent.shape), dtype=np.float32)
    decoder = Echo(reach=spec.latent.margin, hop=HOP)
    events = list(decode(spec, lambda stage: decoder, latent, samples))
    whole = decoder.fill * decoder.sound(latent)[0, :, :samples]
    np.testing.assert_allclose(joined(events), whole, rtol=1e-5, atol=1e-5)
    assert all(inputs["latent"].shape == (1, 64, spec.window) for inputs in decoder.seen)
    assert all(event.tensors["audio"].shape[1] >= 1 for event in events)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tailed:
    """A decoder of two programs, and how many samples to play."""

    spec: GenerationSpec
    head: EchoHead
    tail: EchoTail
    samples: int

    def events(self) -> Iterator[Event]:
        latent = np.random.default_rng(0).standard_normal((1, *self.spec.latent.shape), dtype=np.float32)
        return decode(self.spec, by_stage(decoder=self.head, decoder_tail=self.tail), latent, self.samples)

    def whole(self) -> np.ndarray:
        """The sound of all latents at once."""
        latent = np.random.default_rng(0).standard_normal((1, *self.spec.latent.shape), dtype=np.float32)
        head, tail = copy.copy(self.head), copy.copy(self.tail)
        head.seen, tail.seen = [], []
        return tail.run(head.run({"latent": latent}))["audio"][0, :, : self.samples]


def tailed(
    length: int, window: int, samples: int, *, tile: int, rate: int = 4, hop: int = 8, reaches: tuple[int, int] = (2, 3)
) -> Tailed:
    """Of a head and a tail that hear so many latents and features to either side."""
    margin = reaches[0] + -(-reaches[1] // rate)
    spec = dataclasses.replace(
        SPEC,
        latent=LatentSpec(shape=(64, length), hop=hop, margin=margin),
        audio=dataclasses.replace(SPEC.audio, sample_rate=1),
        programs=PROGRAMS | {"dit": dit(length)} | decoder_parts(window, rate=rate, tile=tile, hop=hop),
        features=FeaturesSpec(rate=rate, margin=reaches[1]),
    )
    spec.validate("generation")
    head, tail = EchoHead(reach=reaches[0], hop=rate), EchoTail(reach=reaches[1], hop=hop // rate)
    return Tailed(spec=spec, head=head, tail=tail, samples=samples)


@st.composite
def tailed_clips(draw: st.DrawFn) -> Tailed:
    reaches = draw(st.integers(0, 2)), draw(st.integers(0, 5))
    rate = draw(st.sampled_from([1, 2, 4]))
    margin = reaches[0] + -(-reaches[1] // rate)
    length = draw(st.integers(2 * margin + 2, 40))
    window = draw(st.integers(2 * margin + 1, length))
    whole = window * rate
    tile = draw(st.just(whole) | st.integers(min(2 * reaches[1] + 1, whole), whole))
    return tailed(length, window, draw(st.integers(1, length * 8)), tile=tile, rate=rate, reaches=reaches)


@settings(deadline=None)
@given(tailed_clips())
def test_tiles_joined_are_the_sound_of_the_whole(clip):
    events = list(clip.events())
    np.testing.assert_allclose(joined(events), clip.whole(), rtol=1e-4, atol=1e-5)
    assert all(inputs["features"].shape == (1, 1, clip.spec.tile) for inputs in clip.tail.seen)
    assert all(event.tensors["audio"].shape[1] >= 1 for event in events)
    assert len(clip.tail.seen) == len(events)


@pytest.mark.parametrize("further", ["head", "tail"])
def test_a_tiles_margin_that_is_too_small_is_heard(further):
    clip = tailed(40, 20, 320, tile=16)
    getattr(clip, further).reach += 1
    assert not np.allclose(joined(clip.events()), clip.whole(), atol=1e-3)


@pytest.mark.parametrize(("samples", "tiles", "heads"), [(1, 1, 1), (26, 1, 1), (27, 2, 1), (136, 7, 1), (137, 8, 2)])
def test_only_as_many_tiles_are_decoded_as_the_seconds_need(samples, tiles, heads):
    """Of a tile of 16 with margins of 3 the first gives 13 features of 2 samples, the others 10; of a window of 20
    with margins of 3 the first gives 17 latents of 8."""
    clip = tailed(40, 20, samples, tile=16)
    events = list(clip.events())
    assert (len(clip.tail.seen), len(clip.head.seen)) == (tiles, heads)
    assert [(event.stage, event.index, event.count) for event in events] == [
        ("decoder", index + 1, tiles) for index in range(tiles)
    ]
    assert joined(events).shape == (CHANNELS, samples)
    request = Request(prompt="birds", seconds=samples, steps=1)
    assert pieces(clip.spec, request)[2:] == [f"decoder, piece {n} of {tiles}" for n in range(1, tiles + 1)]


def test_a_tail_is_loaded_once_and_both_programs_are_held_and_timed():
    clip, opened = tailed(40, 20, 320, tile=16), list[str]()

    def open_program(role: str) -> Echo:
        opened.append(role)
        time.sleep(0.01)
        return {"decoder": clip.head, "decoder_tail": clip.tail}[role]

    events = list(decode(clip.spec, open_program, np.ones((1, 64, 40), np.float32), 320))
    assert opened == ["decoder", "decoder_tail"]
    assert events[0].load >= 0.02 and all(event.load == 0 for event in events[1:])


def test_a_listener_that_leaves_waits_for_one_tile_at_most():
    clip = tailed(40, 20, 320, tile=16)
    events = clip.events()
    next(events)
    next(events)
    del events
    assert (len(clip.head.seen), len(clip.tail.seen)) == (1, 2)


def test_a_tail_is_not_asked_of_programs_that_decode_in_one():
    spec, whole = tailed(40, 20, 320, tile=16).spec, Echo(hop=8)
    (once,) = decode(spec, by_stage(decoder=whole), np.ones((1, 64, 40), np.float32), 150, window=40)
    assert once.tensors["audio"].shape == (CHANNELS, 150)


def test_a_margin_that_is_too_small_is_heard():
    """What the test above is worth: a decoder that hears one latent further than it says is not the whole."""
    spec, decoder = of_window(40, 12, 3), Echo(reach=4, hop=HOP)
    latent = np.random.default_rng(0).standard_normal((1, *spec.latent.shape), dtype=np.float32)
    found = joined(decode(spec, lambda stage: decoder, latent, 160))
    assert not np.allclose(found, decoder.fill * decoder.sound(latent)[0], atol=1e-2)


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (9 * HOP, 1), (9 * HOP + 1, 2), (15 * HOP, 2), (160, 6)])
def test_only_as_many_windows_are_decoded_as_the_seconds_need(samples, count):
    """Windows of 12 with margins of 3 give 9 latents, then 6 each, and the last one its end as well."""
    spec, decoder = of_window(40, 12, 3), Echo(reach=3, hop=HOP)
    request = Request(prompt="birds", seconds=samples, seed=0)
    events = list(generate(spec, by_stage(conditioner=Echo(), dit=Echo(), decoder=decoder), request, PROMPT))
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
    spec = of_window(40, 12, 3)
    latent = np.random.default_rng(1).standard_normal((1, 64, 40), dtype=np.float32)
    whole, parts = Echo(hop=HOP), Echo(hop=HOP)
    (once,) = decode(spec, lambda _: whole, latent, 150, window=40)
    assert whole.seen[0]["latent"].shape == (1, 64, 40)
    np.testing.assert_allclose(
        once.tensors["audio"], joined(decode(spec, lambda _: parts, latent, 150)), rtol=1e-5, atol=1e-5
    )


def test_nan_beyond_the_seconds_asked_for_is_never_heard():
    """Of a window only what is kept is looked at: its ends are made of what is not there."""

    class Ends(Echo):
        def sound(self, latent: np.ndarray) -> np.ndarray:
            made = super().sound(latent)
            made[..., -1] = np.nan
            return made

    decoder, latent = Ends(hop=HOP), np.ones((1, 64, 40), np.float32)
    spec = of_window(40, 12, 3)
    assert np.isfinite(joined(decode(spec, lambda _: decoder, latent, 159))).all()
    with pytest.raises(GenerationError, match="decoder"):
        joined(decode(spec, lambda _: decoder, latent, 160))


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize(("seconds", "window"), [(160, None), (160, 40), (1, None), (77, None)])
def test_pieces_names_what_generate_will_do(seconds, window, conditioned):
    spec, request = of_window(40, 12, 3), Request(prompt="birds", seconds=seconds, steps=3)
    given_ = {"cross_k": np.ones(1, np.float32)} if conditioned else None
    events = generate(spec, lambda _: Echo(hop=HOP), request, PROMPT, conditioning=given_, window=window)
    named = {"dit": "dit, step {} of {}", "decoder": "decoder, piece {} of {}", "conditioner": "conditioner"}
    said = [named[event.stage].format(event.index, event.count) for event in events]
    assert pieces(spec, request, window=window, conditioned=conditioned) == said


# Again


def test_conditioning_that_is_given_is_not_computed_again_and_plays_the_same():
    first = collect(generate(SPEC, lambda stage: Echo(), REQUEST, PROMPT))
    assert set(first.conditioning) == {"cross_k", "global_cond"}
    dit = Echo()
    programs = by_stage(dit=dit, decoder=Echo())
    events = list(generate(SPEC, programs, REQUEST, PROMPT, conditioning=first.conditioning))
    assert stages(events) == ["dit", "dit", "decoder"]
    assert all(dit.seen[0][name] is tensor for name, tensor in first.conditioning.items())
    again = collect(events)
    assert np.array_equal(again.audio, first.audio)
    assert again.conditioning == {}
    assert set(again.times) == {"dit", "decoder"}
    assert again.first_audio == pytest.approx(sum(time.total for time in again.times.values()))


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


def test_a_prompt_of_which_nothing_is_left_is_refused():
    class Nothing:
        def encode_prompt(self, text: str, length: int) -> Prompt:
            assert (text, length) == ("birds", 64)
            return dataclasses.replace(PROMPT, tokens=1)

    with pytest.raises(UsageError, match="only spaces and control characters"):
        encode_prompt(Nothing(), REQUEST, SPEC)


# A start of one's own


def test_denoising_is_stepping_from_the_first_draw_along_the_bundles_sigmas():
    conditioning = {"cross_k": np.ones((4, 65, 8), np.float32)}
    noise = latent_noise(SPEC, REQUEST.seed)
    start, schedule = next(noise), SPEC.sampler.schedule(None)
    own = list(denoise(SPEC, lambda _: Echo(), REQUEST, conditioning))
    given_ = list(steps_from(SPEC, lambda _: Echo(), start, noise, schedule, conditioning))
    assert [event.index for event in own] == [event.index for event in given_] == [1, 2]
    for ours, theirs in zip(own, given_, strict=True):
        assert all(np.array_equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)


def test_steps_begin_with_the_latent_and_at_the_sigma_that_they_are_given():
    dit_, start = Echo(), np.full((1, 64, 16), 0.25, np.float32)
    schedule = np.array([0.5, 0.125, 0], np.float32)
    steps = steps_from(SPEC, lambda _: dit_, start, latent_noise(SPEC, 1), schedule, {})
    first, second = steps
    assert np.array_equal(first.tensors["latent"], start)
    assert [float(inputs["sigma"][0]) for inputs in dit_.seen] == [0.5, 0.125]
    clean = start - np.float32(0.5) * np.float32(0.1)
    np.testing.assert_allclose(first.tensors["clean"], clean, rtol=1e-6)
    drawn = next(latent_noise(SPEC, 1))
    np.testing.assert_allclose(second.tensors["latent"], 0.875 * clean + 0.125 * drawn, rtol=0, atol=1e-6)
