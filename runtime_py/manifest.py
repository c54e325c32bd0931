"""The contract between the machine that builds a bundle and the device that plays it.

`manifest.json` read into frozen dataclasses, and back. Strict: an unknown key, a missing one, a wrong
type or a value out of bounds is refused with its path in the document. It knows the shape of the
contract, not the files it names: `runtime_py.bundle` checks those.

The last key is the `seal`: sha256 of the file as it is when the seal's value is empty. It shows what a copy or an
editor changed; whoever means harm can write another.
"""

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime_py import strict_json
from runtime_py.errors import BundleError
from runtime_py.sampler import sigmas

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 3
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 16 << 30
MAX_ELEMENTS = 1 << 31
DTYPES = ("float32", "float16", "int32", "int64")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SEAL = re.compile(r'"seal": "([0-9a-f]{64})"\s*\}\s*\Z')
NO_SEAL = '"seal": ""'
SIGMA_ERROR = 1e-6
"""Recorded sigmas and those that a runtime makes from logSNR agree to this."""


class ManifestError(BundleError):
    """The manifest breaks the contract; the message carries the path of the offending key."""

    def __init__(self, problem: str, path: str = "") -> None:
        where = f"{MANIFEST_FILE}: {path}: " if path else f"{MANIFEST_FILE}: "
        super().__init__(where + problem)


def require(condition: bool, path: str, problem: str) -> None:
    if not condition:
        raise ManifestError(problem, path)


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
class FileSpec:
    """A file of the bundle: its plain name (never a path), size and hash."""

    file: str
    sha256: str
    bytes: int

    def validate(self, path: str) -> None:
        plain = FILE_NAME.fullmatch(self.file) is not None
        require(plain, f"{path}.file", f"{self.file!r} is not a plain file name inside the bundle")
        require(self.file != MANIFEST_FILE, f"{path}.file", "names the manifest itself")
        require(SHA256.fullmatch(self.sha256) is not None, f"{path}.sha256", "is not 64 hex digits")
        require(0 <= self.bytes <= MAX_FILE_BYTES, f"{path}.bytes", "is out of bounds")


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """What became of a program's graph: how many delegates and delegated operators, and what stayed outside."""

    delegates: int
    delegated: int
    undelegated: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class ProgramSpec(FileSpec):
    """One compiled program. Inputs and outputs are listed in the order of the reference's signature."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    graph: GraphSpec

    def validate(self, path: str) -> None:
        super().validate(path)
        for side in ("inputs", "outputs"):
            specs: tuple[TensorSpec, ...] = getattr(self, side)
            require(bool(specs), f"{path}.{side}", "is empty")
            names = [spec.name for spec in specs]
            require(len(set(names)) == len(names), f"{path}.{side}", "names a tensor twice")
            positions = sorted(spec.position for spec in specs)
            require(
                positions == list(range(len(specs))),
                f"{path}.{side}",
                "positions are not 0, 1, 2, ... each once",
            )

    def tensor(self, side: str, name: str) -> TensorSpec:
        """The input or output called `name`; `side` is "inputs" or "outputs"."""
        for spec in getattr(self, side):
            if spec.name == name:
                return spec
        raise ManifestError(f"has no {name!r}", f"programs.{self.name}.{side}")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which network this is. `checkpoint_sha256` ties the bundle to the weights it was made from."""

    name: str
    model_type: str
    diffusion_objective: str
    checkpoint_sha256: str
    parameters: dict[str, int]
    license: str


@dataclass(frozen=True, kw_only=True)
class RuleSpec:
    """One rule of the recipe that was applied, for the record."""

    submodule: str
    operator: str
    pattern: str
    weights: str
    activations: str


