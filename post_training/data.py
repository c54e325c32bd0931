"""The latents of all clips with their captions, in safetensors shards, and the batches drawn from them.

It knows the analysis only as something that makes latents of audio.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edge_export.errors import UsageError
from edge_export.progress import Progress, silent
from edge_export.staging import output_error
from post_training.analysis import LATENT_CHANNELS, Analysis
from post_training.clips import ABOUT, Clips, write_whole
from post_training.config import HOP
from post_training.text import EMPTY, tokenize

ANALYSED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Latents:
    """means: float16 [clips, 64, length], as the analysis gives them."""

    means: Tensor
    captions: tuple[str, ...]
    seconds: tuple[float, ...]


class Batch(NamedTuple):
    """latent float32 [batch, 64, length]; ids int64, mask float32 [batch, tokens]; seconds."""

    latent: Tensor
    ids: Tensor
    mask: Tensor
    seconds: Tensor


def analyse_clips(
    folder: Path, clips: Clips, analysis: Analysis, device: torch.device, progress: Progress = silent
) -> Latents:
    """Analyse what `folder` does not hold yet, shard by shard, and open it.

    Raises:
        UsageError: `folder` holds latents of another analysis or of other clips.
        OutputError: it cannot be written; the shards that are complete stay.
    """
    analysis = analysis.to(device)
    origin = _fingerprint(analysis)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from error
    for done, indices in enumerate(clips.plan.shards(), start=1):
        path = _shard_path(folder, indices.start)
        if not path.exists():
            means = torch.cat([analyse(analysis, clips, some, device) for some in _groups(indices)])
            about = json.dumps({"analysis": origin, "captions": _captions(clips, indices)})
            write_whole(path, save({"means": means}, {ABOUT: about}))
        progress("latents", min(done * clips.plan.data.shard, len(clips)), len(clips))
    shards = [_read(_shard_path(folder, indices.start), origin, indices, clips) for indices in clips.plan.shards()]
    return Latents(means=torch.cat(shards), captions=clips.captions, seconds=clips.seconds)


def _groups(indices: range) -> Iterator[range]:
    for start in range(indices.start, indices.stop, ANALYSED_AT_ONCE):
        yield range(start, min(start + ANALYSED_AT_ONCE, indices.stop))


def analyse(analysis: Analysis, clips: Clips, indices: range, device: torch.device) -> Tensor:
    audio = torch.from_numpy(np.stack([clips.read(index) for index in indices])).to(device)
    latent: Tensor = analysis(audio)
    return latent.to("cpu", torch.float16)


def _read(path: Path, origin: str, indices: range, clips: Clips) -> Tensor:
    try:
        with safe_open(str(path), framework="pt") as file:
            about, means = json.loads((file.metadata() or {}).get(ABOUT, "{}")), file.get_tensor("means")
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is no file of latents ({error}); remove it, and it is made again") from error
    length = clips.plan.samples // HOP
    if (
        about.get("analysis") != origin
        or about.get("captions") != _captions(clips, indices)
        or means.shape != (len(indices), LATENT_CHANNELS, length)
    ):
        raise UsageError(f"{path} is of another analysis or of other clips; remove {path.parent}")
    return means


def _captions(clips: Clips, indices: range) -> list[str]:
    return list(clips.captions[indices.start : indices.stop])


def _shard_path(folder: Path, start: int) -> Path:
    return folder / f"latents-{start:07d}.safetensors"


def _fingerprint(analysis: Analysis) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(analysis.state_dict().items()):
        total.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


class Examples:
    """All latents and captions on one device, drawn from with torch's global generator."""

    def __init__(self, latents: Latents, spiece: bytes, tokens: int, device: torch.device) -> None:
        ids, mask = tokenize(spiece, [*latents.captions, EMPTY], tokens)
        self._latents = latents.means.to(device)
        self._ids, self._mask = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
        self._seconds = torch.tensor(latents.seconds, dtype=torch.float32, device=device)

    def draw(self, batch: int, prompt_dropout: float = 0.0) -> Batch:
        """`batch` examples, with replacement; a share `prompt_dropout` of them has the empty prompt."""
        device = self._latents.device
        chosen = torch.randint(len(self._latents), (batch,), device=device)
        dropped = torch.rand(batch, device=device) < prompt_dropout
        prompts = torch.where(dropped, len(self._latents), chosen)
        return Batch(
            self._latents[chosen].float(),
            self._ids[prompts],
            self._mask[prompts],
            self._seconds[chosen],
        )
