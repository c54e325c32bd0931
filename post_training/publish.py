"""The trained network as a checkpoint in the published layout, in half precision.

It knows names and bytes; `edge_export.checkpoint` reads them back strictly.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edge_export.checkpoint import CONDITIONER, DECODER, DIT, ENCODER, SPIECE_FILE, T5, T5_WEIGHTS_FILE
from edge_export.new_checkpoint import T5_FOLDER
from edge_export.staging import staged_folder
from post_training.config import NetworkSettings
from post_training.network import LATENT_CHANNELS, Autoencoder, Flow, write_documents

CARD_FILE = "README.md"
# torch's names of weight norm's two tensors, and the published ones.
NORMED = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
# Frequencies, times which positions or 2 pi are taken: half precision would turn them by a tenth of a radian.
EXACT = ("inv_freq", "timestep_features.weight", "embedder.embedding.0.weights")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What is published. latent_scale: the latents' standard deviation, by which the dit's are divided.

    It is folded into the autoencoder's weights, so that nobody who reads the checkpoint need know of it.
    """

    network: NetworkSettings
    autoencoder: Autoencoder
    flow: Flow
    latent_scale: float
    spiece: bytes


def publish(trained: Trained, folder: Path, card: str) -> int:
    """Write the checkpoint to `folder`, which must not exist, with `card` as its README; returns its bytes.

    Raises:
        OutputError: `folder` exists or cannot be written; nothing is left of it then.
    """
    with staged_folder(folder) as partial:
        write_documents(partial, trained.network)
        save_file(_weights(trained), partial / "model.safetensors", metadata={"format": "pt"})
        t5_folder = partial / T5_FOLDER
        save_file(_text_weights(trained.flow), t5_folder / T5_WEIGHTS_FILE, metadata={"format": "pt"})
        (t5_folder / SPIECE_FILE).write_bytes(trained.spiece)
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@torch.no_grad()
def scaled(autoencoder: Autoencoder, scale: float) -> Autoencoder:
    """A copy whose latents are those of `autoencoder` divided by `scale`: mean / scale, decoder(scale latent).

    The encoder's raw scale is lowered by log(scale): its softplus is an exponential where the std is small, so
    that the std is divided by `scale` to first order.
    """
    made = copy.deepcopy(autoencoder)
    first, last = made.decoder.layers[0], made.encoder.layers[-1]
    assert isinstance(first, nn.Conv1d) and isinstance(last, nn.Conv1d) and last.bias is not None
    _gain(first).mul_(scale)
    _gain(last)[:LATENT_CHANNELS] /= scale
    last.bias[:LATENT_CHANNELS] /= scale
    last.bias[LATENT_CHANNELS:] -= math.log(scale)
    return made


def _gain(convolution: nn.Conv1d) -> Tensor:
    """Weight norm's g, [outputs, 1, 1]."""
    return convolution.parametrizations["weight"].original0  # type: ignore[index, return-value, union-attr]


def _weights(trained: Trained) -> dict[str, Tensor]:
    autoencoder = scaled(trained.autoencoder, trained.latent_scale)
    tensors = {
        f"{prefix}{name}": tensor
        for prefix, module in (
            (ENCODER, autoencoder.encoder),
            (DECODER, autoencoder.decoder),
            (DIT, trained.flow.dit),
            (CONDITIONER, trained.flow.conditioner),
        )
        for name, tensor in module.state_dict().items()
    }
    text = CONDITIONER + T5
    return {_published(name): _half(name, tensor) for name, tensor in tensors.items() if not name.startswith(text)}


def _text_weights(flow: Flow) -> dict[str, Tensor]:
    return {name: _half(name, tensor) for name, tensor in flow.conditioner.prompt.t5.state_dict().items()}


def _published(name: str) -> str:
    for ours, theirs in NORMED.items():
        if name.endswith(ours):
            return name.removesuffix(ours) + theirs
    return name


def _half(name: str, tensor: Tensor) -> Tensor:
    kind = torch.float32 if name.endswith(EXACT) else torch.float16
    return tensor.detach().to("cpu", kind).contiguous()
