"""Plays prompts for the evaluation: many at a time through the fp32 network, one by one through a bundle.

It knows samplers, not what the sounds are held against.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from edge_export.bundle import generation_spec
from edge_export.checkpoint import Checkpoint
from edge_export.errors import CheckpointError, GenerationError
from edge_export.model.layers import SnakeBeta
from edge_export.submodules import SUBMODULES
from edge_export.tokenizer_export import read_spiece
from post_training.allocator import keep_freed_memory
from runtime_py.audio import samples_in
from runtime_py.bundle import Bundle
from runtime_py.engine import bundle_programs
from runtime_py.generator import Generator
from runtime_py.random import TorchRandom
from runtime_py.request import Request
from runtime_py.sampler import SAMPLERS, Velocity

TOGETHER, TOGETHER_ON_GPU = 4, 32
"""Prompts in one batch of the dit, of each thread."""

STEPS = 8
"""Of a request that says none; every one of an evaluation does."""

NO_PROMPT = ""
"""What the base was given where its training dropped the caption: guidance leads away from it."""


class Player(Protocol):
    """Makes sounds."""

    @property
    def rate(self) -> int: ...
    @property
    def longest(self) -> float: ...
    @property
    def batch(self) -> int:
        """How many it plays at once."""
        ...

    def play(self, requests: Sequence[Request], guidance: float | None = None) -> np.ndarray:
        """float32 [requests, channels, samples]; the requests differ in nothing but prompt and seed.

        Their steps are of ping-pong or, where `guidance` is given, of Euler (guidance 1 is none).

        Raises:
            GenerationError: a number is NaN or infinite.
        """
        ...


class SnakeInPlace(nn.Module):
    """A snake's numbers, bit for bit, in one buffer where the network as published takes five: twice as fast here."""

    alpha: Tensor
    beta: Tensor

    def __init__(self, published: SnakeBeta) -> None:
        super().__init__()
        self.register_buffer("alpha", published.alpha.exp()[None, :, None])
        self.register_buffer("beta", published.beta.exp()[None, :, None] + 1e-9)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.alpha).sin_().square_().div_(self.beta).add_(x)


