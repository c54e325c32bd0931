"""The Python API: three lines play a bundle, threads may share one generator, and what is closed stays closed."""

import dataclasses
import math
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime_py import Request, load
from runtime_py import __main__ as command
from runtime_py.audio import read_wav
from runtime_py.bundle import Bundle
from runtime_py.engine import Tensors
from runtime_py.errors import BundleError, GenerationError, OutputError, UsageError
from runtime_py.generator import Clip, Generator
from runtime_py.loop import Event, generate
from runtime_py.manifest import MANIFEST_FILE, dump_manifest
from runtime_py.request import check_request
from tests.runtime_py.echo import Echo
from tests.runtime_py.test_fixtures import GOLDEN
from tests.runtime_py.test_manifest import MANIFEST, SPEC

REQUEST = Request(prompt="birds", seconds=0.5, seed=3)
BACKENDS = ["executorch", "litert"]


class Opened:
    """Opens stand-ins, and remembers which, in order, and which of them are still there."""

    def __init__(self, make: Callable[[str], Echo] = lambda _: Echo()) -> None:
        self.make, self.roles, self._alive = make, list[str](), list[weakref.ref[Echo]]()

    def __call__(self, role: str) -> Echo:
        self.roles.append(role)
        made = self.make(role)
        self._alive.append(weakref.ref(made))
        return made

    @property
    def alive(self) -> int:
        return sum(reference() is not None for reference in self._alive)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """With a tokenizer and no programs."""
    (tmp_path / MANIFEST_FILE).write_text(dump_manifest(MANIFEST))
    (tmp_path / "tokenizer.json").write_bytes((GOLDEN / "t5.json").read_bytes())
    return Bundle(folder=tmp_path, manifest=MANIFEST)


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def generator(bundle: Bundle, opened: Opened) -> Generator:
    return Generator(bundle, opened)


def stages(events: list[Event]) -> list[str]:
    return [event.stage for event in events]


# Three lines


