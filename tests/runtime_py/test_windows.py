"""Windows of a latent: together they give each moment once, and none is taken from where a cut is heard."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.windows import Window, windows


@dataclass(frozen=True, kw_only=True)
class Case:
    """As a manifest allows it: the window is the whole latent, or above two margins and below the whole."""

    length: int
    window: int
    margin: int
    needed: int

    def windows(self) -> list[Window]:
        return list(windows(self.length, self.window, self.margin, self.needed))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    length = draw(st.integers(1, 300))
    margin = draw(st.integers(0, 40))
    widths = st.just(length)
    if 2 * margin + 1 < length:
        widths |= st.integers(2 * margin + 1, length - 1)
    return Case(length=length, window=draw(widths), margin=margin, needed=draw(st.integers(0, length)))


@given(cases())
def test_each_latent_that_is_needed_is_kept_once_and_in_order(case):
    kept = [latent for part in case.windows() for latent in range(part.first, part.end)]
    assert kept == list(range(case.needed))


@given(cases())
def test_each_window_lies_within_the_latent_and_holds_what_is_kept_of_it(case):
    for part in case.windows():
        assert 0 <= part.start <= part.first < part.end <= part.start + case.window <= case.length


@given(cases())
def test_what_is_kept_is_a_margin_away_from_every_cut_but_not_from_the_ends_of_the_latent(case):
    for part in case.windows():
        end = part.start + case.window
        assert part.start == 0 or part.first - part.start >= case.margin
        assert end == case.length or end - part.end >= case.margin


@given(cases())
def test_no_window_could_be_left_out(case):
    """All but the last keep as much as a window can, and the first has the clip's beginning for nothing."""
    found = case.windows()
    for index, part in enumerate(found[:-1]):
        assert part.end - part.first == case.window - case.margin * (1 if index == 0 else 2)
    if case.window == case.length:
        assert len(found) == (case.needed > 0)


@given(cases())
def test_less_sound_is_the_beginning_of_more(case):
    """Pieces that are asked for come as they would have come for the whole clip, but for the last one's end."""
    whole = list(windows(case.length, case.window, case.margin, case.length))
    found = case.windows()
    assert [part.start for part in found] == [part.start for part in whole[: len(found)]]
    assert found[:-1] == whole[: len(found) - 1] if found else case.needed == 0


def test_the_published_clip_takes_three_windows():
    assert list(windows(256, 99, 10, 256)) == [
        Window(start=0, first=0, end=89),
        Window(start=79, first=89, end=168),
        Window(start=157, first=168, end=256),
    ]
    assert [len(list(windows(256, 99, 10, needed))) for needed in (1, 89, 90, 168, 169)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("length", [1, 16])
def test_more_than_there_is_cannot_be_asked_for(length):
    with pytest.raises(ValueError, match=rf"{length + 1} moments are needed of {length}"):
        next(windows(length, length, 3, length + 1))


@given(cases(), st.data())
def test_windows_may_begin_further_on(case, data):
    """What is kept begins there, a margin away from every cut, in no more windows than from the beginning."""
    first = data.draw(st.integers(0, case.needed))
    found = list(windows(case.length, case.window, case.margin, case.needed, first=first))
    assert [moment for part in found for moment in range(part.first, part.end)] == list(range(first, case.needed))
    assert len(found) <= len(case.windows())
    for part in found:
        end = part.start + case.window
        assert part.start >= 0 and end <= case.length
        assert part.start == 0 or part.first - part.start >= case.margin
        assert end == case.length or end - part.end >= case.margin


@given(cases().filter(lambda case: case.window < case.length))
def test_the_number_of_windows_is_bounded_by_the_sound_that_each_gives(case):
    assert len(case.windows()) <= 1 + math.ceil(case.needed / (case.window - 2 * case.margin))
