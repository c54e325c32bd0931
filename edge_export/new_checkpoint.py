"""A deterministic random checkpoint in the published layout: for tests, for a first run, and for measuring.

Every layer is drawn so that numbers of size one come out of it: nothing is zero, every branch is heard,
and the audio is noise of a sensible loudness. It makes no music.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_export.errors import UsageError
from edge_export.model.config import CONFIG_FILE, ModelConfig, load_config
from edge_export.new_tokenizer import train_tokenizer
from edge_export.progress import Progress, silent
from edge_export.staging import staged_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

T5_FOLDER = "t5-base"
MAX_SEED = 2**63 - 1
SPREAD = 0.05  # of biases, norms and snakes around the value that does nothing
NORMED = "pretransform."  # where convolutions are published with weight norm

# How loud a layer's output is for unit input, where that is not 1: first match wins. Measured, not derived:
# silu and relu make quieter, attention too, for it averages; snakes make louder.
GAINS: tuple[tuple[str, float], ...] = (
    ("*.SelfAttention.q", 0.15),
    ("*.DenseReluDense.wo", 1.4),
    ("*.embedder.embedding.1", 1.4),
    ("*process_conv", 0.5),
    ("*.to_timestep_embed.0", 1.4),
    ("*.to_*_embed.2", 1.7),
    ("*.self_attn.to_out", 3.0),
    ("*.cross_attn.to_out", 3.0),
    ("*.ff.ff.2", 1.5),
    ("*.transformer.project_out", 0.45),
    ("*encoder.layers.0", 8.0),
    ("*coder.layers.?.layers.?.layers.1", 0.9),
    ("*coder.layers.?.layers.?.layers.3", 0.5),
    ("*coder.layers.?.layers.[14]", 0.63),
    # Snakes are nearly linear when it is quiet, as they are when training begins: else rounding errors grow tenfold.
    ("*decoder.layers.0", 0.08),
    ("*decoder.layers.7", 0.7),
)
# Branches of the dit, divided by the root of its depth: a deep stream stays as loud as a shallow one.
BRANCHES = ("*.to_out", "*.ff.ff.2")


@dataclass(frozen=True, kw_only=True)
class Size:
    """What differs between the sizes. strides: of the decoder's upsampling, the first nearest the audio. latents: of
    the longest clip."""

    embed_dim: int
    depth: int
    num_heads: int
    channels: int
    pieces: int
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    t5_layers: int
    t5_heads: int
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)
    latents: int = 256


SIZES: dict[str, Size] = {
    "tiny": Size(
        embed_dim=128,
        depth=2,
        num_heads=2,
        channels=12,
        pieces=500,
        vocab_size=512,
        d_model=64,
        d_kv=32,
        d_ff=128,
        t5_layers=2,
        t5_heads=2,
    ),
    # Stable Audio Open Small, and T5-base's encoder.
    "published": Size(
        embed_dim=1024,
        depth=16,
        num_heads=8,
        channels=128,
        pieces=32000,
        vocab_size=32128,
        d_model=768,
        d_kv=64,
        d_ff=3072,
        t5_layers=12,
        t5_heads=12,
    ),
}


def write_new_checkpoint(folder: Path, size: str, seed: int, progress: Progress = silent) -> None:
    """Write a random checkpoint to `folder`: the same bytes for the same `size` and `seed`.

    Raises:
        UsageError: no such size, or a seed outside 0..2^63-1.
        OutputError: `folder` exists or cannot be written; nothing is left of it then.
    """
    if size not in SIZES:
        raise UsageError(f"unknown size {size!r}; choose one of {', '.join(SIZES)}")
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"seed {seed} is out of range; choose 0 to {MAX_SEED}")
    with staged_folder(folder) as partial:
        _write(partial, SIZES[size], seed, progress)


def _write(folder: Path, size: Size, seed: int, progress: Progress) -> None:
    t5_folder = folder / T5_FOLDER
    t5_folder.mkdir()
    _write_json(folder / CONFIG_FILE, model_config(size))
    _write_json(t5_folder / "config.json", t5_config(size))
    progress("writing the tokenizer", 0, 1)
    (t5_folder / "spiece.model").write_bytes(train_tokenizer(size.pieces))
    progress("writing the tokenizer", 1, 1)
    _write_weights(folder, load_config(folder), seed, progress)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def model_config(size: Size) -> Mapping[str, Any]:
    """The document `model_config.json`, as published but for the sizes."""
    hop = math.prod(size.strides)
    autoencoder = {
        "channels": size.channels,
        "c_mults": [2**index for index in range(len(size.strides))],
        "strides": list(size.strides),
        "use_snake": True,
    }
    prompt = {"t5_model_name": T5_FOLDER, "max_length": 64}
    return {
        "model_type": "diffusion_cond",
        "sample_size": size.latents * hop,
        "sample_rate": 44100,
        "audio_channels": 2,
        "model": {
            "pretransform": {
                "type": "autoencoder",
                "iterate_batch": True,
                "config": {
                    "encoder": {
                        "type": "oobleck",
                        "config": {"in_channels": 2, "latent_dim": 128, **autoencoder},
                    },
                    "decoder": {
                        "type": "oobleck",
                        "config": {"out_channels": 2, "latent_dim": 64, "final_tanh": False, **autoencoder},
                    },
                    "bottleneck": {"type": "vae"},
                    "latent_dim": 64,
                    "downsampling_ratio": hop,
                    "io_channels": 2,
                },
            },
            "conditioning": {
                "configs": [
                    {"id": "prompt", "type": "t5", "config": prompt},
                    {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": 256}},
                ],
                "cond_dim": size.d_model,
            },
            "diffusion": {
                "cross_attention_cond_ids": ["prompt", "seconds_total"],
                "global_cond_ids": ["seconds_total"],
                "type": "dit",
                "diffusion_objective": "rf_denoiser",
                "config": {
                    "io_channels": 64,
                    "embed_dim": size.embed_dim,
                    "depth": size.depth,
                    "num_heads": size.num_heads,
                    "cond_token_dim": size.d_model,
                    "global_cond_dim": size.d_model,
                    "transformer_type": "continuous_transformer",
                    "attn_kwargs": {"qk_norm": "ln"},
                },
            },
            "io_channels": 64,
        },
    }


def t5_config(size: Size) -> Mapping[str, Any]:
    """The document `t5-base/config.json`, in transformers' layout."""
    return {
        "architectures": ["T5EncoderModel"],
        "d_ff": size.d_ff,
        "d_kv": size.d_kv,
        "d_model": size.d_model,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "relu",
        "is_encoder_decoder": False,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "num_heads": size.t5_heads,
        "num_layers": size.t5_layers,
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": True,
        "use_cache": False,
        "vocab_size": size.vocab_size,
    }


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One tensor to be: normal numbers of this mean and standard deviation, or `values` as they are."""

    file: Path
    name: str
    shape: tuple[int, ...]
    mean: float = 0.0
    std: float = 0.0
    values: "Tensor | None" = None

    def tensor(self, seed: int) -> "Tensor":
        """Drawn from `seed` and the tensor's own name, so that no tensor depends on another."""
        import torch

        if self.values is not None:
            return self.values
        digest = hashlib.sha256(f"{seed} {self.file.as_posix()} {self.name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
        return torch.empty(self.shape).normal_(self.mean, self.std, generator=generator)


def _write_weights(folder: Path, config: ModelConfig, seed: int, progress: Progress) -> None:
    """Draw and write one file after the other, so that only one is ever held in memory."""
    from safetensors.torch import save_file

    draws = list(all_draws(config))
    total = sum(math.prod(draw.shape) for draw in draws)
    done = 0
    for file in dict.fromkeys(draw.file for draw in draws):
        tensors: dict[str, Tensor] = {}
        for draw in draws:
            if draw.file == file:
                tensors[draw.name] = draw.tensor(seed)
                done += math.prod(draw.shape)
                progress("drawing the weights", done, total)
        save_file(tensors, folder / file, metadata={"format": "pt"})  # transformers asks for it


def all_draws(config: ModelConfig) -> Iterator[Draw]:
    """Every tensor of the checkpoint, under its published name and in its file."""
    import torch

    from edge_export.checkpoint import CONDITIONER, DECODER, DIT, ENCODER, T5, T5_WEIGHTS_FILE, WEIGHTS_FILES
    from edge_export.model.autoencoder import Decoder, Encoder
    from edge_export.model.conditioner import Conditioner
    from edge_export.model.dit import Dit

    weights, t5_weights = Path(WEIGHTS_FILES[0]), Path(config.conditioner.t5_folder, T5_WEIGHTS_FILE)
    with torch.device("meta"):
        conditioner = Conditioner(config.conditioner)
        dit = Dit(config.dit)
        encoder, decoder = Encoder(config.encoder), Decoder(config.decoder)
    for prefix, component in ((CONDITIONER, conditioner), (DIT, dit), (ENCODER, encoder), (DECODER, decoder)):
        for name, module in component.named_modules():
            file, published = weights, prefix + name
            if component is conditioner and name.startswith(T5):
                file, published = t5_weights, name.removeprefix(T5)
            yield from _draws(module, file, published, config.dit.depth)


def _draws(module: "nn.Module", file: Path, name: str, depth: int) -> Iterator[Draw]:
    """The tensors that `module` itself owns, by its kind."""
    from torch import nn

    from edge_export.model import layers
    from edge_export.model.conditioner import T5LayerNorm

    def draw(part: str, shape: tuple[int, ...], mean: float = 0.0, std: float = SPREAD) -> Draw:
        return Draw(file=file, name=f"{name}.{part}", shape=shape, mean=mean, std=std)

    shapes = {part: tuple(tensor.shape) for part, tensor in module.named_parameters(recurse=False)}
    match module:
        case nn.Conv1d() | nn.ConvTranspose1d() if name.startswith(NORMED):
            # Weight norm: w = g v / |v| over all axes but the first; |v| is what it is expected to be.
            shape, std = shapes.pop("weight"), _std(module, name, depth)
            length = std * math.sqrt(math.prod(shape[1:]))
            yield draw("weight_g", (shape[0], 1, 1), length, SPREAD * length)
            yield draw("weight_v", shape, std=std)
        case nn.Linear() | nn.Conv1d():
            yield draw("weight", shapes.pop("weight"), std=_std(module, name, depth))
        case nn.Embedding() | layers.FourierFeatures():
            yield draw("weight", shapes.pop("weight"), std=1.0)
        case layers.NumberEmbedding():
            yield draw("weights", shapes.pop("weights"), std=1.0)
        case layers.LayerNorm():
            yield draw("gamma", shapes.pop("gamma"), 1.0)
            yield draw("beta", tuple(module.beta.shape))
        case nn.LayerNorm() | T5LayerNorm():
            yield draw("weight", shapes.pop("weight"), 1.0)
        case layers.RotaryEmbedding():
            angles = layers.RotaryEmbedding(2 * len(module.inv_freq)).inv_freq
            yield Draw(file=file, name=f"{name}.inv_freq", shape=tuple(angles.shape), values=angles)
    for part, shape in shapes.items():  # biases, and the snakes' alpha and beta, which are logarithms
        yield draw(part, shape)


def _std(module: "nn.Module", name: str, depth: int) -> float:
    """Standard deviation of weights that turn unit noise into noise of the layer's gain."""
    from torch import nn

    assert isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d)
    fan_in = math.prod(module.weight.shape[1:])
    if isinstance(module, nn.ConvTranspose1d):  # width 2 x stride: every output sample sees two taps
        fan_in = 2 * module.in_channels
    gain = next((gain for pattern, gain in GAINS if fnmatchcase(name, pattern)), 1.0)
    if any(fnmatchcase(name, pattern) for pattern in BRANCHES):
        gain /= math.sqrt(depth)
    return gain / math.sqrt(fan_in)
