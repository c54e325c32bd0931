"""Small random networks, and how their outputs and graphs are looked at: what the tests of export share."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edge_export.model.autoencoder import Decoder
from edge_export.model.conditioner import Conditioner
from edge_export.model.config import PROMPT, SECONDS, ConditionerConfig, DitConfig, ModelConfig, OobleckConfig, T5Config
from edge_export.model.dit import Dit
from edge_export.rewrites.cross_keys import ConditionerToKeys, DitFromKeys

NORM_SCALES = ("gamma", "norm.weight")
PRODUCTS = {"matmul", "bmm", "mm", "baddbmm", "einsum", "scaled_dot_product_attention"}
CONV1D = {"conv1d", "conv_transpose1d"}

T5 = T5Config(
    vocab_size=50,
    d_model=48,
    d_kv=16,
    d_ff=96,
    num_layers=2,
    num_heads=3,
    relative_attention_num_buckets=32,
    relative_attention_max_distance=128,
    layer_norm_epsilon=1e-6,
    gated=False,
)
CONDITIONER = ConditionerConfig(
    dim=96,
    t5_name="t5",
    t5_folder="t5",
    t5=T5,
    tokens=24,
    project_out=False,
    seconds_min=0.0,
    seconds_max=256.0,
    order=(PROMPT, SECONDS),
)
DIT = DitConfig(
    io_channels=8,
    embed_dim=192,
    depth=1,
    num_heads=3,
    cond_token_dim=96,
    project_cond_tokens=True,
    global_cond_dim=96,
    qk_norm="ln",
)
DECODER = OobleckConfig(
    audio_channels=2, channels=4, c_mults=(1, 2), strides=(2, 4), latent_dim=8, use_snake=True, final_tanh=False
)
CONFIG = ModelConfig(
    model_type="diffusion_cond",
    diffusion_objective="rf_denoiser",
    sample_rate=44100,
    sample_size=8 * DECODER.hop,
    conditioner=CONDITIONER,
    dit=DIT,
    encoder=dataclasses.replace(DECODER, latent_dim=16),
    decoder=DECODER,
    latent_scale=1.0,
)

NETWORKS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "conditioner": lambda config: ConditionerToKeys(Conditioner(config.conditioner), Dit(config.dit)),
    "dit": lambda config: DitFromKeys(Dit(config.dit)),
    "decoder": lambda config: Decoder(config.decoder, config.latent_scale),
}
"""What each submodule's rewrites are given, with weights that mean nothing yet."""


def config_with(
    *,
    dit: dict[str, object] | None = None,
    decoder: dict[str, object] | None = None,
    t5: dict[str, object] | None = None,
    **changes: object,
) -> ModelConfig:
    """The small network's config with other values in its parts."""
    conditioner = dataclasses.replace(CONDITIONER, t5=dataclasses.replace(T5, **(t5 or {})))
    return dataclasses.replace(
        CONFIG,
        dit=dataclasses.replace(DIT, **(dit or {})),
        decoder=dataclasses.replace(DECODER, **(decoder or {})),
        conditioner=conditioner,
        **changes,
    )


@torch.no_grad()
def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """`module` with every parameter random, and the norms' beta, which is a buffer: nothing is left at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    betas = ((name, buffer) for name, buffer in module.named_buffers() if name.endswith("beta"))
    for name, tensor in (*module.named_parameters(), *betas):
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            tensor.copy_(noise / math.sqrt(tensor.numel() / tensor.shape[0]))
        else:
            tensor.copy_(0.3 * noise + (1.0 if name.endswith(NORM_SCALES) else 0.0))
    return module.requires_grad_(False).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_same(before: Tensor, after: Tensor) -> None:
    """To 110 dB, and nowhere further than 1e-5 of the range."""
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    assert before.std() > 1e-3, "nothing to compare"
    error = (after.double() - before.double()).abs()
    snr_db = 10 * math.log10(before.double().square().sum() / error.square().sum().clamp(min=1e-300))
    assert snr_db >= 110
    assert error.max() <= 1e-5 * (before.max() - before.min())


def graph_of(module: nn.Module, *inputs: Tensor) -> list[tuple[str, int]]:
    """The operators that `module` exports to, each with the number of dimensions of its first output."""
    with torch.no_grad():
        exported = torch.export.export(module.eval(), inputs, strict=False)
    return [
        (node.target._schema.name.split("::")[-1], _dimensions(node.meta["val"]))
        for node in exported.graph.nodes
        if node.op == "call_function" and hasattr(node.target, "_schema")
    ]


def operators(module: nn.Module, *inputs: Tensor) -> set[str]:
    return {name for name, _ in graph_of(module, *inputs)}


def kinds_in(module: nn.Module) -> set[type]:
    return {type(part) for part in module.modules()}


def _dimensions(value: object) -> int:
    first = value[0] if isinstance(value, tuple | list) else value
    return first.ndim if isinstance(first, Tensor) else 0
