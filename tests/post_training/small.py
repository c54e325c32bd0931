"""The smallest network and data that everything of post_training runs on: what its tests share."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from post_training.config import (
    ArcSettings,
    AutoencoderSettings,
    Config,
    DataSettings,
    FlowSettings,
    NetworkSettings,
)

RATE = 44100
KINDS = ("low hum", "high whistle", "soft noise")

CONFIG = Config(
    seed=3,
    data=DataSettings(clips=10, shard=4, workers=0, shortest=0.1),
    network=NetworkSettings(
        latents=16,
        embed_dim=64,
        depth=2,
        num_heads=1,
        encoder_channels=2,
        decoder_channels=2,
        pieces=200,
        d_model=64,
        d_kv=32,
        d_ff=64,
        text_layers=1,
        text_heads=2,
        tokens=16,
        strides=(4, 8, 8, 4, 2),
    ),
    autoencoder=AutoencoderSettings(
        steps=4,
        batch=2,
        latents=4,
        encoded=1,
        learning_rate=1e-3,
        fft_sizes=(256, 64),
        adversary_from=2,
        adversary_channels=4,
        adversary_fft_sizes=(256,),
        adversary_learning_rate=1e-3,
        log_every=1,
        save_every=2,
    ),
    flow=FlowSettings(
        steps=4, batch=4, learning_rate=1e-3, log_every=1, save_every=2, short_until=2, short_latents=8, bfloat16=True
    ),
    arc=ArcSettings(
        steps=4, batch=4, layers=1, learning_rate=1e-3, discriminator_learning_rate=1e-3, log_every=1, save_every=2
    ),
)


@dataclass(frozen=True, kw_only=True)
class Clip:
    audio: np.ndarray
    caption: str
    attributes: object = field(default=None)


def draw(seed: int, *, seconds: float = 7.43, held_out: bool = False) -> Clip:
    """A stand-in for `post_training.sounds.draw`: three kinds, loud or quiet."""
    dice = np.random.default_rng([seed, held_out])
    kind, loud = int(dice.integers(3)), bool(dice.integers(2))
    time = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * math.pi * (110, 1760, 0)[kind] * time) if kind < 2 else dice.standard_normal(len(time))
    audio = np.stack([tone, tone]).astype(np.float32) * (0.3 if loud else 0.1)
    return Clip(audio=audio, caption=f"{'loud' if loud else 'quiet'} {KINDS[kind]}")


def with_steps(config: Config, steps: int) -> Config:
    return replace(
        config,
        autoencoder=replace(config.autoencoder, steps=steps),
        flow=replace(config.flow, steps=steps),
        arc=replace(config.arc, steps=steps),
    )


def shaken(module: nn.Module, seed: int = 0, std: float = 0.05) -> nn.Module:
    """Noise on every parameter, so that nothing is zero or one by initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * std)
    return module