@dataclass(frozen=True, kw_only=True)
class RecipeSpec:
    """The recipe by name, its rules, and the thresholds (SNR in dB, by stage) that `verify` holds it to.

    float16: the programs that compute in float16 what is not int8. straight: the network was cut and exported as
    published, without rewrites.
    """

    name: str
    rules: tuple[RuleSpec, ...]
    thresholds: dict[str, float]
    float16: tuple[str, ...]
    straight: bool

    def validate(self, path: str) -> None:
        for stage, threshold in self.thresholds.items():
            require(math.isfinite(threshold), f"{path}.thresholds.{stage}", "is not a finite number")


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """Ping-pong sampling: the sigmas of the default steps, and the logSNR range other step counts use."""

    kind: str
    sigmas: tuple[float, ...]
    logsnr: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def validate(self, path: str) -> None:
        require(self.kind == "pingpong", f"{path}.kind", f"{self.kind!r} is not known; expected 'pingpong'")
        require(2 <= len(self.sigmas) <= 1001, f"{path}.sigmas", "needs 2 to 1001 values")
        falling = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:]))
        require(
            falling and self.sigmas[0] == 1.0 and self.sigmas[-1] == 0.0,
            f"{path}.sigmas",
            "must fall from 1 to 0",
        )
        require(len(self.logsnr) == 2 and self.logsnr[0] < self.logsnr[1], f"{path}.logsnr", "must be (low, high)")
        low, high = self.logsnr
        made = sigmas(self.steps, (low, high)).tolist()
        agree = all(abs(ours - theirs) <= SIGMA_ERROR for ours, theirs in zip(made, self.sigmas))
        require(agree, f"{path}.sigmas", f"are not those of {self.steps} steps from logSNR {low:g} to {high:g}")


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """What the decoder makes: `channels` of float samples at `sample_rate` Hz, full scale -1..1."""

    sample_rate: int
    channels: int

    def validate(self, path: str) -> None:
        require(1 <= self.sample_rate <= 768_000, f"{path}.sample_rate", "is out of bounds")
        require(1 <= self.channels <= 64, f"{path}.channels", "is out of bounds")


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
    def length(self) -> int:
        return self.shape[1]

    @property
    def samples(self) -> int:
        return self.length * self.hop

    def validate(self, path: str) -> None:
        require(
            len(self.shape) == 2 and min(self.shape) >= 1,
            f"{path}.shape",
            "must be (channels, length), both above 0",
        )
        require(math.prod(self.shape) <= MAX_ELEMENTS, f"{path}.shape", "is too large to be true")
        require(1 <= self.hop <= 1 << 20, f"{path}.hop", "is out of bounds")
        require(0 <= self.margin <= 1 << 20, f"{path}.margin", "is out of bounds")


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
class TokenizerSpec(FileSpec):
    """The tokenizer's file and what kind it is."""

    kind: str

    def validate(self, path: str) -> None:
        super().validate(path)
        known = self.kind == "sentencepiece-unigram"
        require(known, f"{path}.kind", f"{self.kind!r} is not known; expected 'sentencepiece-unigram'")


@dataclass(frozen=True, kw_only=True)
class GoldenSpec(FileSpec):
    """The golden vectors and the request that made them on the fp32 reference."""

    prompt: str
    seconds: float
    seed: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class TargetSpec:
    """The device family the bundle was made for and the least its CPU must have."""

    name: str
    cpu_features: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a runtime must know about a bundle before it opens another file."""

    schema_version: int
    model: ModelSpec
    target: TargetSpec
    backend: str
    recipe: RecipeSpec
    conditioning: ConditioningSpec
    latent: LatentSpec
    audio: AudioSpec
    sampler: SamplerSpec
    programs: tuple[ProgramSpec, ...]
    tokenizer: TokenizerSpec
    golden: GoldenSpec
    toolchain: dict[str, str]

    @property
    def seconds_limit(self) -> float:
        """The longest clip in seconds: as long as the latent, and no longer than the conditioner's range."""
        return min(self.latent.samples / self.audio.sample_rate, self.conditioning.seconds_max)

    @property
    def files(self) -> tuple[FileSpec, ...]:
        return (*self.programs, self.tokenizer, self.golden)

    def program(self, name: str) -> ProgramSpec:
        for spec in self.programs:
            if spec.name == name:
                return spec
        raise ManifestError(f"has no program {name!r}", "programs")

    def validate(self, path: str) -> None:
        require(bool(self.programs), "programs", "is empty")
        for what, names in (
            ("program", [spec.name for spec in self.programs]),
            ("file", [spec.file for spec in self.files]),
        ):
            require(len(set(names)) == len(names), "programs", f"names a {what} twice")
        self._validate_window()

    @property
    def window(self) -> int:
        """Latents that the decoder takes at a time."""
        shape = self.program("decoder").tensor("inputs", "latent").shape
        require(len(shape) == 3, "programs.decoder.inputs.latent.shape", "is not (1, channels, length)")
        return shape[2]

    def _validate_window(self) -> None:
        if any(spec.name == "decoder" for spec in self.programs):
            window, (channels, length) = self.window, self.latent.shape
            whole = window == length
            fits = whole or (window < length and window > 2 * self.latent.margin)
            require(
                fits, "programs.decoder.inputs.latent.shape", "is neither the whole clip nor wider than its margins"
            )
            expected = {"inputs": (1, channels, window), "outputs": (1, self.audio.channels, window * self.latent.hop)}
            for side, name in (("inputs", "latent"), ("outputs", "audio")):
                found = self.program("decoder").tensor(side, name).shape
                require(found == expected[side], f"programs.decoder.{side}.{name}.shape", f"is not {expected[side]}")


