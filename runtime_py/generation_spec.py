"""All that a generation must know of a model: lengths, rates, the sampler, and what goes into and out of each program.

A manifest contains one; so does whoever plays a network that was never compiled. It knows neither files nor backends.
"""

import math
from dataclasses import dataclass

import numpy as np

from runtime_py.audio import MOST_CHANNELS, MOST_HZ
from runtime_py.sampler import MAX_STEPS, SAMPLERS
from runtime_py.schema import SchemaError, require

STAGES = {"conditioner": ("conditioner",), "dit": ("dit",), "decoder": ("decoder", "decoder_tail")}
"""The loop's stages in their order, each with the roles of its programs, which are loaded together. There is a
decoder_tail where `GenerationSpec.features` say so."""
ROLES = tuple(role for roles in STAGES.values() for role in roles)
"""What programs are to the loop, in the order they run."""
DTYPES = ("float32", "float16", "int32", "int64")
MAX_ELEMENTS = 1 << 31
SIGMA_ERROR = 1e-6
"""Recorded sigmas and those that a runtime makes from the sampler's parameters agree to this."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a program. `position` is its place in the compiled program's own order."""

    name: str
    position: int
    dtype: str
    shape: tuple[int, ...]

    def validate(self, path: str) -> None:
        require(bool(self.name), f"{path}.name", "is empty")
        require(self.dtype in DTYPES, f"{path}.dtype", f"{self.dtype!r} is none of {', '.join(DTYPES)}")
        require(self.position >= 0, f"{path}.position", "is negative")
        require(all(size >= 1 for size in self.shape), f"{path}.shape", "has a size below 1")
        require(math.prod(self.shape) <= MAX_ELEMENTS, f"{path}.shape", "is too large to be true")


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What goes into a program and comes out of it, in the order of the reference's signature."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def validate(self, path: str) -> None:
        for side in ("inputs", "outputs"):
            specs: tuple[TensorSpec, ...] = getattr(self, side)
            require(bool(specs), f"{path}.{side}", "is empty")
            names = [spec.name for spec in specs]
            require(len(set(names)) == len(names), f"{path}.{side}", "names a tensor twice")
            positions = sorted(spec.position for spec in specs)
            require(positions == list(range(len(specs))), f"{path}.{side}", "positions are not 0, 1, 2, ... each once")


@dataclass(frozen=True, kw_only=True)
class ConditioningSpec:
    """What the conditioner accepts: tokens of prompt, and the range that seconds are clamped to."""

    tokens: int
    seconds_min: float
    seconds_max: float

    def validate(self, path: str) -> None:
        require(1 <= self.tokens <= 4096, f"{path}.tokens", "is out of bounds")
        ordered = math.isfinite(self.seconds_min) and self.seconds_min < self.seconds_max < math.inf
        require(ordered, f"{path}.seconds_max", "must be finite and above seconds_min")


@dataclass(frozen=True, kw_only=True)
class LatentSpec:
    """The latent: `shape` (channels, length), and `hop`, the samples that one latent becomes.

    margin: latents on either side that the sound of one latent depends on. A decoder that takes fewer latents than
    the clip has is run on overlapping windows; at a cut, this many latents of a window's sound are not yet right.
    """

    shape: tuple[int, ...]
    hop: int
    margin: int

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def length(self) -> int:
        return self.shape[1]

    @property
    def samples(self) -> int:
        return self.length * self.hop

    def validate(self, path: str) -> None:
        require(
            len(self.shape) == 2 and min(self.shape) >= 1, f"{path}.shape", "must be (channels, length), both above 0"
        )
        require(math.prod(self.shape) <= MAX_ELEMENTS, f"{path}.shape", "is too large to be true")
        require(1 <= self.hop <= 1 << 20, f"{path}.hop", "is out of bounds")
        require(0 <= self.margin <= 1 << 20, f"{path}.margin", "is out of bounds")


