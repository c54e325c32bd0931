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
from dataclasses import dataclass
from pathlib import Path

from runtime_py import strict_json
from runtime_py.errors import BundleError, UsageError
from runtime_py.generation_spec import GenerationSpec
from runtime_py.request import Request, check_request
from runtime_py.schema import SchemaError, read_as, require

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 5
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 16 << 30
MAX_MEMORY_BYTES = 1 << 44
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SEAL = re.compile(r'"seal": "([0-9a-f]{64})"\s*\}\s*\Z')
NO_SEAL = '"seal": ""'


class ManifestError(BundleError):
    """The manifest breaks the contract; the message carries the path of the offending key."""

    def __init__(self, problem: str, path: str = "") -> None:
        where = f"{MANIFEST_FILE}: {path}: " if path else f"{MANIFEST_FILE}: "
        super().__init__(where + problem)


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
class MemorySpec:
    """What a program needs beside its file, in bytes.

    packed_bytes: its weights as XNNPACK packs them. kept_bytes: the same as a file keeps them from one run to the next,
    equal ones once; 0 where no file must be used, for XNNPACK would take some weights for others, or it is of no use.
    working_bytes: its inputs, outputs and all tensors between them, as they are planned for one run, and what
    convolutions keep to find their input.
    """

    packed_bytes: int
    kept_bytes: int
    working_bytes: int

    def validate(self, path: str) -> None:
        for name in ("packed_bytes", "kept_bytes", "working_bytes"):
            require(0 <= getattr(self, name) <= MAX_MEMORY_BYTES, f"{path}.{name}", "is out of bounds")


@dataclass(frozen=True, kw_only=True)
class ProgramSpec(FileSpec):
    """One compiled program. What goes into it and comes out of it is in `GenerationSpec.programs`."""

    graph: GraphSpec
    memory: MemorySpec


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

    float16: the programs that compute in float16 what is not int8. as_published: the network was cut and exported as
    published, without rewrites.
    """

    name: str
    rules: tuple[RuleSpec, ...]
    thresholds: dict[str, float]
    float16: tuple[str, ...]
    as_published: bool

    def validate(self, path: str) -> None:
        for stage, threshold in self.thresholds.items():
            require(math.isfinite(threshold), f"{path}.thresholds.{stage}", "is not a finite number")


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec(FileSpec):
    """The tokenizer's file and what kind it is."""

    kind: str

    def validate(self, path: str) -> None:
        super().validate(path)
        known = self.kind == "sentencepiece-unigram"
        require(known, f"{path}.kind", f"{self.kind!r} is not known; expected 'sentencepiece-unigram'")


@dataclass(frozen=True, kw_only=True)
class TargetSpec:
    """The device family the bundle was made for and the least its CPU must have."""

    name: str
    cpu_features: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GoldenSpec(FileSpec):
    """The golden vectors and the request that made them on the fp32 reference."""

    request: Request


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a runtime must know about a bundle before it opens another file.

    programs: role -> file, in the order they run. notices: the checkpoint's licence and notice files, for an app to
    show.
    """

    schema_version: int
    model: ModelSpec
    target: TargetSpec
    backend: str
    recipe: RecipeSpec
    generation: GenerationSpec
    programs: dict[str, ProgramSpec]
    tokenizer: TokenizerSpec
    notices: tuple[FileSpec, ...]
    golden: GoldenSpec
    toolchain: dict[str, str]

    @property
    def files(self) -> tuple[FileSpec, ...]:
        return (*self.programs.values(), self.tokenizer, *self.notices, self.golden)

    def validate(self, path: str) -> None:
        del path  # the whole document
        roles, found = list(self.generation.programs), list(self.programs)
        require(sorted(roles) == sorted(found), "programs", f"are {found}, generation.programs has {roles}")
        names = [spec.file for spec in self.files]
        twice = [name for name in names if names.count(name) > 1]
        require(not twice, "programs", f"name the file {twice[:1]} twice")
        golden = self.golden.request
        require(golden.steps is not None, "golden.request.steps", "is not a number")
        try:
            check_request(golden, self.generation)
        except UsageError as error:
            raise SchemaError("golden.request", str(error)) from error


def load_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        BundleError: it is missing, unreadable, not JSON, of another version, or breaks the contract.
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
    if not isinstance(document, dict):
        raise ManifestError("is not a JSON object")
    version = document.get("schema_version")
    if type(version) is not int or version < 1:
        raise ManifestError("is not a version number", "schema_version")
    if version > SCHEMA_VERSION:
        raise ManifestError(
            f"is {version}, this edge-export reads up to {SCHEMA_VERSION}; upgrade edge-export",
            "schema_version",
        )
    if version < SCHEMA_VERSION:
        raise ManifestError(
            f"is {version}, this edge-export reads {SCHEMA_VERSION}: made by an earlier version; build it again, or "
            "fetch a newer one",
            "schema_version",
        )
    seal = document.pop("seal", None)
    try:
        manifest: Manifest = read_as(Manifest, document, "")
    except SchemaError as error:
        raise ManifestError(error.problem, error.path) from error
    if not isinstance(seal, str):
        raise ManifestError("is missing; build the bundle again", "seal")
    found = SEAL.search(text)
    if found is None or sealed(text[: found.start()] + NO_SEAL + text[found.end(1) + 1 :]) != text:
        raise ManifestError("is not that of this file, which was altered; copy or build the bundle again", "seal")
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
