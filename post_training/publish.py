"""The trained network as a checkpoint in the published layout, in half precision.

It knows names and bytes; `edge_export.checkpoint` reads them back strictly.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from edge_export.checkpoint import CONDITIONER, DECODER, DIT, ENCODER, SPIECE_FILE, T5, T5_WEIGHTS_FILE
from edge_export.new_checkpoint import T5_FOLDER
from edge_export.staging import staged_folder
from post_training.analysis import ANALYSIS_FILE
from post_training.config import NetworkSettings
from post_training.network import Autoencoder, Flow, write_documents

CARD_FILE = "README.md"
# torch's names of weight norm's two tensors, and the published ones.
NORMED = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
# Frequencies, times which positions or 2 pi are taken: half precision would turn them by a tenth of a radian.
EXACT = ("inv_freq", "timestep_features.weight", "embedder.embedding.0.weights")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What is published. `analysis`: what the latents say, as its file has it."""

    network: NetworkSettings
    autoencoder: Autoencoder
    flow: Flow
    spiece: bytes
    analysis: bytes


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
        (partial / ANALYSIS_FILE).write_bytes(trained.analysis)
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _weights(trained: Trained) -> dict[str, Tensor]:
    tensors = {
        f"{prefix}{name}": tensor
        for prefix, module in (
            (ENCODER, trained.autoencoder.encoder),
            (DECODER, trained.autoencoder.decoder),
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