def snakes_in_place(module: nn.Module) -> nn.Module:
    """`module` with its snakes replaced."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SnakeBeta):
                setattr(parent, name, SnakeInPlace(child))
    return module


class NetworkPlayer:
    """The published network in float32, on a GPU where there is one. Equal seeds sound as with `edge-export run`.

    On a CPU `threads` (all of torch's by default) play side by side, each alone on its own prompts: sharing out every
    single layer costs more than it gives.
    """

    def __init__(self, checkpoint: Checkpoint, *, threads: int | None = None, device: str | None = None) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.spec = generation_spec(checkpoint.config, SUBMODULES, STEPS)
        self._tokenizer = read_spiece(checkpoint.spiece)
        self._conditioner = checkpoint.conditioner().to(self._device)
        self._dit = checkpoint.dit().to(self._device)
        self._decoder = snakes_in_place(checkpoint.decoder()).to(self._device)
        self._threads = (threads or torch.get_num_threads()) if self._device.type == "cpu" else 1
        if self._device.type == "cpu":
            keep_freed_memory()
        self.batch = (TOGETHER if self._device.type == "cpu" else TOGETHER_ON_GPU) * self._threads

    @property
    def rate(self) -> int:
        return self.spec.audio.sample_rate

    @property
    def longest(self) -> float:
        return self.spec.seconds_limit

    def play(self, requests: Sequence[Request], guidance: float | None = None) -> np.ndarray:
        ((seconds, steps),) = {(request.seconds, request.steps) for request in requests}
        assert steps is not None, "the network has no steps of its own"
        make = partial(self._play, seconds=seconds, steps=steps, guidance=guidance)
        if self._threads == 1:
            return make(requests)
        share = -(-len(requests) // self._threads)
        shares = [requests[start : start + share] for start in range(0, len(requests), share)]
        with ThreadPoolExecutor(self._threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return np.concatenate(list(pool.map(make, shares)))

    @torch.inference_mode()
    def _play(self, requests: Sequence[Request], *, seconds: float, steps: int, guidance: float | None) -> np.ndarray:
        velocity = self.velocity([request.prompt for request in requests], seconds, guidance)
        noise = _noise([request.seed for request in requests], self.spec.latent.shape)
        start, sampler = next(noise), self.spec.sampler
        if guidance is None:
            *_, last = SAMPLERS[sampler.kind].steps(velocity, start, noise, sampler.schedule(steps))
            latent = last.clean
        else:
            latent = euler(velocity, start, steps)
        audio = np.stack([self._decode(clean) for clean in latent])[..., : samples_in(seconds, self.rate)]
        if not np.isfinite(audio).all():
            raise GenerationError("the network made NaN or infinity; the checkpoint is not sound")
        return audio

    def _condition(self, prompts: Sequence[str], seconds: float) -> tuple[Tensor, Tensor]:
        """What the blocks attend to, and the global condition."""
        encoded = [self._tokenizer.encode_prompt(prompt, self.spec.conditioning.tokens) for prompt in prompts]
        ids, mask = (
            torch.from_numpy(np.stack([getattr(prompt, name) for prompt in encoded])).to(self._device)
            for name in ("ids", "mask")
        )
        cross, total = self._conditioner(ids, mask, torch.full((len(prompts),), seconds, device=self._device))
        return self._dit.to_cond_embed(cross), total

    def velocity(self, prompts: Sequence[str], seconds: float, guidance: float | None) -> Velocity:
        """v of (latent, sigma); with guidance w it is v0 + w (v1 - v0), v0 without the prompt (arXiv 2207.12598)."""
        weight = 1.0 if guidance is None else guidance
        guided = weight != 1
        context, total = self._condition([*prompts, *([NO_PROMPT] * len(prompts) if guided else [])], seconds)

        def velocity(latent: np.ndarray, sigma: np.float32) -> np.ndarray:
            x = torch.from_numpy(latent).to(self._device)
            x = torch.cat([x, x]) if guided else x
            moving = self._dit.velocity(x, torch.full((len(x),), float(sigma), device=self._device), context, total)
            if guided:
                prompted, free = moving.chunk(2)
                moving = free + weight * (prompted - free)
            return moving.cpu().numpy()

        return velocity

    def _decode(self, latent: np.ndarray) -> np.ndarray:
        """One clip at a time: a batch's activations would leave the caches."""
        return self._decoder(torch.from_numpy(latent)[None].to(self._device))[0].cpu().numpy()


class AutoencoderPlayer:
    """Real clips, encoded to the mean of their latents and decoded again, in float32."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        keep_freed_memory()
        self._hop = checkpoint.config.decoder.hop
        self._encoder, self._decoder = checkpoint.encoder(), snakes_in_place(checkpoint.decoder())

    @torch.inference_mode()
    def play(self, audio: np.ndarray) -> np.ndarray:
        """float32 [channels, samples] of `audio`, shaped so; silence fills its last latent."""
        samples = audio.shape[1]
        padded = np.pad(audio, ((0, 0), (0, -samples % self._hop))).astype(np.float32)
        mean, _ = self._encoder(torch.from_numpy(padded)[None])
        made: np.ndarray = self._decoder(mean)[0, :, :samples].numpy()
        return made


class BundlePlayer:
    """A bundle's own programs, kept loaded, one clip after another."""

    batch = 1

    def __init__(self, bundle: Bundle) -> None:
        self._generator = Generator(bundle, bundle_programs(bundle))

    @property
    def rate(self) -> int:
        return self._generator.spec.audio.sample_rate

    @property
    def longest(self) -> float:
        return self._generator.spec.seconds_limit

    def play(self, requests: Sequence[Request], guidance: float | None = None) -> np.ndarray:
        assert guidance is None, "a bundle plays without guidance"
        return np.stack([self._generator.generate(request).audio for request in requests])


def euler(velocity: Velocity, noise: np.ndarray, steps: int) -> np.ndarray:
    """From noise at sigma 1 to a clean latent at 0 along dx/dsigma = v, in `steps` equal steps (arXiv 2209.03003, 2.1).

    Raises:
        GenerationError: the velocity is NaN or infinite.
    """
    latent = noise
    for sigma, following in pairwise(np.linspace(1, 0, steps + 1, dtype=np.float32)):
        moving = velocity(latent, sigma)
        if not np.isfinite(moving).all():
            raise GenerationError(f"the dit returned NaN or infinity at sigma {sigma:g}; the checkpoint is not sound")
        latent = latent + (following - sigma) * moving
    return latent


def _noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Draws of [seeds, channels, length]: each row what its seed alone would give."""
    randoms = [TorchRandom(seed) for seed in seeds]
    while True:
        yield np.concatenate([random.randn(1, *shape) for random in randoms])


def check_rate(player: Player, rate: int, what: str) -> None:
    """CheckpointError when a player's sample rate is not the judge's."""
    if player.rate != rate:
        raise CheckpointError(f"{what} plays at {player.rate} Hz, the judge hears {rate} Hz; evaluate another model")
