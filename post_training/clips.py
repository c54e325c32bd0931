"""Captioned clips, drawn by index and kept as int16 in safetensors shards that appear whole or not at all.

It knows no network, and no sounds but by the function that draws them; workers need no torch.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_export.errors import EdgeExportError, UsageError
from edge_export.progress import Progress, silent
from edge_export.staging import output_error
from post_training.config import FAINTEST, RATE, DataSettings
from post_training.workers import deaf_to_interrupts

FULL_SCALE = 32767
ABOUT = "about"  # what a shard's metadata holds, as JSON
WINDOW = 2048  # of spectra
SEEDS = 1 << 32  # clips of one run's seed


class Drawn(Protocol):
    """What `draw` returns: float32 [2, samples] at 44100 Hz, and its words."""

    @property
    def audio(self) -> np.ndarray: ...

    @property
    def caption(self) -> str: ...


class Draw(Protocol):
    def __call__(self, seed: int, *, seconds: float = ..., held_out: bool = False) -> Drawn: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which clips there are: clip `index` depends on nothing but these and its index."""

    seed: int
    samples: int
    data: DataSettings

    def shards(self) -> Iterator[range]:
        """The indices of each shard's clips."""
        for start in range(0, self.data.clips, self.data.shard):
            yield range(start, min(start + self.data.shard, self.data.clips))

    def seconds(self, index: int) -> float:
        """How long clip `index` sounds, in seconds; the rest of its samples is silence."""
        full = self.samples / RATE
        dice = np.random.default_rng([self.seed, index])
        return float(dice.uniform(self.data.shortest, full)) if dice.random() < self.data.short_share else full

    def clip(self, draw: Draw, index: int) -> tuple[np.ndarray, str, float]:
        """int16 [2, samples], the caption, and the seconds."""
        seconds = self.seconds(index)
        drawn = draw(self.seed * SEEDS + index, seconds=seconds)
        audio = np.zeros((2, self.samples), np.int16)
        sound = np.asarray(drawn.audio)[:, : self.samples]
        audio[:, : sound.shape[1]] = np.round(np.clip(sound, -1, 1) * FULL_SCALE)
        return audio, drawn.caption, seconds


def make_clips(folder: Path, plan: Plan, draw: Draw, progress: Progress = silent) -> "Clips":
    """Draw what `folder` does not hold yet, in worker processes, and open it.

    Raises:
        OutputError: a shard cannot be written; those that are complete stay.
        UsageError: `folder` holds clips of another plan.
    """
    shards = list(plan.shards())
    missing = [indices for indices in shards if not _shard_path(folder, indices.start).exists()]
    make_folder(folder)
    done = len(shards) - len(missing)
    for _ in _each(plan, draw, folder, missing):
        done += 1
        progress("clips", min(done * plan.data.shard, plan.data.clips), plan.data.clips)
    return open_clips(folder, plan)


def open_clips(folder: Path, plan: Plan) -> "Clips":
    """The clips that lie in `folder`.

    Raises:
        UsageError: there are none, some are missing or damaged, or they are of another plan.
    """
    if not folder.is_dir() or not any(folder.glob("clips-*.safetensors")):
        inside = folder / "clips"
        hint = f"did you mean {inside}?" if inside.is_dir() else "leave --clips away to have them made"
        raise UsageError(f"no clips in {folder}; {hint}")
    return Clips(plan, tuple(_open(folder, plan, indices) for indices in plan.shards()))


@dataclass(frozen=True)
class Shard:
    """One file of clips, mapped."""

    path: Path
    captions: tuple[str, ...]
    seconds: tuple[float, ...]

    @cached_property
    def _audio(self) -> Any:
        from safetensors import safe_open

        return safe_open(str(self.path), framework="np").get_slice("audio")

    def read(self, row: int, start: int, samples: int) -> np.ndarray:
        """float32 [2, samples] of clip `row`, from sample `start`."""
        piece = self._audio[row : row + 1, :, start : start + samples]
        return piece[0].astype(np.float32) / FULL_SCALE


