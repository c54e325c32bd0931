"""The arithmetic of the estimate, on numbers that can be added up by hand."""

import dataclasses

import pytest

from runtime_py.estimate import Estimate, MemorySpec, ProgramNeeds, bytes_of_audio, estimate

OVERHEAD = Estimate(mapped_bytes=1_000_000, private_bytes=2_000_000)
SMALL = ProgramNeeds(
    file_bytes=130,
    memory=MemorySpec(packed_bytes=100, working_bytes=20),
    output_bytes=5,
    packed_mapped=False,
)
WEIGHTS = dataclasses.replace(SMALL, file_bytes=9_000, memory=MemorySpec(packed_bytes=8_000, working_bytes=20))
TENSORS = dataclasses.replace(SMALL, memory=MemorySpec(packed_bytes=100, working_bytes=50_000))


def growth(*programs: ProgramNeeds, audio_bytes: int = 7, keep_loaded: bool = False) -> tuple[int, int]:
    """Mapped and private bytes, less the runtime's own."""
    found = estimate(programs, latent_bytes=1, audio_bytes=audio_bytes, overhead=OVERHEAD, keep_loaded=keep_loaded)
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
    mapped = dataclasses.replace(WEIGHTS, packed_mapped=True)
    assert growth(mapped) == (9_000, 20 + 4 + 5 + 7)


def test_programs_that_stay_add_up():
    mapped, private = growth(SMALL, SMALL, TENSORS, keep_loaded=True)
    alone = growth(SMALL, SMALL, TENSORS)
    assert (mapped, private) == (alone[0] + 2 * 30, alone[1] + 2 * 120)


@pytest.mark.parametrize(("seconds", "bytes_"), [(1.0, 352_800), (0.00001, 0), (7.0, 2_469_600)])
def test_audio_has_the_samples_of_the_clip(seconds, bytes_):
    assert bytes_of_audio(seconds, 44_100, 2) == bytes_
