"""A run's TOML file, read into frozen dataclasses.

Strict: an unknown, missing or misshapen setting is refused in one line. It knows no tensors.
"""

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

from edge_export.errors import UsageError
from runtime_py.schema import SchemaError, read_as, require

HOP = 2048
"""Samples of audio for each latent: the published family's strides 2, 4, 4, 8, 8."""

RATE = 44100

FAINTEST = 5e-4
"""Standard deviation of the white noise below which no level counts: -66 dB of full scale."""

Times = Literal["logit-normal", "logsnr-uniform"]
Adversary = Literal["relativistic", "least-squares"]

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The clips: how many, and how they are made.

    short_share of them are shorter than the model's clip: uniform from `shortest` seconds, the rest silence.
    shard: clips in one file. workers: processes that make clips; 0 makes them in this one.
    """

    clips: int
    shard: int
    workers: int
    short_share: float = 0.25
    shortest: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "clips", "shard", "shortest")
        _within(self, 0, 1, "short_share")
        _within(self, 0, 1024, "workers")


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Sizes of the published family. `latents` of 2048 samples make one clip; ARC's discriminator needs 16 of them.

    The first stride is the one next to the audio. A level's channels are the coder's times a number of its mults.
    """

    latents: int
    embed_dim: int
    depth: int
    num_heads: int
    encoder_channels: int
    decoder_channels: int
    pieces: int
    d_model: int
    d_kv: int
    d_ff: int
    text_layers: int
    text_heads: int
    tokens: int = 64
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)
    encoder_mults: tuple[int, ...] = (1, 2, 4, 8, 16)
    decoder_mults: tuple[int, ...] = (1, 2, 4, 8, 16)

    def __post_init__(self) -> None:
        _positive(self, *(field.name for field in fields(self) if field.type is int))
        even = math.prod(self.strides) == HOP and all(stride > 0 and stride % 2 == 0 for stride in self.strides)
        require(even, "strides", f"is {list(self.strides)}, expected even numbers that multiply to {HOP}")
        for name in ("encoder_mults", "decoder_mults"):
            mults = getattr(self, name)
            fits = len(mults) == len(self.strides) and min(mults) >= 1
            require(fits, name, f"is {list(mults)}, expected a number from 1 for each of strides")
        require(self.latents >= 16, "latents", f"is {self.latents}, expected 16 or more")
        cut = self.embed_dim % self.num_heads == 0 and self.embed_dim // self.num_heads >= 32
        require(cut, "num_heads", f"is {self.num_heads}, which does not cut embed_dim into even heads of 32 or more")

    @property
    def samples(self) -> int:
        """Samples of one clip, per channel."""
        return self.latents * HOP

    @property
    def seconds(self) -> float:
        """Length of one clip."""
        return self.samples / RATE


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """What every stage has.

    The learning rate rises over `warmup` steps, stays, and falls to 0 over the last `decay` share of `steps`.
    ema: decay of the averaged weights, per step. compile: torch.compile the networks. bfloat16: autocast on a CPU
    too, as always on a GPU; the autoencoder does without.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 0
    decay: float = 0.0
    ema: float = 0.999
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    log_every: int = 10
    save_every: int = 500
    compile: bool = False
    bfloat16: bool = False

    def __post_init__(self) -> None:
        _positive(self, "steps", "batch", "learning_rate", "clip_norm", "log_every", "save_every")
        _within(self, 0, 1, "decay", "ema")
        _within(self, 0, 1 << 30, "warmup", "weight_decay")
        below = all(0 <= beta < 1 for beta in self.betas)
        require(below, "betas", f"is {list(self.betas)}, expected two numbers from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(StageSettings):
    """Stage 1. `latents`: length of the crops. bands: mel bands by which spectra are compared, at each of `fft_sizes`
    in turns.

    noise: standard deviation of what is added to latents, themselves about 1, before they are decoded. encoded: so many
    crops of a batch teach the encoder too. Until `adversary_from` there is no discriminator. purest: one in so many
    crops is taken for half of a batch, those nearest to a tone: they are rare, and hardest to play; 1 takes any.
    """

    latents: int
    fft_sizes: tuple[int, ...]
    bands: int = 96
    noise: float = 0.2
    encoded: int
    purest: int = 1
    stft_weight: float = 1.0
    kl_weight: float = 1.0
    adversary_from: int
    adversary_weight: float = 0.1
    feature_weight: float = 5.0
    adversary_channels: int
    adversary_fft_sizes: tuple[int, ...]
    adversary_learning_rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(self, "latents", "bands", "noise", "encoded", "adversary_channels", "adversary_learning_rate")
        require(self.encoded <= self.batch, "encoded", f"is {self.encoded}, expected at most batch, {self.batch}")
        _within(self, 1, 64, "purest")
        _within(self, 0, 1e6, "stft_weight", "kl_weight", "adversary_from", "adversary_weight", "feature_weight")
        for name in ("fft_sizes", "adversary_fft_sizes"):
            sizes = getattr(self, name)
            powers = bool(sizes) and all(size >= 16 and size & (size - 1) == 0 for size in sizes)
            require(powers, name, f"is {list(sizes)}, expected powers of two from 16")


@dataclass(frozen=True, kw_only=True)
class FlowSettings(StageSettings):
    """Stage 2. prompt_dropout: share of prompts replaced by the empty one, for guidance. times: `flow.draw_times`.

    "logsnr-uniform" often shows almost nothing but noise, where the prompt is all there is to go by; "logit-normal"
    hardly ever does, and a run of few steps then does not learn to follow prompts.

    Until step `short_until` only the first `short_latents` of each clip are shown: most of what there is to learn, for
    half the work.
    """

    prompt_dropout: float = 0.1
    short_until: int = 0
    short_latents: int = 64
    times: Times = "logit-normal"
    logsnr: tuple[float, float] = (-6.0, 6.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within(self, 0, 1, "prompt_dropout")
        _within(self, 0, 1 << 30, "short_until")
        _positive(self, "short_latents")
        _rising(self.logsnr)


@dataclass(frozen=True, kw_only=True)
class ArcSettings(StageSettings):
    """Stage 3. `layers`: how many of the base's blocks the discriminator keeps. `latents`: so many of each clip's are
    shown, from its first on; 0 shows all.
    """

    layers: int
    latents: int = 0
    discriminator_learning_rate: float
    adversary: Adversary = "relativistic"
    contrastive_weight: float = 1.0
    logsnr: tuple[float, float] = (-6.0, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(self, "layers", "discriminator_learning_rate")
        _within(self, 0, 1e6, "contrastive_weight")
        _rising(self.logsnr)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run: everything that its numbers depend on."""

    seed: int
    data: DataSettings
    network: NetworkSettings
    autoencoder: AutoencoderSettings
    flow: FlowSettings
    arc: ArcSettings

    def __post_init__(self) -> None:
        _within(self, 0, 2**31 - 1, "seed")
        for name, value, most, what in (
            ("data.shortest", self.data.shortest, self.network.seconds, "a clip's seconds"),
            ("autoencoder.latents", self.autoencoder.latents, self.network.latents, "a clip's latents"),
            ("arc.layers", self.arc.layers, self.network.depth, "the network's depth"),
        ):
            require(value <= most, name, f"is {value}, expected at most {what}, {most:g}")
        fits = self.arc.latents == 0 or 16 <= self.arc.latents <= self.network.latents
        require(fits, "arc.latents", f"is {self.arc.latents}, expected 0, or 16 to {self.network.latents}")


def load_config(path: Path) -> Config:
    """Read a run's TOML file, as `read_settings` does."""
    return read_settings(Config, path)


def read_settings(kind: type[Settings], path: Path) -> Settings:
    """Read the TOML file at `path` as the dataclass `kind`; what it leaves out has its default.

    Raises:
        UsageError: it is missing, no TOML, or has a setting that is unknown, missing or out of range.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return read_as(kind, document, defaults=True)
    except FileNotFoundError:
        raise UsageError(f"no config at {path}; take one of configs/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except SchemaError as error:
        raise UsageError(f"{path}: {error}") from error


def _positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(0 < value < math.inf, name, f"is {value}, expected more than 0")


def _within(settings: object, low: float, high: float, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(low <= value <= high, name, f"is {value}, expected {low} to {high}")


def _rising(bounds: tuple[float, float]) -> None:
    require(bounds[0] < bounds[1], "logsnr", f"is {list(bounds)}, expected two numbers, the smaller first")
