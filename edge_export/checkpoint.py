"""A checkpoint in the published layout, opened strictly: every tensor by name and shape, nothing left over.

    DIR/model_config.json
    DIR/model.safetensors            or model.ckpt (weights only; code in it is never run)
    DIR/t5-base/{config.json, model.safetensors, spiece.model}

It loads one component at a time, so that a build never holds the whole model. It knows names and shapes,
not what the network computes.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from edge_export.errors import CheckpointError
from edge_export.model.autoencoder import Decoder, Encoder
from edge_export.model.conditioner import Conditioner
from edge_export.model.config import CONFIG_FILE, ModelConfig, load_config
from edge_export.model.dit import Dit
from runtime_py.errors import first_line

WEIGHTS_FILES = ("model.safetensors", "model.ckpt")
T5_WEIGHTS_FILE = "model.safetensors"
SPIECE_FILE = "spiece.model"

CONDITIONER = "conditioner.conditioners."
DIT = "model.model."
ENCODER = "pretransform.model.encoder."
DECODER = "pretransform.model.decoder."
T5 = "prompt.t5."  # inside our conditioner; its tensors come from the T5 folder
T5_DECODER = ("decoder.", "lm_head.")  # T5's other half, in the files the world publishes
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
WEIGHT_NORMS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
LISTED = 12

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Tensors(Protocol):
    """A file of tensors: shapes by name without reading them, and one tensor at a time."""

    @property
    def path(self) -> Path: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def get(self, name: str) -> Tensor: ...


class SafetensorsFile:
    """A `.safetensors` file, mapped."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            self._file = safe_open(str(path), framework="pt")
            self.shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in self._file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is truncated or no safetensors file ({error}); fetch it again") from error

    def get(self, name: str) -> Tensor:
        return self._file.get_tensor(name)


class CkptFile:
    """A PyTorch `.ckpt`, read by the restricted loader that builds tensors and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # the loader raises whatever the damage leads to
            raise CheckpointError(
                f"{path} is truncated, or holds more than weights ({first_line(error)}); use the published file"
            ) from error
        tensors = document.get("state_dict", document) if isinstance(document, dict) else None
        if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
            raise CheckpointError(f"{path} holds no state_dict of tensors; use the published file")
        self._tensors: dict[str, Tensor] = {str(name): tensor for name, tensor in tensors.items()}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def get(self, name: str) -> Tensor:
        return self._tensors[name]


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: its config, and components on demand (float32, on the CPU, in eval mode)."""

    folder: Path
    config: ModelConfig
    weights: Tensors
    t5_weights: Tensors

    @property
    def spiece(self) -> Path:
        return self.folder / self.config.conditioner.t5_folder / SPIECE_FILE

    def conditioner(self) -> Conditioner:
        return _load(_conditioner(self.config), self._locate(CONDITIONER))

    def dit(self, only: re.Pattern[str] | None = None) -> Dit:
        """The dit; with `only`, no more of its weights are read than those whose names it finds."""
        return _load(_dit(self.config), self._locate(DIT), only)

    def encoder(self) -> Encoder:
        return _load(_encoder(self.config), self._locate(ENCODER))

    def decoder(self) -> Decoder:
        return _load(_decoder(self.config), self._locate(DECODER))

    def parameters(self) -> dict[str, int]:
        """Parameters by component, as the network has them once weight norm is folded."""
        modules = {
            "conditioner": _conditioner(self.config),
            "dit": _dit(self.config),
            "encoder": _encoder(self.config),
            "decoder": _decoder(self.config),
        }
        return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}

    @cached_property
    def sha256(self) -> str:
        """One hash over config, weights and T5 folder: equal hashes, equal numbers."""
        t5 = self.folder / self.config.conditioner.t5_folder
        files = (
            self.folder / CONFIG_FILE,
            self.weights.path,
            t5 / "config.json",
            self.t5_weights.path,
            self.spiece,
        )
        total = hashlib.sha256()
        for path in files:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def _locate(self, prefix: str) -> "Source":
        return Source(self, prefix)


