"""The small model of the published family: its config, its modules freshly initialised, and averaged copies.

Modules are edge_export's own, so that what is trained is what is exported. It knows no data.
"""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from edge_export import new_checkpoint
from edge_export.model.autoencoder import Decoder, Encoder
from edge_export.model.conditioner import Conditioner, T5Attention, T5LayerNorm
from edge_export.model.config import CONFIG_FILE, ModelConfig, OobleckConfig, load_config
from edge_export.model.dit import Dit
from edge_export.model.layers import FourierFeatures, LayerNorm
from post_training import channels_last
from post_training.config import NetworkSettings

LATENT_CHANNELS = 64
SMALLEST_STD = 1e-4
# The encoder's raw scale begins here: softplus(-4) = 0.018, so that noise does not drown the first latents.
INITIAL_SCALE = -4.0
# The encoder's means begin about as loud as 1 for audio of about 0.1: quieter ones are lost in their noise, and the
# decoder would first learn to do without them.
INITIAL_GAIN = 24.0
INITIAL_LOUDNESS = 0.15  # on the decoder's last convolution: audio of about 0.1


def model_document(network: NetworkSettings) -> dict[str, Any]:
    """`model_config.json` in the published layout. Seconds run from 0 to the first whole number above the clip's."""
    document: Any = copy.deepcopy(new_checkpoint.model_config(_size(network)))
    document["sample_size"] = network.samples
    pretransform, conditioning = document["model"]["pretransform"], document["model"]["conditioning"]
    for coder, channels, mults in (
        ("encoder", network.encoder_channels, network.encoder_mults),
        ("decoder", network.decoder_channels, network.decoder_mults),
    ):
        pretransform["config"][coder]["config"] |= {
            "channels": channels,
            "c_mults": list(mults),
            "strides": list(network.strides),
        }
    prompt, seconds = (entry["config"] for entry in conditioning["configs"])
    prompt["max_length"] = network.tokens
    seconds["max_val"] = math.ceil(network.seconds)
    return document


def t5_document(network: NetworkSettings) -> dict[str, Any]:
    """`t5-base/config.json` in transformers' layout."""
    return dict(new_checkpoint.t5_config(_size(network)))


def model_config(network: NetworkSettings) -> ModelConfig:
    """The config as edge_export's strict reader understands the documents."""
    with TemporaryDirectory(prefix="edge-export-") as name:
        folder = Path(name)
        write_documents(folder, network)
        return load_config(folder)


def write_documents(folder: Path, network: NetworkSettings) -> None:
    """Write both documents to an existing `folder`."""
    t5_folder = folder / new_checkpoint.T5_FOLDER
    t5_folder.mkdir()
    for path, document in (
        (folder / CONFIG_FILE, model_document(network)),
        (t5_folder / "config.json", t5_document(network)),
    ):
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _size(network: NetworkSettings) -> new_checkpoint.Size:
    return new_checkpoint.Size(
        embed_dim=network.embed_dim,
        depth=network.depth,
        num_heads=network.num_heads,
        channels=network.decoder_channels,
        pieces=network.pieces,
        vocab_size=network.pieces,
        d_model=network.d_model,
        d_kv=network.d_kv,
        d_ff=network.d_ff,
        t5_layers=network.text_layers,
        t5_heads=network.text_heads,
    )


