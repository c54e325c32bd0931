"""A checkpoint in the published layout, opened strictly: every tensor by name and shape, nothing left over.

    DIR/model_config.json
    DIR/model.safetensors            or another of WEIGHTS_FILES
    DIR/t5-base/{config.json, model.safetensors, spiece.model}

It loads one component at a time, so that a build never holds the whole model. It knows names and shapes,
not what the network computes.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from edge_export.errors import CheckpointError
from edge_export.model.autoencoder import Decoder, Encoder
from edge_export.model.conditioner import Conditioner
from edge_export.model.config import CONFIG_FILE, SPIECE_FILE, ModelConfig, load_config
from edge_export.model.dit import Dit
from edge_export.tokenizer_export import read_spiece
from edge_export.weights_file import MAX_NAME, Tensors, Unwrapped, existing, listed, lora_files, open_first, unwrap
from runtime_py.tokenizer import Tokenizer

WEIGHTS_FILES = ("model.safetensors", "model.safetensors.index.json", "model.ckpt")
T5_WEIGHTS_FILE = "model.safetensors"
T5_WEIGHTS_FILES = (
    T5_WEIGHTS_FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

CONDITIONER = "conditioner.conditioners."
DIT = "model.model."
ENCODER = "pretransform.model.encoder."
DECODER = "pretransform.model.decoder."
T5 = "prompt.t5."  # inside our conditioner; its tensors come from the T5 folder
T5_DECODER = ("decoder.", "lm_head.")  # T5's other half, in the files the world publishes
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WEIGHT_NORMS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)

AnyModule = TypeVar("AnyModule", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: its config, and components on demand (float32, on the CPU, in eval mode).

    `notes` say, a line each, what was read in another way than its names promise, and what was left alone.
    """

    folder: Path
    config: ModelConfig
    weights: Tensors
    t5_weights: Tensors

    @property
    def t5_folder(self) -> Path:
        return self.folder / self.config.conditioner.t5_folder

    @property
    def spiece(self) -> Path:
        return self.t5_folder / SPIECE_FILE

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return read_spiece(self.spiece)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        return tuple(_notes(self))

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
        total = hashlib.sha256()
        for path in self._files():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def _files(self) -> tuple[Path, ...]:
        config, t5_config = self.folder / CONFIG_FILE, self.t5_folder / "config.json"
        return (config, *self.weights.files, t5_config, *self.t5_weights.files, self.spiece)

    def _locate(self, prefix: str) -> "Source":
        """With files opened anew: what of them was read goes with the component, not with the checkpoint."""
        return Source(replace(self, weights=_again(self.weights), t5_weights=_again(self.t5_weights)), prefix)


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
            return _half(file, name, tensors[0])
        if len(tensors) == 1:
            return tensors[0]
        g, v = tensors
        folded = v * (g / v.flatten(1).norm(dim=1).view(g.shape))
        if not _is_finite(folded):
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
        weights=unwrap(open_first(folder, WEIGHTS_FILES)),
        t5_weights=open_first(t5_folder, T5_WEIGHTS_FILES),
    )
    existing(checkpoint.spiece)
    _compare(checkpoint)
    _check_pieces(checkpoint)
    return checkpoint


def _check_pieces(checkpoint: Checkpoint) -> None:
    """Every piece needs its row; rows without a piece are usual, where a table was rounded up."""
    pieces, rows = len(checkpoint.tokenizer.pieces), checkpoint.config.conditioner.t5.vocab_size
    if pieces > rows:
        raise CheckpointError(
            f"{checkpoint.spiece} has {pieces} pieces, and the text encoder's table only {rows} rows; "
            f"use the {SPIECE_FILE} that was published with these weights"
        )


def _notes(checkpoint: Checkpoint) -> Iterator[str]:
    folder, wanted = checkpoint.folder, checkpoint.config.conditioner.t5_name
    if checkpoint.t5_folder.name != wanted:
        yield f"the text encoder is read from {checkpoint.t5_folder}; the config asks for {wanted}"
    taken = checkpoint.weights.path.name
    others = [name for name in WEIGHTS_FILES if name != taken and (folder / name).is_file()]
    if others:
        yield f"{folder} has {taken} and {' and '.join(others)}: {taken} is read"
    if isinstance(checkpoint.weights, Unwrapped):
        yield checkpoint.weights.note
    loras = lora_files(folder, (*checkpoint.weights.files, *checkpoint.t5_weights.files))
    if loras:
        yield f"LoRA files are not applied ({listed(loras)} in {folder}); merge them into the weights first"


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
            f"{len(names)} {what}: {listed(names, most)}"
            for what, names, most in (
                ("missing", [name for name in wanted if name not in found], MAX_NAME),
                ("unused", [name for name in found if name not in wanted], MAX_NAME),
                ("misshapen", shapes, 2 * MAX_NAME),
            )
            if names
        ]
        if problems:
            lora = any("lora_" in name for name in found if name not in wanted)
            advice = "merge its LoRA into" if lora else "use the config that was published with"
            raise CheckpointError(
                f"{file.path} does not fit its config; tensors {'; '.join(problems)}; {advice} these weights"
            )


def _encoder_half(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """T5's tensors without its decoder, and without the second name of the embedding table."""
    tied = "encoder.embed_tokens.weight"
    return {name: shape for name, shape in shapes.items() if not name.startswith(T5_DECODER) and name != tied}


def _again(tensors: Tensors) -> Tensors:
    opened = tensors.again()
    if opened.shapes != tensors.shapes:
        raise CheckpointError(f"{tensors.path} was changed while it was in use; start again")
    return opened


def _float32(file: Tensors, name: str) -> Tensor:
    tensor = file.get(name)
    if tensor.dtype not in FLOATS:
        raise CheckpointError(
            f"{file.path}: {name} is {tensor.dtype}, expected floats of 16 to 64 bits; use the published file"
        )
    if not _is_finite(tensor):
        raise CheckpointError(f"{file.path}: {name} holds NaN or infinity; fetch it again")
    return tensor if tensor.dtype == torch.float32 else _finite(file, name, tensor.float())


def _half(file: Tensors, name: str, tensor: Tensor) -> Tensor:
    """As the published library keeps T5's weights: in half precision."""
    return _finite(file, name, tensor.half()).float()


def _is_finite(tensor: Tensor) -> bool:
    """By its least and its greatest value, for a NaN is both: in one pass, and without a mask as long."""
    return tensor.numel() == 0 or all(bool(value.isfinite()) for value in tensor.aminmax())


def _finite(file: Tensors, name: str, narrowed: Tensor) -> Tensor:
    if not _is_finite(narrowed):
        raise CheckpointError(f"{file.path}: {name} goes beyond what {narrowed.dtype} holds; use the published file")
    return narrowed


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