@dataclass(frozen=True)
class Source:
    """Where one component's tensors lie: a prefix of the weights, and the T5 folder for the text encoder."""

    checkpoint: Checkpoint
    prefix: str

    def find(self, name: str) -> tuple[Tensors, str]:
        """The file and the published name of our tensor `name`."""
        if self.prefix == CONDITIONER and name.startswith(T5):
            return self.checkpoint.t5_weights, name.removeprefix(T5)
        return self.checkpoint.weights, self.prefix + name

    def parts(self, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The published tensors that our tensor `name` is made of, with their shapes."""
        file, published = self.find(name)
        for norms in WEIGHT_NORMS:
            g, v = (published.removesuffix(".weight") + norm for norm in norms)
            if published.endswith(".weight") and v in file.shapes:
                return {g: (shape[0], *[1] * (len(shape) - 1)), v: shape}
        return {published: shape}

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Our tensor `name` in float32, weight norm folded: w = g v / |v|, |v| over all axes but the first."""
        file, _ = self.find(name)
        tensors = [_float32(file, part) for part in self.parts(name, shape)]
        if file is self.checkpoint.t5_weights:
            return tensors[0].half().float()  # the published library keeps T5's weights in half precision
        if len(tensors) == 1:
            return tensors[0]
        g, v = tensors
        folded = v * (g / v.flatten(1).norm(dim=1).view(g.shape))
        if not bool(folded.isfinite().all()):
            raise CheckpointError(f"{file.path}: the weight norm of {name} divides by zero; fetch it again")
        return folded


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open the checkpoint in `folder` and compare every name and shape with the network its config describes.

    Raises:
        CheckpointError: a file is missing, truncated or foreign; tensors are missing, unused or misshapen.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"no checkpoint at {folder}: not a folder; get one with `edge-export fetch` or `edge-export new-checkpoint`"
        )
    config = load_config(folder)
    t5_folder = folder / config.conditioner.t5_folder
    checkpoint = Checkpoint(
        folder=folder,
        config=config,
        weights=_open_weights(folder),
        t5_weights=SafetensorsFile(_existing(t5_folder / T5_WEIGHTS_FILE)),
    )
    _existing(checkpoint.spiece)
    _compare(checkpoint)
    return checkpoint


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; `edge-export fetch` completes a checkpoint")
    try:
        with path.open("rb"):  # the readers of weights take a file that they may not read for a damaged one
            return path
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check its permissions") from error


def _open_weights(folder: Path) -> Tensors:
    for name in WEIGHTS_FILES:
        path = folder / name
        if path.is_file():
            return SafetensorsFile(_existing(path)) if path.suffix == ".safetensors" else CkptFile(_existing(path))
    raise CheckpointError(
        f"{folder} has neither {' nor '.join(WEIGHTS_FILES)}; `edge-export fetch` completes a checkpoint"
    )


def _compare(checkpoint: Checkpoint) -> None:
    """Hold both files against the network: raise one CheckpointError that lists all that differs."""
    config = checkpoint.config
    expected: dict[Path, dict[str, tuple[int, ...]]] = {
        checkpoint.weights.path: {},
        checkpoint.t5_weights.path: {},
    }
    for prefix, module in (
        (CONDITIONER, _conditioner(config)),
        (DIT, _dit(config)),
        (ENCODER, _encoder(config)),
        (DECODER, _decoder(config)),
    ):
        source = Source(checkpoint, prefix)
        for name, tensor in module.state_dict().items():
            file, _ = source.find(name)
            expected[file.path].update(source.parts(name, tuple(tensor.shape)))
    for file in (checkpoint.weights, checkpoint.t5_weights):
        wanted, found = expected[file.path], dict(file.shapes)
        if file is checkpoint.t5_weights:
            found = _encoder_half(found)
        shapes = [
            f"{name} {list(found[name])} (expected {list(wanted[name])})"
            for name in wanted
            if name in found and found[name] != wanted[name]
        ]
        problems = [
            f"{len(names)} {what}: {_list(names)}"
            for what, names in (
                ("missing", [name for name in wanted if name not in found]),
                ("unused", [name for name in found if name not in wanted]),
                ("misshapen", shapes),
            )
            if names
        ]
        if problems:
            raise CheckpointError(
                f"{file.path} does not fit its config; tensors {'; '.join(problems)}; "
                "use the config that was published with these weights"
            )


def _encoder_half(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """T5's tensors without its decoder, and without the second name of the embedding table."""
    tied = "encoder.embed_tokens.weight"
    return {name: shape for name, shape in shapes.items() if not name.startswith(T5_DECODER) and name != tied}


def _list(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - LISTED} more" if len(all_names) > LISTED else ""
    return ", ".join(all_names[:LISTED]) + more


def _float32(file: Tensors, name: str) -> Tensor:
    tensor = file.get(name)
    if tensor.dtype not in FLOATS:
        raise CheckpointError(f"{file.path}: {name} is {tensor.dtype}, expected floats; use the published file")
    tensor = tensor.float()
    if not bool(tensor.isfinite().all()):
        raise CheckpointError(f"{file.path}: {name} holds NaN or infinity; fetch it again")
    return tensor


def _load(module: AnyModule, source: Source, only: re.Pattern[str] | None = None) -> AnyModule:
    """Fill a module made on the meta device with the checkpoint's tensors; what `only` leaves out stays there."""
    wanted = {name: t for name, t in module.state_dict().items() if only is None or only.search(name)}
    state = {name: source.read(name, tuple(t.shape)) for name, t in wanted.items()}
    module.load_state_dict(state, strict=only is None, assign=True)
    module.requires_grad_(False)
    module.eval()
    return module


def _meta(make: Any, *arguments: Any) -> Any:
    with torch.device("meta"):
        return make(*arguments)


def _conditioner(config: ModelConfig) -> Conditioner:
    return _meta(Conditioner, config.conditioner)


def _dit(config: ModelConfig) -> Dit:
    return _meta(Dit, config.dit)


def _encoder(config: ModelConfig) -> Encoder:
    return _meta(Encoder, config.encoder)


def _decoder(config: ModelConfig) -> Decoder:
    return _meta(Decoder, config.decoder, config.latent_scale)
