"""What submodules get while the fp32 reference plays the golden prompt. It quantizes nothing."""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from edge_export.checkpoint import Checkpoint
from edge_export.golden import GOLDEN_PROMPT, GOLDEN_SEED
from edge_export.reference import reference_programs
from edge_export.submodules import Part
from edge_export.tokenizer_export import read_spiece
from runtime_py.engine import Tensors
from runtime_py.generate import DEFAULT_SECONDS
from runtime_py.random import TorchRandom
from runtime_py.sampler import Step, pingpong, sigmas

STEPS = 2
"""Of the reference generation: the second is at the sigma of the middle one of eight."""


class ReferenceInputs:
    """What submodules get while the reference plays the golden prompt. Each piece is computed once, when asked for."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._config, self._spiece = checkpoint.config, checkpoint.spiece
        self._open = reference_programs(checkpoint)

    def of(self, part: Part) -> dict[str, Tensor]:
        """For each input port of `part` a tensor of its shape."""
        sources: dict[str, Callable[[], Tensors]] = {
            "conditioner": lambda: self.prompt,
            "dit": self._dit,
            "decoder": lambda: {"latent": self._middle(part.inputs[0].shape[-1])},
        }
        arrays = sources[part.name]()
        return {port.name: torch.from_numpy(np.ascontiguousarray(arrays[port.name])) for port in part.inputs}

    @property
    def seconds(self) -> float:
        config = self._config
        clip = config.latent_length * config.decoder.hop / config.sample_rate
        return min(DEFAULT_SECONDS, clip, config.conditioner.seconds_max)

    @cached_property
    def prompt(self) -> Tensors:
        """The conditioner's inputs."""
        prompt = read_spiece(self._spiece).encode_prompt(GOLDEN_PROMPT, self._config.conditioner.tokens)
        seconds = np.array([self.seconds], np.float32)
        return {"input_ids": prompt.ids[None], "prompt_mask": prompt.mask[None], "seconds": seconds}

    @cached_property
    def conditioning(self) -> Tensors:
        return self._open("conditioner").run(self.prompt)

    @cached_property
    def last_step(self) -> Step:
        """The second of two steps from noise."""
        dit, random = self._open("dit"), TorchRandom(GOLDEN_SEED)

        def velocity(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
            return dit.run({"latent": latent, "sigma": np.array([sigma], np.float32), **self.conditioning})["velocity"]

        noise = (random.randn(1, *self._config.latent_shape) for _ in range(STEPS))
        *_, last = pingpong(velocity, noise, sigmas(STEPS))
        return last

    def _dit(self) -> Tensors:
        step = self.last_step
        return {"latent": step.latent, "sigma": np.array([step.sigma], np.float32), **self.conditioning}

    def _middle(self, latents: int) -> np.ndarray:
        """`latents` of the clean latent, [1, channels, latents], out of the middle of what is played."""
        clean, config = self.last_step.clean, self._config
        played = math.ceil(self.seconds * config.sample_rate / config.decoder.hop)
        start = min(max(0, (played - latents) // 2), clean.shape[-1] - latents)
        return clean[..., start : start + latents]
