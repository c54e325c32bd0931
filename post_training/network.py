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
from edge_export.model.autoencoder import Decoder, Encoder, ResidualUnit
from edge_export.model.conditioner import Conditioner, T5Attention, T5LayerNorm
from edge_export.model.config import CONFIG_FILE, ModelConfig, OobleckConfig, load_config
from edge_export.model.dit import Dit
from edge_export.model.layers import FourierFeatures, LayerNorm, SnakeBeta
from post_training import channels_last
from post_training.config import NetworkSettings

SMALLEST_STD = 1e-4
# The encoder begins with means about a third and a width about 1, whatever it hears: narrower ones would be held
# against it a thousandfold before it knows anything.
INITIAL_MEAN, INITIAL_WIDTH, INITIAL_SCALE = 0.3, 0.01, 0.5
INITIAL_ADDED = 0.01  # how much of what they else would the residual units at the audio's own rate add
INITIAL_LOUDNESS = 0.1  # of audio that the decoder makes of numbers about 1
STRAIGHT = 3.0  # logarithm of a snake's beta that leaves it almost straight


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
    """Oobleck, weight norm on every convolution; the level next to the audio begins as a filter bank.

    Args of forward:
        latent: float32 [batch, 64, length], to be played.
        audio: float32 [some, 2, samples], to be encoded.
    Returns:
        the audio of `latent` [batch, 2, length * 2048]; mean and std of the latents of `audio`,
        [some, 64, samples / 2048], std = softplus(scale) + 1e-4.
    """

    def __init__(self, encoder: OobleckConfig, decoder: OobleckConfig) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.decoder = Decoder(decoder)
        self._run: Callable[[nn.Module, Tensor], Tensor] = _run_layers
        _draw_autoencoder(self)
        for module in list(self.modules()):
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                parametrizations.weight_norm(module, dim=0)

    def compile_networks(self) -> None:
        """Have encoder and decoder compiled where they are first used."""
        self._run = torch.compile(_run_layers, dynamic=False)

    def encode(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self._run(self.encoder.layers, audio).chunk(2, dim=1)
        return mean, nn.functional.softplus(scale) + SMALLEST_STD

    def decode(self, latent: Tensor) -> Tensor:
        return self._run(self.decoder.layers, latent)

    def forward(self, latent: Tensor, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # bfloat16 would add noise at -50 dB, which the losses hear in every quiet band.
        with torch.autocast(latent.device.type, enabled=False):
            return self.decode(latent), *self.encode(audio)


def _run_layers(layers: nn.Module, x: Tensor) -> Tensor:
    return channels_last.run(layers, x) if x.device.type == "cpu" else layers(x)


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

    def text_queries(self) -> list[Tensor]:
        """Of the text encoder's attentions."""
        return [module.q.weight for module in self.conditioner.modules() if isinstance(module, T5Attention)]


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


@torch.no_grad()
def _draw_autoencoder(autoencoder: Autoencoder) -> None:
    """Noise of unit gain; the strided convolutions next to the audio are a filter bank and its inverse, and what lies
    between them and the audio is as good as not there.
    """
    for module in autoencoder.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            _draw_convolution(module)
    encoder: Any = autoencoder.encoder.layers
    decoder: Any = autoencoder.decoder.layers
    first, last = encoder[1], decoder[-4]
    analysing, playing = _last(first), last.layers[1]
    _draw_filters(analysing.weight, analysing.stride[0])
    _draw_filters(playing.weight, playing.stride[0])
    _draw_even(decoder[-5])
    analysing.weight.mul_(1 / INITIAL_LOUDNESS)
    playing.weight.mul_(INITIAL_LOUDNESS)
    for block in (first, last):
        for unit in block.layers:
            if isinstance(unit, ResidualUnit):
                _last(unit).weight.mul_(INITIAL_ADDED)
    for snake in (*_snakes(first), *_snakes(last.layers[2:]), *_snakes(decoder[-3])):
        snake.beta.fill_(STRAIGHT)
    for through in (encoder[0], decoder[-2]):
        for channel in range(min(through.weight.shape[:2])):
            through.weight[channel] = 0
            through.weight[channel, channel, through.kernel_size[0] // 2] = 1
    means, widths = encoder[-1].weight.chunk(2)
    means.mul_(INITIAL_MEAN)
    widths.mul_(INITIAL_WIDTH)
    encoder[-1].bias.chunk(2)[1].fill_(INITIAL_SCALE)


def _last(block: nn.Module) -> Any:
    """The convolution that a block ends with."""
    layers: Any = block.layers
    return layers[-1]


def _snakes(block: nn.Module) -> list[SnakeBeta]:
    return [module for module in block.modules() if isinstance(module, SnakeBeta)]


def _draw_filters(weight: Tensor, stride: int) -> None:
    """Fill weight [filters, 2.., 2 stride] with bands of an MDCT: one half of the filters left's, the other right's.

    MDCT: cos(pi / N (n + 1/2 + N/2) (k + 1/2)) under a sine window, N = stride: neighbouring frames add up to the
    signal (Princen, Johnson and Bradley, ICASSP 1987). What is left over beyond N bands keeps what was drawn.
    """
    half = len(weight) // 2
    count = min(stride, half)
    n, k = torch.arange(2 * stride), torch.arange(stride)
    window = torch.sin(math.pi / (2 * stride) * (n + 0.5)) * math.sqrt(2 / stride)
    bands = window * torch.cos(math.pi / stride * (n + 0.5 + stride / 2) * (k[:, None] + 0.5))
    for side in range(2):
        filters = weight[side * half :][:count]
        filters[:] = 0
        filters[:, side::2] = bands[_spread(count, stride), None]


def _draw_even(block: nn.Module) -> None:
    """Let the second half of what `block` gives be the first's twin, each unit treating both alike.

    Left and right then begin as one sound. Nothing teaches two that begin apart to agree in phase, nor a sum and a
    difference, and without that no sound comes from one side.
    """
    for module in block.modules():
        if isinstance(module, nn.ConvTranspose1d):
            left, right = _halves(module.weight, 1)
            right[:] = left
        elif isinstance(module, nn.Conv1d):
            (to_left, across), (back, to_right) = (_halves(rows, 1) for rows in _halves(module.weight, 0))
            to_right[:], back[:] = to_left, across


def _halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Both halves of `weight` along `dim`; of an odd number the last is in neither."""
    half = weight.shape[dim] // 2
    return weight.narrow(dim, 0, half), weight.narrow(dim, half, half)


def _spread(count: int, of: int) -> Tensor:
    """`count` different numbers below `of`, rising, the lower ones closer together."""
    place = torch.arange(count) / count
    return (place * count + (of - count) * place.square()).round().long()


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
