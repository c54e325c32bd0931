"""The arithmetic of the estimate, on numbers that can be added up by hand."""

import dataclasses

import pytest

from runtime_py.errors import GenerationError
from runtime_py.estimate import Estimate, ProgramNeeds, estimate, estimate_request, refuse_little_memory
from runtime_py.manifest import MemorySpec
from runtime_py.request import Request
from tests.runtime_py.test_manifest import MANIFEST

OVERHEAD = Estimate(mapped_bytes=1_000_000, private_bytes=2_000_000)
SMALL = ProgramNeeds(
    file_bytes=130,
    memory=MemorySpec(packed_bytes=100, kept_bytes=90, working_bytes=20),
    output_bytes=5,
    packed="each",
)
WEIGHTS = dataclasses.replace(
    SMALL, file_bytes=9_000, memory=MemorySpec(packed_bytes=8_000, kept_bytes=7_000, working_bytes=20)
)
TENSORS = dataclasses.replace(SMALL, memory=MemorySpec(packed_bytes=100, kept_bytes=90, working_bytes=50_000))


def growth(*programs: ProgramNeeds, audio_bytes: int = 7, keep_loaded: bool = False) -> tuple[int, int]:
    """Mapped and private bytes of stages of one program each, less the runtime's own."""
    return growth_of([[program] for program in programs], audio_bytes=audio_bytes, keep_loaded=keep_loaded)


def growth_of(stages: list[list[ProgramNeeds]], audio_bytes: int = 7, keep_loaded: bool = False) -> tuple[int, int]:
    found = estimate(stages, latent_bytes=1, audio_bytes=audio_bytes, overhead=OVERHEAD, keep_loaded=keep_loaded)
    return found.mapped_bytes - OVERHEAD.mapped_bytes, found.private_bytes - OVERHEAD.private_bytes


def test_weights_are_in_memory_twice_while_they_are_packed():
    assert growth(SMALL, WEIGHTS, SMALL) == (9_000, 8_000)


def test_a_run_needs_packed_weights_and_tensors_and_what_the_loop_keeps():
    packed, working, latents, outputs, audio = 100, 50_000, 4, 5, 7
    assert growth(SMALL, SMALL, TENSORS) == (130 - packed, packed + working + latents + outputs + audio)


def test_audio_is_kept_while_the_decoder_runs_alone():
    assert growth(TENSORS, SMALL)[1] == growth(SMALL, TENSORS)[1] - 7


def test_the_worst_moment_may_be_the_joining_of_a_long_clip():
    assert growth(SMALL, SMALL, audio_bytes=1_000) == (0, 2_000)


def test_packed_weights_kept_in_a_file_are_mapped_and_never_beside_the_programs_own():
    mapped = dataclasses.replace(WEIGHTS, packed="mapped", file_bytes=6_000)
    assert growth(mapped) == (7_000, 20 + 4 + 5 + 7)


def test_weights_packed_once_are_in_memory_without_their_equals():
    assert growth(dataclasses.replace(WEIGHTS, packed="once")) == (9_000, 7_000)


def test_a_stages_programs_are_in_memory_together():
    """The second is loaded beside the first, and run beside it, what both made being kept."""
    assert growth_of([[SMALL], [SMALL, WEIGHTS]]) == (9_000 + 30, 8_000 + 120)
    assert growth_of([[SMALL], [TENSORS, TENSORS]]) == (2 * 30, 2 * (100 + 50_000) + 4 + 2 * 5 + 7)


def test_programs_that_stay_add_up():
    mapped, private = growth(SMALL, SMALL, TENSORS, keep_loaded=True)
    alone = growth(SMALL, SMALL, TENSORS)
    assert (mapped, private) == (alone[0] + 2 * 30, alone[1] + 2 * 120)


def test_a_longer_clip_takes_its_samples_more():
    short, long = (
        estimate_request(MANIFEST, Request(prompt="a", seconds=seconds), keep_loaded=True) for seconds in (0.1, 0.7)
    )
    assert long.private_bytes - short.private_bytes in (more := 4 * 2 * (30_870 - 4_410), 2 * more)
    assert long.mapped_bytes == short.mapped_bytes


@pytest.mark.parametrize("free", [2_999_999, 0])
def test_less_memory_than_needed_is_refused_in_one_line(monkeypatch, free):
    monkeypatch.setattr("runtime_py.estimate.memory_available", lambda: free)
    with pytest.raises(GenerationError, match=r"this needs 3 MB of memory, \d MB are free; .*--force"):
        refuse_little_memory(OVERHEAD)


@pytest.mark.parametrize("free", [3_000_000, None])
def test_enough_memory_or_a_system_that_does_not_say_refuses_nothing(monkeypatch, free):
    monkeypatch.setattr("runtime_py.estimate.memory_available", lambda: free)
    refuse_little_memory(OVERHEAD)
