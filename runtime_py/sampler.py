"""Ping-pong sampling: from noise to a clean latent in a few steps, re-noised in between.

It knows neither the network nor where noise comes from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from runtime_py.errors import GenerationError, UsageError

LOGSNR = (-6.0, 2.0)
MAX_STEPS = 1000

Velocity = Callable[[np.ndarray, np.float32], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: the latent that entered it at `sigma`, the velocity there, and the clean latent it points to."""

    index: int
    sigma: float
    latent: np.ndarray
    velocity: np.ndarray
    clean: np.ndarray


def sigmas(steps: int, logsnr: tuple[float, float] = LOGSNR) -> np.ndarray:
    """float32 [steps + 1]: sigmoid(-logSNR) over equal steps of logSNR, the first set to 1, the last to 0.

    Raises:
        UsageError: steps outside 1..1000.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"steps is {steps}, expected 1 to {MAX_STEPS}; the model is made for 8")
    made = 1 / (1 + np.exp(np.linspace(*logsnr, steps + 1)))
    made[0], made[-1] = 1, 0
    return made.astype(np.float32)


def pingpong(velocity: Velocity, noise: Iterator[np.ndarray], schedule: np.ndarray) -> Iterator[Step]:
    """Steps along `schedule` (float32, falling from 1 to 0); the last step's `clean` is the result.

    clean = latent - sigma velocity; latent = (1 - next) clean + next noise (arXiv 2505.08175, section 3.4).
    All in float32. `noise` is drawn from once to start and once after each step but the last, whose noise
    would be times zero, and only when the next step is asked for.

    Raises:
        GenerationError: the velocity is NaN or infinite; the message names the step, counted from 1.
    """
    one = np.float32(1)
    schedule = schedule.astype(np.float32)
    latent = next(noise)
    for index, (sigma, following) in enumerate(pairwise(schedule)):
        moving = velocity(latent, sigma)
        if not np.isfinite(moving).all():
            raise GenerationError(f"the dit returned NaN or infinity in step {index + 1}; run `edge-export verify`")
        clean = latent - sigma * moving
        yield Step(index=index, sigma=float(sigma), latent=latent, velocity=moving, clean=clean)
        if following > 0:
            latent = (one - following) * clean + following * next(noise)