@dataclass(frozen=True, kw_only=True)
class FeaturesSpec:
    """What passes between the two programs of a decoder that is cut: `rate` features of one latent.

    margin: features on either side that the sound of one depends on. The tail is run on overlapping tiles of a window's
    features; at a cut, this many features of a tile's sound are not yet right.
    """

    rate: int
    margin: int

    def validate(self, path: str) -> None:
        require(1 <= self.rate <= 1 << 20, f"{path}.rate", "is out of bounds")
        require(0 <= self.margin <= 1 << 20, f"{path}.margin", "is out of bounds")


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """What the decoder makes: `channels` of float samples at `sample_rate` Hz, full scale -1..1."""

    sample_rate: int
    channels: int

    def validate(self, path: str) -> None:
        require(1 <= self.sample_rate <= MOST_HZ, f"{path}.sample_rate", "is out of bounds")
        require(1 <= self.channels <= MOST_CHANNELS, f"{path}.channels", "is out of bounds")


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """An entry of `runtime_py.sampler.SAMPLERS` with its parameters, and the sigmas of the default steps."""

    kind: str
    parameters: dict[str, float]
    sigmas: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def schedule(self, steps: int | None) -> np.ndarray:
        """The sigmas recorded here, or those of another number of steps by the same parameters; float32 [steps + 1].

        Raises:
            UsageError: steps out of range.
        """
        if steps is None or steps == self.steps:
            return np.array(self.sigmas, np.float32)
        return SAMPLERS[self.kind].sigmas(steps, self.parameters)

    def validate(self, path: str) -> None:
        known = ", ".join(map(repr, SAMPLERS))
        require(self.kind in SAMPLERS, f"{path}.kind", f"{self.kind!r} is not known; expected {known}")
        sampler = SAMPLERS[self.kind]
        problem = sampler.problem(self.parameters)
        require(problem is None, f"{path}.parameters", problem or "")
        require(2 <= len(self.sigmas) <= MAX_STEPS + 1, f"{path}.sigmas", f"needs 2 to {MAX_STEPS + 1} values")
        falling = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:]))
        ends = (self.sigmas[0], self.sigmas[-1])
        require(falling and ends == (1.0, 0.0), f"{path}.sigmas", "must fall from 1 to 0")
        made = sampler.sigmas(self.steps, self.parameters).tolist()
        agree = all(abs(ours - theirs) <= SIGMA_ERROR for ours, theirs in zip(made, self.sigmas))
        wanted = ", ".join(f"{name} {value:g}" for name, value in self.parameters.items())
        require(agree, f"{path}.sigmas", f"are not those of {self.steps} steps with {wanted}")


