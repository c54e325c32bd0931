"""Which windows of a latent, or tiles of a window's features, to decode, and what to keep of each, so that the sound is
that of the whole. It knows lengths alone: neither programs nor samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch that begins at `start`; of its sound, that of moments [first, end) is kept."""

    start: int
    first: int
    end: int


def windows(length: int, window: int, margin: int, needed: int, first: int = 0) -> Iterator[Window]:
    """Windows of `window` moments that give the sound of [first, needed) of `length`, one after another.

    A window's sound is right where no cut is within `margin` moments; the ends of the whole are no cuts. So
    `window` is `length`, or above 2 `margin` and below `length`; `needed` is at most `length`.
    """
    if needed > length:
        raise ValueError(f"{needed} moments are needed of {length}")
    done = first
    while done < needed:
        start = min(max(0, done - margin), length - window)
        right = window if start + window == length else window - margin
        end = min(start + right, needed)
        yield Window(start=start, first=done, end=end)
        done = end
