"""Stage 1: latents to audio, by spectra and a discriminator; audio to latents, by what the analysis says of it.

It knows no captions.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edge_export.errors import UsageError
from post_training.analysis import Analysis
from post_training.clips import Clips
from post_training.config import HOP, AutoencoderSettings, Config, NetworkSettings
from post_training.loop import STATE_FILE, RunFolder, descend, load_weights, make_optimizer, plain, step_seed
from post_training.losses import (
    StftDiscriminator,
    StftLoss,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    kl,
)
from post_training.network import (
    Autoencoder,
    averaged,
    build_autoencoder,
    early_decay,
    update_average,
)
from post_training.start import Start

if TYPE_CHECKING:
    from accelerate import Accelerator

NAME = "autoencoder"
SETTINGS = ("data", "network", "autoencoder")
STEPS_AHEAD = 2
COMPARED = 64  # clips, by which loudness is settled


class Ahead:
    """Makes the next steps' batches in threads while this one is worked on."""

    def __init__(self, make: Callable[[int], np.ndarray]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(STEPS_AHEAD)
        self._waiting: dict[int, Future[np.ndarray]] = {}

    def get(self, step: int) -> Tensor:
        wanted = range(step, step + 1 + STEPS_AHEAD)
        self._waiting = {n: self._waiting.get(n) or self._pool.submit(self._make, n) for n in wanted}
        return torch.from_numpy(self._waiting[step].result())

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class AutoencoderStage:
    """`autoencoder` is trained, `average` is what is used of it, `adversary` is the discriminator.

    The decoder hears the analysis's latents with noise on them, as the flow's will be a little off; the encoder learns
    to give just those: their mean, and the noise as its width.
    """

    def __init__(
        self, config: Config, clips: Clips, analysis: Analysis, accelerator: "Accelerator", start: Start | None = None
    ) -> None:
        self.settings: AutoencoderSettings = config.autoencoder
        self._accelerator = accelerator
        self._analysis = analysis.to(accelerator.device)
        torch.manual_seed(step_seed(config.seed, NAME, -1, 0))
        autoencoder = build_autoencoder(config.network) if start is None else start.autoencoder()
        adversary = StftDiscriminator(self.settings.adversary_fft_sizes, self.settings.adversary_channels)
        self._average = averaged(autoencoder).to(accelerator.device)
        self._stft = [StftLoss(size, self.settings.bands).to(accelerator.device) for size in self.settings.fft_sizes]
        if self.settings.compile:
            autoencoder.compile_networks()
            for stft in self._stft:
                stft.compile_terms()
        optimizer = make_optimizer([autoencoder], self.settings, self.settings.learning_rate)
        adversary_optimizer = make_optimizer([adversary], self.settings, self.settings.adversary_learning_rate)
        self._autoencoder, self._adversary, self._optimizer, self._adversary_optimizer = accelerator.prepare(
            autoencoder, adversary, optimizer, adversary_optimizer
        )
        seed = step_seed(config.seed, "crops", 0, accelerator.process_index)
        samples, batch, purest = self.settings.latents * HOP, self.settings.batch, self.settings.purest
        self._crops = Ahead(lambda step: clips.crops(seed, step, batch, samples, purest))

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"autoencoder": self._autoencoder, "average": self._average, "adversary": self._adversary}

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"autoencoder": self._optimizer, "adversary": self._adversary_optimizer}

    def step(self, step: int) -> Mapping[str, Tensor]:
        settings = self.settings
        real = self._crops.get(step).to(self._accelerator.device, non_blocking=True)
        latent = self._analysis(real)
        noised = latent + settings.noise * torch.randn_like(latent)
        made, mean, std = self._autoencoder(noised, real[: settings.encoded])
        stft = self._stft[step % len(self._stft)]
        metrics = {"stft": stft(made, real), "kl": kl(latent[: settings.encoded], settings.noise, mean, std)}
        loss = settings.stft_weight * metrics["stft"] + settings.kl_weight * metrics["kl"]
        if step >= settings.adversary_from:
            metrics["discriminator"] = self._teach_adversary(real, made.detach())
            metrics |= self._ask_adversary(real, made)
            loss = loss + settings.adversary_weight * metrics["adversarial"]
            loss = loss + settings.feature_weight * metrics["features"]
        parts = [plain(self._autoencoder).get_submodule(name) for name in ("decoder", "encoder")]
        metrics["norm"] = descend(self._accelerator, loss, self._optimizer, settings.clip_norm, *parts)
        update_average(self._average, plain(self._autoencoder), early_decay(settings.ema, step))
        return {name: value.detach() for name, value in metrics.items()}

    def _teach_adversary(self, real: Tensor, made: Tensor) -> Tensor:
        real_scores, _ = self._adversary(real)
        made_scores, _ = self._adversary(made)
        loss = hinge_discriminator(real_scores, made_scores)
        descend(self._accelerator, loss, self._adversary_optimizer, self.settings.clip_norm, self._adversary)
        return loss

    def _ask_adversary(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            _, real_features = self._adversary(real)
        self._adversary.requires_grad_(False)
        made_scores, made_features = self._adversary(made)
        self._adversary.requires_grad_(True)
        return {
            "adversarial": hinge_generator(made_scores),
            "features": feature_matching(real_features, made_features),
        }

    def close(self) -> None:
        self._crops.close()


@torch.no_grad()
def as_loud(autoencoder: Autoencoder, analysis: Analysis, clips: Clips) -> Autoencoder:
    """`autoencoder` itself, its decoder's last convolution scaled so that the first clips keep their energy in total.

    Magnitudes whose phase is not known are fitted best a few dB below what they should be.
    """
    real = made = 0.0
    for index in range(min(COMPARED, len(clips))):
        audio = torch.from_numpy(clips.read(index))[None]
        real += float(audio.square().sum())
        made += float(autoencoder.decode(analysis(audio)).square().sum())
    last = [layer for layer in autoencoder.decoder.layers if isinstance(layer, nn.Conv1d)][-1]
    last.weight = last.weight * (real / max(made, 1e-12)) ** 0.5
    return autoencoder


def load_autoencoder(folder: RunFolder, network: NetworkSettings) -> Autoencoder:
    """The averaged weights that stage 1 saved, in eval mode.

    Raises:
        UsageError: there is no state. CheckpointError: it is damaged, or of another size.
    """
    state = folder.load()
    if state is None:
        raise UsageError(
            f"no {folder.path / STATE_FILE}; first, with the same --config and --run: python -m post_training train "
            "autoencoder; or name the --start"
        )
    autoencoder = build_autoencoder(network)
    load_weights(autoencoder, state, "average", folder)
    return autoencoder.requires_grad_(False).eval()
