"""Samplers: from a start to a clean latent in a few steps. SAMPLERS lists them; to add one, add an entry.

A sampler knows neither the network nor where noise comes from.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

import numpy as np

from runtime_py.errors import GenerationError, UsageError

MAX_STEPS = 1000
MOST_LOGSNR = 100

Velocity = Callable[[np.ndarray, np.float32], np.ndarray]
"""The network: latent and sigma to velocity, of the latent's shape."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: the latent that entered it at `sigma`, the velocity there, and the clean latent it points to."""

    index: int
    sigma: float
    latent: np.ndarray
    velocity: np.ndarray
    clean: np.ndarray


class Steps(Protocol):
    """Steps from `latent` along `schedule`; `noise` is drawn from once wherever a sampler noises anew."""

    def __call__(
        self, velocity: Velocity, latent: np.ndarray, noise: Iterator[np.ndarray], schedule: np.ndarray
    ) -> Iterator[Step]: ...


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """An entry of SAMPLERS. defaults: its parameters by name, with the published values."""

    defaults: Mapping[str, float]
    grid: Callable[..., np.ndarray]
    steps: Steps

    def sigmas(self, steps: int, parameters: Mapping[str, float] | None = None, *, first: float = 1.0) -> np.ndarray:
        """float32 [steps + 1], falling from `first` to 0; see the sampler's own grid, which raises UsageError."""
        return self.grid(steps, first=first, **(self.defaults if parameters is None else parameters))

    def problem(self, parameters: Mapping[str, float]) -> str | None:
        """What is wrong with `parameters`, in a few words."""
        if parameters.keys() != self.defaults.keys():
            return f"are {', '.join(parameters) or 'none'}, expected {', '.join(self.defaults)}"
        if not all(map(math.isfinite, parameters.values())):
            return "are not all finite"
        try:
            self.sigmas(1, parameters)
        except ValueError as error:
            return str(error)
        return None


def logsnr_grid(steps: int, *, first: float = 1.0, logsnr_low: float, logsnr_high: float) -> np.ndarray:
    """float32 [steps + 1]: sigmoid(-logSNR) over equal steps of logSNR, the first set to `first`, the last to 0.

    From `logsnr_low`, or from the logSNR of a start that is only noised to `first` < 1: log((1 - s) / s + 1e-6), as
    the published library has it.

    Raises:
        UsageError: steps outside 1..1000; a `first` from which the grid would rise.
        ValueError: the range of logSNR is empty.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"steps is {steps}, expected 1 to {MAX_STEPS}")
    if not -MOST_LOGSNR <= logsnr_low < logsnr_high <= MOST_LOGSNR:
        raise ValueError(f"must have logsnr_low below logsnr_high, both within -{MOST_LOGSNR}..{MOST_LOGSNR}")
    least = 1 / (1 + math.exp(logsnr_high))
    if not least < first <= 1:
        raise UsageError(f"the first sigma is {first:g}, expected above {least:.4f} and up to 1")
    low = logsnr_low if first == 1 else math.log((1 - first) / first + 1e-6)
    made = 1 / (1 + np.exp(np.linspace(low, logsnr_high, steps + 1)))
    made[0], made[-1] = first, 0
    return made.astype(np.float32)


def pingpong(
    velocity: Velocity, latent: np.ndarray, noise: Iterator[np.ndarray], schedule: np.ndarray
) -> Iterator[Step]:
    """Steps from `latent`, noised to the first sigma of `schedule` (float32, falling to 0); the last `clean` counts.

    clean = latent - sigma velocity; latent = (1 - next) clean + next noise (arXiv 2505.08175, section 3.4).
    All in float32. `noise` is drawn from once after each step but the last, whose noise would be times zero, and only
    when the next step is asked for.

    Raises:
        GenerationError: the velocity is NaN or infinite; the message names the step, counted from 1.
    """
    one = np.float32(1)
    for index, (sigma, following) in enumerate(pairwise(schedule.astype(np.float32))):
        moving = velocity(latent, sigma)
        if not np.isfinite(moving).all():
            raise GenerationError(f"the dit returned NaN or infinity in step {index + 1}; run `edge-export verify`")
        clean = latent - sigma * moving
        yield Step(index=index, sigma=float(sigma), latent=latent, velocity=moving, clean=clean)
        if following > 0:
            latent = (one - following) * clean + following * next(noise)


SAMPLERS: dict[str, Sampler] = {
    "pingpong": Sampler(
        defaults=MappingProxyType({"logsnr_low": -6.0, "logsnr_high": 2.0}), grid=logsnr_grid, steps=pingpong
    ),
}
