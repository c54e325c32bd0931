"""The published network in half precision on a GPU, compiled, a whole generation captured as one CUDA graph.

It is for speed: what it plays is near the float32 reference, not equal to it; `benchmarks.gpu` says how near.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from edge_export.checkpoint import Checkpoint
from edge_export.model.dit import Dit
from post_training.network import ExactFourierFeatures
from runtime_py.sampler import SAMPLERS

WARM_UPS = 3  # before a capture, so that nothing is compiled or allocated within it


class HalfNetwork:
    """Token ids and noise to audio, in so many steps of ping-pong.

    dtype: of weights and products; times, positions and the latent between steps stay float32, and so does the
    conditioner, which runs once. compiled: torch.compile the dit and the decoder. captured: replay one CUDA graph;
    on a GPU alone.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        *,
        steps: int = 8,
        dtype: torch.dtype = torch.float16,
        compiled: bool = True,
        captured: bool = True,
    ) -> None:
        self._device, self._dtype = device, dtype
        self._sigmas = SAMPLERS["pingpong"].sigmas(steps).tolist()
        self._shape = checkpoint.config.latent_shape
        self._conditioner = checkpoint.conditioner().to(device)
        self._dit = _halved(checkpoint.dit(), dtype).to(device)
        self._decoder = checkpoint.decoder().to(device, dtype)
        self._captured: tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor] | None = None
        self._capturing = captured and device.type == "cuda"
        if compiled:
            self._dit.compile()
            self._decoder.compile()

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        """[steps, batch, channels, length]: a draw to begin with, and one after each step but the last."""
        return len(self._sigmas) - 1, 1, *self._shape

    @torch.inference_mode()
    def condition(self, ids: Tensor, mask: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Of ids int64 and mask float32 [1, tokens] and seconds [1]: what `play` takes."""
        cross, total = self._conditioner(ids.to(self._device), mask.to(self._device), seconds.to(self._device))
        return cross, total

    @torch.inference_mode()
    def play(self, cross: Tensor, total: Tensor, noise: Tensor) -> Tensor:
        """float32 [1, audio channels, samples] of noise float32 in `noise_shape`. The next call overwrites it."""
        if not self._capturing:
            return self._generate(cross, total, noise)
        if self._captured is None:
            self._captured = _capture(self._generate, (cross, total, noise))
        graph, inputs, audio = self._captured
        for ours, given in zip(inputs, (cross, total, noise), strict=True):
            ours.copy_(given)
        graph.replay()
        return audio

    def _generate(self, cross: Tensor, total: Tensor, noise: Tensor) -> Tensor:
        """`runtime_py.sampler.pingpong`, then the decoder."""
        latent = noise[0]
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            for step, (sigma, following) in enumerate(pairwise(self._sigmas)):
                velocity = self._dit(latent, latent.new_full((1,), sigma), cross, total)
                clean = latent - sigma * velocity.float()
                latent = (1 - following) * clean + following * noise[step + 1] if following else clean
            audio: Tensor = self._decoder(latent.to(self._dtype))
        return audio.float()


def _halved(dit: Dit, dtype: torch.dtype) -> Dit:
    """`dit` in `dtype` but for the frequencies of times and positions."""
    features = ExactFourierFeatures(2 * len(dit.timestep_features.weight))
    features.load_state_dict(dit.timestep_features.state_dict())
    inv_freq = dit.transformer.rotary_pos_emb.inv_freq.clone()
    dit = dit.to(dtype)
    dit.timestep_features, dit.transformer.rotary_pos_emb.inv_freq = features, inv_freq
    return dit


def _capture(
    generate: Callable[..., Tensor], inputs: tuple[Tensor, ...]
) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]:
    """The graph, the buffers it reads and the one it writes."""
    kept = tuple(given.clone() for given in inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            generate(*kept)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        audio = generate(*kept)
    return graph, kept, audio
