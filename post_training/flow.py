"""Stage 2: the dit and its text encoder as a rectified flow over latents.

It knows latents and captions, not how they were made.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edge_export.errors import UsageError
from post_training.config import Config, FlowSettings, NetworkSettings
from post_training.data import Examples
from post_training.loop import STATE_FILE, RunFolder, descend, load_weights, make_optimizer, plain, precision, step_seed
from post_training.network import Flow, averaged, build_flow, early_decay, update_average
from post_training.start import Start

if TYPE_CHECKING:
    from accelerate import Accelerator

NAME = "flow"
SETTINGS = ("data", "network", "flow")


def noised(clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """x_t = (1 - t) x_0 + t noise (arXiv 2505.08175; 2209.03003). times [batch], 0 is clean."""
    t = times[:, None, None]
    return (1 - t) * clean + t * noise


def denoised(latent: Tensor, velocity: Tensor, times: Tensor) -> Tensor:
    """x_0 = x_t - t v: what a velocity says the clean latent is."""
    return latent - times[:, None, None] * velocity


def flow_loss(velocity: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """mean of |v - (noise - x_0)|^2 (arXiv 2505.08175; 2209.03003, equation 1)."""
    return (velocity - (noise - clean)).square().mean()


def logit_normal(batch: int, device: torch.device) -> Tensor:
    """sigmoid of a standard normal number: the middle times most (arXiv 2403.03206, section 3.1)."""
    return torch.randn(batch, device=device).sigmoid()


def logsnr_uniform(batch: int, bounds: tuple[float, float], device: torch.device) -> Tensor:
    """sigmoid(-logSNR) for logSNR uniform within `bounds`, logSNR being log((1 - t) / t) as the published sampler
    counts it: half of the logarithm of the ratio of powers (arXiv 2505.08175; runtime_py.sampler).
    """
    low, high = bounds
    return torch.sigmoid(-(low + (high - low) * torch.rand(batch, device=device)))


def draw_times(settings: FlowSettings, batch: int, device: torch.device) -> Tensor:
    """Training times [batch] in 0..1: "logit-normal" (the default, after Stable Audio Open) or "logsnr-uniform"."""
    if settings.times == "logit-normal":
        return logit_normal(batch, device)
    return logsnr_uniform(batch, settings.logsnr, device)


class FlowStage:
    """`flow` is trained, `average` is what is used of it."""

    def __init__(
        self, config: Config, examples: Examples, accelerator: "Accelerator", start: Start | None = None
    ) -> None:
        self.settings: FlowSettings = config.flow
        self._accelerator, self._examples = accelerator, examples
        torch.manual_seed(step_seed(config.seed, NAME, -1, 0))
        flow = build_flow(config.network) if start is None else start.flow()
        self._average = averaged(flow).to(accelerator.device)
        if self.settings.compile:
            flow.dit.transformer.compile()
        # T5 does not divide its logits by sqrt(d_kv); its queries begin that much smaller (network), and learn so.
        queries = flow.text_queries()
        factor = config.network.d_kv**-0.5
        optimizer = make_optimizer([flow], self.settings, self.settings.learning_rate, queries, factor)
        self._flow, self._optimizer = accelerator.prepare(flow, optimizer)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"flow": self._flow, "average": self._average}

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"flow": self._optimizer}

    def step(self, step: int) -> Mapping[str, Tensor]:
        settings = self.settings
        batch = self._examples.draw(settings.batch, settings.prompt_dropout)
        if step < settings.short_until:
            batch = batch._replace(latent=batch.latent[..., : settings.short_latents])
        times = draw_times(settings, settings.batch, batch.latent.device)
        noise = torch.randn_like(batch.latent)
        with precision(settings, noise.device):
            velocity = self._flow(noised(batch.latent, noise, times), times, batch.ids, batch.mask, batch.seconds)
        loss = flow_loss(velocity.float(), batch.latent, noise)
        norm = descend(self._accelerator, loss, self._optimizer, settings.clip_norm, self._flow)
        update_average(self._average, plain(self._flow), early_decay(settings.ema, step))
        return {"loss": loss.detach(), "norm": norm}

    def close(self) -> None:
        pass


def load_flow(folder: RunFolder, network: NetworkSettings) -> Flow:
    """The averaged weights that this stage or ARC saved in `folder`, in eval mode.

    Raises:
        UsageError: there is no state. CheckpointError: it is damaged, or of another size.
    """
    state = folder.load()
    if state is None:
        first = "first, with the same --config and --run: python -m post_training train flow"
        raise UsageError(f"no {folder.path / STATE_FILE}; {first}")
    flow = build_flow(network)
    load_weights(flow, state, "average", folder)
    return flow.requires_grad_(False).eval()
