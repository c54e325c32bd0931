"""What submodules get while the fp32 reference plays the golden prompt. It quantizes nothing."""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from edge_export.bundle import generation_spec
from edge_export.checkpoint import Checkpoint
from edge_export.golden import GOLDEN_PROMPT, GOLDEN_SEED
from edge_export.reference import reference_programs
from edge_export.submodules import SUBMODULES, Part
from runtime_py.engine import Tensors
from runtime_py.loop import condition, denoise
from runtime_py.request import Request, default_seconds

STEPS = 2
"""Of the reference generation: the second is at the sigma of the middle one of eight."""


class ReferenceInputs:
    """What submodules get while the reference plays the golden prompt. Each piece is computed once, when asked for."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._spec = generation_spec(checkpoint.config, SUBMODULES, STEPS)
        self._request = Request(prompt=GOLDEN_PROMPT, seconds=default_seconds(self._spec), seed=GOLDEN_SEED)
        self._prompt = checkpoint.tokenizer.encode_prompt(GOLDEN_PROMPT, self._spec.conditioning.tokens)
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

    @cached_property
    def prompt(self) -> Tensors:
        """The conditioner's inputs."""
        seconds = np.array([self._request.seconds], np.float32)
        return {"input_ids": self._prompt.ids[None], "prompt_mask": self._prompt.mask[None], "seconds": seconds}

    @cached_property
    def conditioning(self) -> Tensors:
        return condition(self._open, self._request, self._prompt).tensors

    @cached_property
    def last_step(self) -> Tensors:
        """The second of two steps from noise: latent, velocity, clean."""
        *_, last = denoise(self._spec, self._open, self._request, self.conditioning)
        return last.tensors

    def _dit(self) -> Tensors:
        sigma = self._spec.sampler.schedule(STEPS)[STEPS - 1 :][:1]
        return {"latent": self.last_step["latent"], "sigma": sigma, **self.conditioning}

    def _middle(self, latents: int) -> np.ndarray:
        """`latents` of the clean latent, [1, channels, latents], out of the middle of what is played."""
        clean, spec = self.last_step["clean"], self._spec
        played = math.ceil(self._request.seconds * spec.audio.sample_rate / spec.latent.hop)
        start = min(max(0, (played - latents) // 2), clean.shape[-1] - latents)
        return clean[..., start : start + latents]