def load_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        ManifestError: it is missing, unreadable, not JSON, from a later version, or breaks the contract.
    """
    path = folder / MANIFEST_FILE
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ManifestError(f"is larger than {MAX_MANIFEST_BYTES >> 20} MiB; this is no bundle of ours")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST_FILE}; make one with `edge-export build`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read {path}: {error}; check the path and its permissions") from error
    try:
        return parse_manifest(text)
    except ManifestError as error:
        raise BundleError(f"{folder}: {error}") from error


def parse_manifest(text: str) -> Manifest:
    """Read a manifest from its JSON text.

    The version is looked at first, so that a later manifest is called that and not "unknown key".

    Raises:
        ManifestError: not JSON, from another version, or breaks the contract.
    """
    try:
        document = strict_json.parse(text)
    except ValueError as error:
        raise ManifestError(f"is not valid JSON ({error}); rebuild the bundle") from error
    require(isinstance(document, dict), "", "is not a JSON object")
    version = document.get("schema_version")
    require(type(version) is int and version >= 1, "schema_version", "is not a version number")
    if version > SCHEMA_VERSION:
        raise ManifestError(
            f"is {version}, this edge-export reads up to {SCHEMA_VERSION}; upgrade edge-export",
            "schema_version",
        )
    if version < SCHEMA_VERSION:
        raise ManifestError(
            f"is {version}: the bundle was made by an older edge-export than this, which reads {SCHEMA_VERSION}; "
            "build it again",
            "schema_version",
        )
    seal = document.pop("seal", None)
    manifest = read_as(Manifest, document, "")
    assert isinstance(manifest, Manifest)
    require(isinstance(seal, str), "seal", "is missing; build the bundle again")
    found = SEAL.search(text)
    intact = found is not None and sealed(text[: found.start()] + NO_SEAL + text[found.end(1) + 1 :]) == text
    require(intact, "seal", "is not that of this file, which was altered; copy or build the bundle again")
    return manifest


def dump_manifest(manifest: Manifest) -> str:
    """The JSON text of `manifest`: keys in the order of the contract, the seal, two spaces, a final newline."""
    document = {**dataclasses.asdict(manifest), "seal": ""}
    return sealed(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sealed(text: str) -> str:
    """A manifest's JSON text whose seal is empty, with the seal it should have."""
    before, _, after = text.rpartition(NO_SEAL)
    seal = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f'{before}"seal": "{seal}"{after}'


def read_as(kind: Any, value: Any, path: str) -> Any:
    """`value` (parsed JSON) as `kind`: a dataclass, tuple[X, ...], dict[str, X], int, float, bool or str.

    Raises:
        ManifestError: it is none; the message begins with the place in the document, which is at `path`.
    """
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), value, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        require(isinstance(value, list), path, f"expected a list, found {_name(value)}")
        return tuple(read_as(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        require(isinstance(value, dict), path, f"expected an object, found {_name(value)}")
        return {key: read_as(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        require(abs(value) <= 1 << 53, path, "is too large to be true")
        return float(value)
    require(type(value) is kind, path, f"expected {kind.__name__}, found {_name(value)}")
    return value


def _read_dataclass(kind: type, value: Any, path: str) -> Any:
    require(isinstance(value, dict), path, f"expected an object, found {_name(value)}")
    hints = typing.get_type_hints(kind)
    dot = f"{path}." if path else ""
    for key in value:
        require(
            key in hints,
            f"{dot}{key}",
            "is not a key of this schema; was it made by another version?",
        )
    for key in hints:
        require(key in value, f"{dot}{key}", "is missing")
    made = kind(**{key: read_as(hint, value[key], f"{dot}{key}") for key, hint in hints.items()})
    validate = getattr(made, "validate", None)
    if isinstance(validate, types.MethodType):
        validate(path)
    return made


def _name(value: Any) -> str:
    return "null" if value is None else type(value).__name__
