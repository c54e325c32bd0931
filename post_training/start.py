"""A published checkpoint that a run goes on from: its weights, its tokenizer and its analysis.

It knows nothing of how they were trained: what an optimizer remembered is not in a checkpoint.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from edge_export.builtin import BUILTIN_CHECKPOINT, BUILTIN_NAME
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import CheckpointError
from edge_export.model.layers import SnakeBeta
from post_training.analysis import ANALYSIS_FILE
from post_training.config import NetworkSettings
from post_training.network import Autoencoder, Flow, build_autoencoder, build_flow, model_config

LAYERS = (nn.Conv1d, nn.ConvTranspose1d, SnakeBeta)


@dataclass(frozen=True)
class Start:
    """The checkpoint in `folder`, as trainable modules of `network`.

    Raises, whichever part is asked for first:
        CheckpointError: no checkpoint, a damaged one, one of another size, or one that came without its analysis.
    """

    folder: Path
    network: NetworkSettings

    @cached_property
    def checkpoint(self) -> Checkpoint:
        checkpoint = open_checkpoint(self.folder)
        if checkpoint.config != model_config(self.network):
            its = (self.folder, "the config that it was published with")
            name, known = (BUILTIN_NAME, "configs/small.toml") if self.folder == BUILTIN_CHECKPOINT else its
            raise CheckpointError(f"{name} has another [network] than the config; take that of {known}")
        return checkpoint

    @property
    def spiece(self) -> bytes:
        return self.checkpoint.spiece.read_bytes()

    @property
    def analysis(self) -> bytes:
        path = self.checkpoint.folder / ANALYSIS_FILE
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: what its latents say is not known; begin without --start")
        return path.read_bytes()

    def autoencoder(self) -> Autoencoder:
        made, checkpoint = build_autoencoder(self.network), self.checkpoint
        with torch.no_grad():
            for ours, theirs in ((made.encoder, checkpoint.encoder()), (made.decoder, checkpoint.decoder())):
                for layer, published in zip(_layers(ours), _layers(theirs), strict=True):
                    _fill(layer, published)
        return made

    def flow(self) -> Flow:
        made, checkpoint = build_flow(self.network), self.checkpoint
        made.dit.load_state_dict(checkpoint.dit().state_dict())
        made.conditioner.load_state_dict(checkpoint.conditioner().state_dict())
        return made


def start_at(name: str | None, network: NetworkSettings) -> Start | None:
    """The checkpoint that `name` stands for: "built-in", a folder, or none.

    Raises:
        CheckpointError: no such folder.
    """
    if name is None:
        return None
    if name != BUILTIN_NAME and not Path(name).is_dir():
        raise CheckpointError(f"no folder {name}; --start takes {BUILTIN_NAME}, or a folder that `publish` wrote")
    return Start(BUILTIN_CHECKPOINT if name == BUILTIN_NAME else Path(name), network)


def _layers(coder: nn.Module) -> list[nn.Module]:
    return [module for module in coder.modules() if isinstance(module, LAYERS)]


def _fill(layer: nn.Module, published: nn.Module) -> None:
    """Take the numbers of `published`, whose weight norm is folded; assigning a weight splits it again."""
    for name, _ in published.named_parameters():
        value = getattr(published, name).detach()
        if name == "weight":
            layer.weight = value
        else:
            getattr(layer, name).copy_(value)