@dataclass(frozen=True, kw_only=True)
class GenerationSpec:
    """What the loop takes. `programs`: role -> what goes into and comes out of that program.

    features: of a decoder that is two programs, decoder and decoder_tail; None where it is one.
    """

    conditioning: ConditioningSpec
    latent: LatentSpec
    audio: AudioSpec
    sampler: SamplerSpec
    programs: dict[str, Interface]
    features: FeaturesSpec | None = None

    @property
    def seconds_limit(self) -> float:
        """The longest clip in seconds: as long as the latent, and no longer than the conditioner's range."""
        return min(self.latent.samples / self.audio.sample_rate, self.conditioning.seconds_max)

    @property
    def window(self) -> int:
        """Latents that the decoder takes at a time."""
        return self.tensor("decoder", "inputs", "latent").shape[2]

    @property
    def tile(self) -> int:
        """Features that the decoder's tail takes at a time; of a decoder that has one."""
        return self.tensor("decoder_tail", "inputs", "features").shape[2]

    @property
    def tail_hop(self) -> int:
        """Samples that one feature becomes; of a decoder that has a tail."""
        assert self.features is not None
        return self.latent.hop // self.features.rate

    def tensor(self, role: str, side: str, name: str) -> TensorSpec:
        """The input or output of a program; `side` is "inputs" or "outputs". SchemaError where there is none."""
        for spec in getattr(self.programs[role], side):
            if spec.name == name:
                return spec
        raise SchemaError(f"generation.programs.{role}.{side}", f"has no {name!r}")

    def validate(self, path: str) -> None:
        roles = tuple(role for role in ROLES if self.features is not None or role != "decoder_tail")
        for role in roles:
            require(role in self.programs, f"{path}.programs.{role}", "is missing")
        for role in self.programs:
            require(role in roles, f"{path}.programs.{role}", f"is no role; expected {', '.join(roles)}")
        self._validate_conditioner(f"{path}.programs.conditioner")
        self._validate_dit(f"{path}.programs.dit")
        self._validate_decoder(f"{path}.programs.decoder")
        if self.features is not None:
            self._validate_tail(path, self.features)

    def _validate_conditioner(self, path: str) -> None:
        tokens = (1, self.conditioning.tokens)
        expected: Layout = {
            "input_ids": ("int32", tokens),
            "prompt_mask": ("float32", tokens),
            "seconds": ("float32", (1,)),
        }
        self._require("conditioner", path, "inputs", expected)

    def _validate_dit(self, path: str) -> None:
        latent = ("float32", (1, *self.latent.shape))
        conditioning = _layout(self.programs["conditioner"].outputs)
        self._require("dit", path, "inputs", {"latent": latent, "sigma": ("float32", (1,)), **conditioning})
        self._require("dit", path, "outputs", {"velocity": latent})

    def _validate_decoder(self, path: str) -> None:
        shape = self.tensor("decoder", "inputs", "latent").shape
        require(len(shape) == 3, f"{path}.inputs.latent.shape", "is not (1, channels, length)")
        window, (channels, length) = shape[2], self.latent.shape
        fits = window == length or (window < length and window > 2 * self.latent.margin)
        require(fits, f"{path}.inputs.latent.shape", "is neither the whole clip nor wider than its margins")
        self._require("decoder", path, "inputs", {"latent": ("float32", (1, channels, window))})
        if self.features is None:
            self._require("decoder", path, "outputs", self._audio(window * self.latent.hop))

    def _validate_tail(self, path: str, features: FeaturesSpec) -> None:
        """`path` is that of the generation. What the decoder makes is held against what its tail takes."""
        require(self.latent.hop % features.rate == 0, f"{path}.features.rate", "does not divide latent.hop")
        reach = self.latent.margin * features.rate
        require(features.margin <= reach, f"{path}.features.margin", "reaches beyond latent.margin")
        tail = f"{path}.programs.decoder_tail"
        shape = self.tensor("decoder_tail", "inputs", "features").shape
        require(len(shape) == 3, f"{tail}.inputs.features.shape", "is not (1, channels, length)")
        channels, tile, made = shape[1], shape[2], self.window * features.rate
        fits = tile == made or (tile < made and tile > 2 * features.margin)
        require(fits, f"{tail}.inputs.features.shape", "is neither the whole window nor wider than its margins")
        for role, side, length in (("decoder", "outputs", made), ("decoder_tail", "inputs", tile)):
            handed: Layout = {"features": ("float32", (1, channels, length))}
            self._require(role, f"{path}.programs.{role}", side, handed)
        self._require("decoder_tail", tail, "outputs", self._audio(tile * self.tail_hop))

    def _audio(self, samples: int) -> "Layout":
        return {"audio": ("float32", (1, self.audio.channels, samples))}

    def _require(self, role: str, path: str, side: str, expected: "Layout") -> None:
        found = _layout(getattr(self.programs[role], side))
        require(found == expected, f"{path}.{side}", f"are not {_text(expected)}")


Layout = dict[str, tuple[str, tuple[int, ...]]]
"""dtype and shape by name."""


def _layout(specs: tuple[TensorSpec, ...]) -> Layout:
    return {spec.name: (spec.dtype, spec.shape) for spec in specs}


def _text(layout: Layout) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, (dtype, shape) in layout.items())