@dataclass(frozen=True)
class Clips:
    """All clips of a plan; clip i is the same whichever worker made it."""

    plan: Plan
    shards: tuple[Shard, ...]

    def __len__(self) -> int:
        return self.plan.data.clips

    @cached_property
    def captions(self) -> tuple[str, ...]:
        return tuple(caption for shard in self.shards for caption in shard.captions)

    @cached_property
    def seconds(self) -> tuple[float, ...]:
        return tuple(seconds for shard in self.shards for seconds in shard.seconds)

    def read(self, index: int, start: int = 0, samples: int | None = None) -> np.ndarray:
        """float32 [2, samples] of clip `index`, full scale -1..1."""
        shard, row = divmod(index, self.plan.data.shard)
        return self.shards[shard].read(row, start, self.plan.samples if samples is None else samples)

    def crops(self, seed: int, step: int, batch: int, samples: int, purest: int = 1) -> np.ndarray:
        """float32 [batch, 2, samples]: the crops of `step`, each starting where its clip still sounds.

        Half of them are the purest out of `purest` times as many.
        """
        dice = np.random.default_rng([seed, step])
        pure = batch // 2 if purest > 1 else 0  # else there is nothing to choose from, nor to listen to
        drawn = self._crops(dice, batch - pure + pure * purest, samples)
        order = np.argsort([flatness(crop) for crop in drawn[batch - pure :]])[:pure]
        return np.concatenate([drawn[: batch - pure], drawn[batch - pure :][order]])

    def _crops(self, dice: np.random.Generator, count: int, samples: int) -> np.ndarray:
        indices = dice.integers(len(self), size=count)
        ends = [min(round(self.seconds[index] * RATE), self.plan.samples) for index in indices]
        starts = [int(dice.integers(max(end - samples, 0) + 1)) for end in ends]
        return np.stack([self.read(int(index), start, samples) for index, start in zip(indices, starts)])


def flatness(audio: np.ndarray) -> float:
    """Wiener entropy of audio [2, samples]: 1 of white noise, near 0 of a pure tone.

    The geometric mean of the bins' power through the arithmetic one (ISO/IEC 15938-4, AudioSpectrumFlatness), of the
    middle of both channels; -66 dB of noise are added, so that silence is no tone.
    """
    middle = audio.mean(axis=0)[: len(audio[0]) // WINDOW * WINDOW].reshape(-1, WINDOW)
    power = (np.abs(np.fft.rfft(middle * np.hanning(WINDOW))) ** 2).mean(axis=0) + WINDOW * FAINTEST**2
    return float(np.exp(np.log(power).mean()) / power.mean())


def write_whole(path: Path, data: bytes) -> None:
    """Write `path` by way of a file beside it, synced: after a full disk the old one is still there, unharmed.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise output_error(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from error


def _shard_path(folder: Path, start: int) -> Path:
    return folder / f"clips-{start:07d}.safetensors"


def _each(plan: Plan, draw: Draw, folder: Path, missing: list[range]) -> Iterator[None]:
    """Make every missing shard, yielding after each."""
    if plan.data.workers == 0 or len(missing) <= 1:
        for indices in missing:
            _make_shard(plan, draw, folder, indices)
            yield
        return
    with ProcessPoolExecutor(plan.data.workers, get_context("spawn")) as pool:
        with deaf_to_interrupts():  # they finish the shard they are at
            waiting = {pool.submit(_make_shard, plan, draw, folder, indices) for indices in missing}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_EXCEPTION, timeout=1)
                for future in done:
                    future.result()
                    yield
        except BrokenProcessPool as error:
            raise EdgeExportError("a process that makes clips was killed; lower data.workers") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _make_shard(plan: Plan, draw: Draw, folder: Path, indices: range) -> None:
    from safetensors.numpy import save

    audio, captions, seconds = zip(*(plan.clip(draw, index) for index in indices), strict=True)
    # One entry: several would be written in any order, and the file's bytes would differ from run to run.
    about = json.dumps({"plan": _fingerprint(plan, indices), "captions": captions, "seconds": seconds})
    write_whole(_shard_path(folder, indices.start), save({"audio": np.stack(audio)}, {ABOUT: about}))


def _fingerprint(plan: Plan, indices: range) -> list[float]:
    """What the clips of a shard depend on; not how many other shards there are."""
    return [plan.seed, plan.samples, plan.data.short_share, plan.data.shortest, indices.start, len(indices)]


def _open(folder: Path, plan: Plan, indices: range) -> Shard:
    from safetensors import SafetensorError, safe_open

    path = _shard_path(folder, indices.start)
    try:
        with safe_open(str(path), framework="np") as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
            shape = file.get_slice("audio").get_shape()
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; leave --clips away to have it made") from None
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is no file of clips ({error}); remove it, and it is made again") from error
    if about.get("plan") != _fingerprint(plan, indices) or shape != [len(indices), 2, plan.samples]:
        raise UsageError(f"{path} holds clips of another config; choose another --run, or remove the folder")
    return Shard(path, tuple(about["captions"]), tuple(about["seconds"]))
