"""Which windows of a latent to decode, and what to keep of each, so that the sound is that of the whole.

It knows lengths alone: neither programs nor samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of the latent that begins at `start`; of its sound, that of latents [first, end) is kept."""

    start: int
    first: int
    end: int


def windows(length: int, window: int, margin: int, needed: int) -> Iterator[Window]:
    """Windows of `window` latents that give the sound of the first `needed` of `length`, one after another.

    A window's sound is right where no cut is within `margin` latents; the ends of the latent are no cuts. So
    `window` is `length`, or above 2 `margin` and below `length`; `needed` is at most `length`.
    """
    if needed > length:
        raise ValueError(f"{needed} latents are needed of {length}")
    done = 0
    while done < needed:
        start = min(max(0, done - margin), length - window)
        right = window if start + window == length else window - margin
        end = min(start + right, needed)
        yield Window(start=start, first=done, end=end)
        done = end