@pytest.mark.parametrize("kind", [str, Path])
def test_three_lines_play_a_bundle(built, tmp_path, kind):
    clip = load(kind(built("litert", "fp32"))).generate("rain on a tin roof", seconds=0.3, seed=1)
    report = clip.save(kind(tmp_path / "rain.wav"), fade=False)
    audio, rate = read_wav(tmp_path / "rain.wav")
    assert rate == clip.sample_rate == 44100
    assert audio.shape == clip.audio.shape == (2, 13230)
    np.testing.assert_allclose(audio, np.clip(clip.audio, -1, 1), rtol=0, atol=0.51 / 32767)
    assert report.path == tmp_path / "rain.wav"
    assert clip.request == Request(prompt="rain on a tin roof", seconds=0.3, seed=1, steps=4)


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="not a folder"):
        load(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", ""])
def test_a_name_that_no_folder_can_have_is_no_bundle(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError):
        load(name)


@pytest.mark.parametrize("wrong", ["rain", None, 5])
@pytest.mark.parametrize("call", ["events", "pieces", "estimate", "encode"])
def test_what_is_no_request_is_refused(generator, call, wrong):
    with pytest.raises(UsageError, match=f"{wrong!r} is no request; make one"):
        getattr(generator, call)(wrong)


@pytest.mark.parametrize("wrong", [None, 5, b"rain", ["a", "b"]])
def test_a_prompt_that_is_no_text_is_refused(generator, wrong):
    with pytest.raises(UsageError, match="expected text or a request"):
        generator.generate(wrong, seconds=0.2)


def test_a_clip_is_not_saved_under_a_name_that_no_file_can_have(generator, tmp_path):
    with pytest.raises(OutputError, match="File name too long"):
        generator.generate(REQUEST).save(tmp_path / f"{'n' * 300}.wav")


def test_a_clip_knows_its_length_and_times_and_can_be_kept_as_it_is(generator, tmp_path):
    clip = generator.generate("birds", seconds=0.25)
    assert clip.seconds == pytest.approx(0.25)
    assert list(clip.times) == ["conditioner", "dit", "decoder"]
    assert len(clip.times["dit"].runs) == 2
    clip.save(tmp_path / "x.wav", float32=True, fade=False)
    np.testing.assert_array_equal(read_wav(tmp_path / "x.wav")[0], clip.audio)


def test_audio_the_wrong_way_round_is_refused_with_the_way_to_turn_it(generator, tmp_path):
    clip = generator.generate("birds", seconds=0.25)
    turned = dataclasses.replace(clip, audio=clip.audio.T)
    with pytest.raises(UsageError, match=r"the audio is \[11025, 2\], expected \[channels, samples\]; turn it round"):
        turned.save(tmp_path / "x.wav")
    assert list(tmp_path.glob("*.wav")) == []


def test_a_request_is_played_as_a_prompt_with_the_same_words(generator):
    whole, words = generator.generate(REQUEST), generator.generate("birds", seconds=0.5, seed=3)
    assert np.array_equal(whole.audio, words.audio)
    assert whole.request == words.request == dataclasses.replace(REQUEST, steps=2)


@pytest.mark.parametrize("twice", [{"seconds": 0.5}, {"seed": 1}, {"steps": 2}])
def test_a_request_and_words_beside_it_are_refused(generator, twice):
    with pytest.raises(UsageError, match="are part of the request"):
        generator.generate(REQUEST, **twice)


def test_what_is_left_out_of_a_request_has_the_models_defaults(generator):
    assert generator.request("birds") == Request(prompt="birds", seconds=32768 / 44100, seed=0, steps=2)


def test_progress_counts_to_the_end(generator):
    seen: list[tuple[str, int, int]] = []
    generator.generate(REQUEST, progress=lambda event, done, total: seen.append((event.stage, done, total)))
    assert seen == [("conditioner", 1, 4), ("dit", 2, 4), ("dit", 3, 4), ("decoder", 4, 4)]
    seen.clear()
    generator.generate(REQUEST, progress=lambda event, done, total: seen.append((event.stage, done, total)))
    assert seen == [("dit", 1, 3), ("dit", 2, 3), ("decoder", 3, 3)]


# Events


def test_nothing_happens_before_the_first_event_is_asked_for(generator, opened):
    events = generator.events(REQUEST)
    assert opened.roles == []
    next(events)
    assert opened.roles == ["conditioner"]


def test_a_generation_that_is_closed_early_leaves_the_generator_ready(generator, opened):
    events = generator.events(REQUEST)
    next(events), next(events)
    events.close()
    assert list(events) == []
    assert opened.roles == ["conditioner", "dit"]
    again = list(generator.events(REQUEST))
    assert stages(again) == ["dit", "dit", "decoder"]


def test_events_are_those_of_the_loop(generator):
    prompt = generator.encode(REQUEST)
    expected = list(generate(SPEC, lambda _: Echo(), REQUEST, prompt))
    found = list(generator.events(REQUEST))
    assert stages(found) == stages(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert all(np.array_equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)


def test_another_seed_begins_with_the_dit_and_another_prompt_or_length_does_not(generator, bundle):
    generator.generate(REQUEST)
    for changes, conditioned in (({"seed": 4}, True), ({"seconds": 0.25}, False), ({"prompt": "rain"}, False)):
        request = dataclasses.replace(REQUEST, **changes)
        begins = ["dit, step 1 of 2"] if conditioned else ["conditioner", "dit, step 1 of 2"]
        assert generator.pieces(request)[: len(begins)] == begins
        clip = generator.generate(request)
        assert ("conditioner" in clip.times) == (not conditioned)
        assert np.array_equal(clip.audio, Generator(bundle, Opened()).generate(request).audio)
        assert generator.pieces(request)[0] == "dit, step 1 of 2"


# Memory


def test_programs_stay_loaded_until_the_generator_is_closed(generator, opened):
    generator.generate(REQUEST)
    generator.generate(dataclasses.replace(REQUEST, prompt="rain"))
    assert opened.roles == ["conditioner", "dit", "decoder"]
    assert opened.alive == 3
    generator.close()
    assert opened.alive == 0


def test_programs_are_let_go_one_after_another_where_they_are_not_to_be_kept(bundle):
    most: list[int] = []

    def make(_: str) -> Echo:
        most.append(programs.alive)
        return Echo()

    programs = Opened(make)
    generator = Generator(bundle, programs, keep_loaded=False)
    generator.generate(REQUEST)
    assert programs.alive == 0
    generator.generate(dataclasses.replace(REQUEST, prompt="rain"))
    assert programs.roles == ["conditioner", "dit", "decoder"] * 2
    assert most == [0] * 6


# The end


def test_a_closed_generator_refuses(generator, opened):
    with generator as entered:
        assert entered is generator
        generator.generate(REQUEST)
    loaded = list(opened.roles)
    for play in (lambda: generator.generate(REQUEST), lambda: generator.events(REQUEST)):
        with pytest.raises(GenerationError, match=r"the generator of .* is closed; load the bundle again"):
            play()
    generator.close()
    assert opened.roles == loaded


@pytest.mark.parametrize("keep_loaded", [True, False])
@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_generation_under_way_ends_when_the_generator_is_closed(bundle, keep_loaded, done):
    opened = Opened()
    generator = Generator(bundle, opened, keep_loaded=keep_loaded)
    events = generator.events(REQUEST)
    for _ in range(done):
        next(events)
    generator.close()
    with pytest.raises(GenerationError, match="is closed"):
        next(events)


def test_it_shows_what_it_plays(generator):
    assert repr(generator) == f"<Generator of {generator.bundle.folder} (test, executorch, fp32)>"
    generator.close()
    assert repr(generator).endswith("(test, executorch, fp32, closed)>")
    assert "array" not in repr(
        Clip(audio=np.zeros((2, 5)), sample_rate=5, request=REQUEST, cut=True, bundle="", generation=None)
    )


# Threads


class Alone(Echo):
    """Fails where two runs overlap."""

    running = 0

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        Alone.running += 1
        time.sleep(0.002)
        assert Alone.running == 1
        made = super().run(inputs)
        Alone.running -= 1
        return made


@pytest.mark.parametrize("keep_loaded", [True, False])
def test_runs_of_threads_that_share_a_generator_take_turns(bundle, keep_loaded):
    generator = Generator(bundle, Opened(lambda _: Alone()), keep_loaded=keep_loaded)
    requests = [dataclasses.replace(REQUEST, prompt=f"birds {seed}", seed=seed, steps=9) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(generator.generate, requests))
    for request, clip in zip(requests, clips, strict=True):
        assert clip.request == request
        assert np.array_equal(clip.audio, Generator(bundle, Opened()).generate(request).audio)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_threads_that_share_a_generator_get_the_bytes_of_each_alone(built, backend):
    folder = built(backend, "int8-dynamic")
    requests = [Request(prompt=prompt, seconds=0.5, seed=seed) for prompt, seed in (("warm rain", 1), ("birds", 2))]
    alone = [load(folder).generate(request).audio.tobytes() for request in requests]
    assert alone[0] != alone[1]
    start = threading.Barrier(2)

    def play(request: Request) -> list[bytes]:
        start.wait()
        return [shared.generate(request).audio.tobytes() for _ in range(3)]

    with load(folder) as shared, ThreadPoolExecutor(2) as pool:
        together = list(pool.map(play, requests))
    assert together == [[audio] * 3 for audio in alone]


# What cannot be played

OUT_OF_RANGE = {
    "no prompt": {"prompt": " "},
    "a book": {"prompt": "x" * 100_001},
    "no time": {"seconds": 0.0},
    "no number": {"seconds": math.nan},
    "for ever": {"seconds": math.inf},
    "too long": {"seconds": 1.0},
    "no sample": {"seconds": 1e-9},
    "no steps": {"steps": 0},
    "many steps": {"steps": 1001},
    "a seed below 0": {"seed": -1},
    "a seed too large": {"seed": 1 << 32},
}


@pytest.mark.parametrize("changes", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_request_out_of_range_is_the_same_error_everywhere_and_nothing_is_loaded(generator, opened, changes):
    request = dataclasses.replace(REQUEST, **changes)
    words = {"seconds": request.seconds, "seed": request.seed, "steps": request.steps}
    ways: list[Callable[[], object]] = [
        lambda: check_request(request, SPEC),
        lambda: generator.request(request.prompt, **words),
        lambda: generator.generate(request.prompt, **words),
        lambda: generator.generate(request),
        lambda: generator.events(request),
        lambda: generator.encode(request),
        lambda: generator.pieces(request),
    ]
    messages = set()
    for way in ways:
        with pytest.raises(UsageError) as caught:
            way()
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert opened.roles == []


@pytest.mark.parametrize("changes", [{"seconds": 1.0}, {"steps": 0}, {"seed": 1 << 32}, {"prompt": " "}], ids=str)
def test_the_command_line_says_what_the_api_says(built, tmp_path, capsys, changes):
    folder = built("litert", "fp32")
    request = dataclasses.replace(REQUEST, **changes)
    with pytest.raises(UsageError) as caught:
        load(folder).events(request)
    words = [f"--prompt={request.prompt}", f"--seconds={request.seconds}", f"--seed={request.seed}"]
    words += [] if request.steps is None else [f"--steps={request.steps}"]
    capsys.readouterr()  # what a toolchain may have said that built the bundle just now
    assert command.main([f"--bundle={folder}", f"--out={tmp_path / 'x.wav'}", *words]) == 2
    assert capsys.readouterr().err == f"runtime_py: error: {caught.value}\n"


# Importing


def loaded_by(code: str) -> set[str]:
    script = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ}
    )
    return set(done.stdout.split())


def test_importing_the_runtime_imports_nothing_else():
    loaded = loaded_by("import runtime_py; dir(runtime_py)")
    assert {name for name in loaded if name.startswith("runtime_py")} == {"runtime_py"}
    assert "numpy" not in loaded


def test_no_engine_is_imported_before_a_bundle_is_loaded():
    loaded = loaded_by("from runtime_py import Clip, EdgeExportError, Event, Generator, Request, load")
    assert "numpy" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"torch", "executorch", "ai_edge_litert"}


def test_what_the_runtime_offers_is_listed_and_nothing_else_is_there():
    import runtime_py

    assert set(runtime_py.__all__) <= set(dir(runtime_py))
    assert all(getattr(runtime_py, name) is not None for name in runtime_py.__all__)
    with pytest.raises(AttributeError, match="module 'runtime_py' has no attribute 'play'"):
        _ = runtime_py.play