class Autoencoder(nn.Module):
    """Oobleck as a variational autoencoder (arXiv 1312.6114), weight norm on every convolution.

    Args of forward:
        audio: float32 [batch, 2, samples].
        noise: float32 [batch, 64, samples / 2048].
    Returns:
        the reconstruction, shaped as the audio; mean and std of the latents, shaped as the noise:
        latent = mean + std noise, std = softplus(scale) + 1e-4.
    """

    def __init__(self, encoder: OobleckConfig, decoder: OobleckConfig) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.decoder = Decoder(decoder)
        self._run: Callable[[nn.Module, Tensor], Tensor] = channels_last.run
        for module in list(self.modules()):
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                _draw_convolution(module)
        last, out = self.encoder.layers[-1], self.decoder.layers[-2]
        assert isinstance(last, nn.Conv1d) and last.bias is not None and isinstance(out, nn.Conv1d)
        with torch.no_grad():
            last.weight[:LATENT_CHANNELS] *= INITIAL_GAIN
            last.bias[LATENT_CHANNELS:] = INITIAL_SCALE
            out.weight *= INITIAL_LOUDNESS
        for module in list(self.modules()):
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                parametrizations.weight_norm(module, dim=0)

    def compile_networks(self) -> None:
        """Have encoder and decoder compiled where they are first used."""
        self._run = torch.compile(channels_last.run, dynamic=False)

    def encode(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self._run(self.encoder.layers, audio).float().chunk(2, dim=1)
        return mean, nn.functional.softplus(scale) + SMALLEST_STD

    def forward(self, audio: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, std = self.encode(audio)
        return self._run(self.decoder.layers, mean + std * noise).float(), mean, std


class ExactFourierFeatures(FourierFeatures):
    """The published features, computed in float32 also under autocast: in bfloat16 near times look alike."""

    def forward(self, t: Tensor) -> Tensor:
        with torch.autocast(t.device.type, enabled=False):
            return super().forward(t.float())


class Flow(nn.Module):
    """Conditioner and dit in one module, as they are trained.

    Args of forward: latent [batch, 64, length], sigma [batch], ids int64 and mask float32 [batch, tokens],
    seconds [batch]. Returns the velocity, shaped as the latent.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conditioner = Conditioner(config.conditioner)
        self.dit = Dit(config.dit)
        self.dit.timestep_features = ExactFourierFeatures(2 * len(self.dit.timestep_features.weight))
        _draw_conditioner(self.conditioner)
        _draw_dit(self.dit)

    def forward(self, latent: Tensor, sigma: Tensor, ids: Tensor, mask: Tensor, seconds: Tensor) -> Tensor:
        return self.dit(latent, sigma, *self.conditioner(ids, mask, seconds))


def build_autoencoder(network: NetworkSettings) -> Autoencoder:
    """Drawn from torch's global generator."""
    config = model_config(network)
    return Autoencoder(config.encoder, config.decoder)


def build_flow(network: NetworkSettings) -> Flow:
    """Drawn from torch's global generator; every block begins as the identity, the velocity as 0."""
    return Flow(model_config(network))


def averaged(module: nn.Module) -> nn.Module:
    """A copy for the moving average: no gradients, eval mode."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """average = decay average + (1 - decay) weights, for every parameter; buffers are copied."""
    ours, theirs = ([p.detach() for p in which.parameters()] for which in (average, module))
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for buffer, other in zip(average.buffers(), module.buffers(), strict=True):
        buffer.copy_(other)


def early_decay(decay: float, step: int) -> float:
    """The decay to use at `step` (from 0): never a longer memory than there are steps, min(decay, (1+n)/(10+n))."""
    return min(decay, (1 + step) / (10 + step))


def _draw_convolution(module: nn.Conv1d | nn.ConvTranspose1d) -> None:
    """Noise of unit gain, and no bias."""
    fan_in = module.in_channels * module.kernel_size[0] // (1 if isinstance(module, nn.Conv1d) else module.stride[0])
    nn.init.normal_(module.weight, std=0.7 / math.sqrt(fan_in))
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _draw_conditioner(conditioner: Conditioner) -> None:
    """T5's own initialisation (mesh-tensorflow, as transformers has it), at factor 1."""
    for module in conditioner.modules():
        if isinstance(module, T5Attention):
            width, d_kv = module.q.in_features, module.d_kv
            nn.init.normal_(module.q.weight, std=(width * d_kv) ** -0.5)
            for projection in (module.k, module.v):
                nn.init.normal_(projection.weight, std=width**-0.5)
            nn.init.normal_(module.o.weight, std=module.o.in_features**-0.5)
        elif isinstance(module, T5LayerNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=1.0 if module.num_embeddings > 64 else 0.1)
        elif type(module).__name__ in ("T5FeedForward", "T5GatedFeedForward"):
            for linear in module.children():
                assert isinstance(linear, nn.Linear)
                nn.init.normal_(linear.weight, std=linear.in_features**-0.5)


def _draw_dit(dit: Dit) -> None:
    """Small normal weights; what adds to the stream begins at zero (as adaLN-zero does, arXiv 2212.09748)."""
    for name, module in dit.named_modules():
        if isinstance(module, nn.Linear):
            zero = name.endswith((".to_out", ".ff.ff.2")) or name == "transformer.project_out"
            nn.init.normal_(module.weight, std=0.0 if zero else min(module.in_features**-0.5, 0.05))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, LayerNorm):
            nn.init.ones_(module.gamma)
    nn.init.zeros_(dit.preprocess_conv.weight)
    nn.init.zeros_(dit.postprocess_conv.weight)


def parameters(module: nn.Module) -> int:
    """How many numbers a module is trained as."""
    return sum(parameter.numel() for parameter in module.parameters())


__all__ = [
    "LATENT_CHANNELS",
    "Autoencoder",
    "Flow",
    "averaged",
    "build_autoencoder",
    "build_flow",
    "early_decay",
    "model_config",
    "model_document",
    "parameters",
    "t5_document",
    "update_average",
    "write_documents",
]
