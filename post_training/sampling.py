"""Samplers in torch, for whole batches on any device; `runtime_py.sampler` is the specification of ping-pong.

They know neither network nor autoencoder: only a velocity.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from runtime_py import sampler

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(latent [batch, channels, length], sigma [batch]) -> velocity, shaped as the latent."""


def straight(steps: int) -> Tensor:
    """Times for Euler, float32 [steps + 1]: equal steps from 1 to 0."""
    return torch.linspace(1, 0, steps + 1)


def guided(with_prompt: Velocity, without: Velocity, scale: float) -> Velocity:
    """v = v_empty + scale (v_prompt - v_empty): classifier-free guidance (arXiv 2207.12598, equation 6)."""

    def velocity(latent: Tensor, sigma: Tensor) -> Tensor:
        empty = without(latent, sigma)
        return empty + scale * (with_prompt(latent, sigma) - empty)

    return velocity


@torch.no_grad()
def euler(velocity: Velocity, noise: Tensor, times: Tensor) -> Tensor:
    """Follow dx/dt = v from time 1 to 0: x = x + (next - t) v (arXiv 2209.03003, section 2.1)."""
    latent = noise
    for now, following in pairwise(times.tolist()):
        latent = latent + (following - now) * velocity(latent, noise.new_full((len(noise),), now))
    return latent


@torch.no_grad()
def pingpong(velocity: Velocity, noise: Callable[[], Tensor], steps: int) -> Tensor:
    """clean = x - sigma v; x = (1 - next) clean + next noise (arXiv 2505.08175), as the runtime does it.

    `noise` is called once to start and once after each step but the last.
    """
    latent = noise()
    for sigma, following in pairwise(sampler.sigmas(steps).tolist()):
        clean = latent - sigma * velocity(latent, latent.new_full((len(latent),), sigma))
        latent = clean if following == 0 else (1 - following) * clean + following * noise()
    return latent
