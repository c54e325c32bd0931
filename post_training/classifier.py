"""An independent judge: which kind of sound a clip is, heard by a small network trained on real procedural clips alone.

It never hears a generated clip while it learns, and does not know what a caption says.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.errors import CheckpointError, GenerationError, UsageError
from edge_export.progress import Progress, silent
from post_training import measures
from post_training.measures import Features, Spectrum
from post_training.workers import deaf_to_interrupts
from runtime_py.files import replace_file

JUDGE_FILE = "judge.safetensors"
PACKAGED = Path(__file__).with_name(JUDGE_FILE)
FORMAT = "edge-export judge 1"
MAX_BYTES = 1 << 20
BANDS = 64
POOLED = 2  # frames of 512 samples become one of 1024
CENTRE_DB, SPREAD_DB = -60.0, 20.0
MEDIANS = "medians"
FEATURES = tuple(field.name for field in fields(Features))
TRAINING_SEEDS, HELD_OUT_SEEDS = 1_000_000_000, 1_500_000_000
"""Where the judge's seeds begin: far from those that anything else is trained on."""


class Attributes(Protocol):
    """What is true of a clip: of the sounds' attributes, those that a judge reads."""

    @property
    def kind(self) -> str: ...
    @property
    def adjectives(self) -> tuple[str, ...]: ...
    @property
    def bpm(self) -> float | None: ...
    @property
    def key(self) -> str | None: ...
    @property
    def note(self) -> str | None: ...


class Clip(Protocol):
    """A sound with its caption: audio float32 [2, samples]."""

    @property
    def audio(self) -> np.ndarray: ...
    @property
    def caption(self) -> str: ...
    @property
    def attributes(self) -> Attributes: ...


class Draw(Protocol):
    """Makes the clip of a seed; a function of a module, so that worker processes can call it."""

    def __call__(self, seed: int, *, seconds: float = ..., held_out: bool = ...) -> Clip: ...


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """How the judge is trained. `clips` to learn from and `held_out` to be tested on; `workers` of 0 draw in here."""

    seed: int = 0
    clips: int = 3000
    held_out: int = 1000
    epochs: int = 12
    batch: int = 64
    width: int = 16
    embedding: int = 64
    learning_rate: float = 4e-3
    seconds: float = 7.43
    workers: int = 2


@dataclass(frozen=True, kw_only=True)
class Example:
    """What the judge is given of a clip: levels float16 [frames, 64] in dB, its features, and what is true of it."""

    levels: np.ndarray
    features: Features
    kind: str


class Classifier(nn.Module):
    """Log-mel levels in dB, float32 [clips, frames, 64], to (logits [clips, kinds], embeddings [clips, dim]).

    Five convolutions, four of them halving time and frequency; mean and maximum over time, bands kept apart, since
    where in frequency a sound lies is part of its kind.
    """

    def __init__(self, kinds: int, width: int, embedding: int) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in zip(widths, widths[1:], (5, 3, 3, 3)):
            layers += _convolution(inputs, outputs, kernel, stride=2)
        self.body = nn.Sequential(*layers, *_convolution(widths[-1], widths[-1], 3, stride=1))
        self.embed = nn.Linear(2 * widths[-1] * (BANDS // 16), embedding)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(embedding, kinds)

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(((levels - CENTRE_DB) / SPREAD_DB)[:, None])
        x = torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1).flatten(1)
        embedding = self.embed(self.drop(x))
        return self.head(F.relu(embedding)), embedding


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What the judge says of clips: kinds by name, and embeddings float32 [clips, dim]."""

    kinds: tuple[str, ...]
    embeddings: np.ndarray


@dataclass(frozen=True)
class Judge:
    """A trained classifier, the features' medians by kind, and how often it was right on held-out clips."""

    network: Classifier
    kinds: tuple[str, ...]
    medians: Mapping[str, Mapping[str, float]]
    accuracy: float

    @torch.inference_mode()
    def listen(self, levels: Sequence[np.ndarray], batch: int = 64) -> Opinion:
        """Judge clips by their levels [frames, 64], all of one length."""
        found, embeddings = [], []
        for start in range(0, len(levels), batch):
            logits, embedding = self.network(torch.from_numpy(np.stack(levels[start : start + batch])).float())
            found += [self.kinds[index] for index in logits.argmax(dim=1).tolist()]
            embeddings.append(embedding.numpy())
        return Opinion(kinds=tuple(found), embeddings=np.concatenate(embeddings))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training found: the file, accuracy on held-out clips, and the kinds most often taken for others."""

    path: Path
    accuracy: float
    confusions: tuple[tuple[str, str, int], ...]


def levels_of(spectrum: Spectrum) -> np.ndarray:
    """What the judge hears: log-mel levels, float16 [frames / 2, 64], two frames averaged."""
    levels = measures.log_mel(spectrum)
    whole = len(levels) - len(levels) % POOLED
    return levels[:whole].reshape(-1, POOLED, BANDS).mean(axis=1).astype(np.float16)


def example_of(clip: Clip, rate: int) -> Example:
    spectrum = measures.spectrum_of(clip.audio, rate)
    features = measures.features(clip.audio, spectrum)
    return Example(levels=levels_of(spectrum), features=features, kind=clip.attributes.kind)


def _draw_example(seed: int, *, draw: Draw, rate: int, seconds: float, held_out: bool) -> Example:
    return example_of(draw(seed, seconds=seconds, held_out=held_out), rate)


def draw_examples(
    draw: Draw, rate: int, seeds: range, *, seconds: float, held_out: bool, workers: int, progress: Progress, what: str
) -> list[Example]:
    """What the judge is given of the clips of `seeds`, drawn in worker processes; in the order of the seeds."""
    task = partial(_draw_example, draw=draw, rate=rate, seconds=seconds, held_out=held_out)
    made = []
    for example in in_workers(task, seeds, workers):
        made.append(example)
        report_tenths(progress, what, len(made), len(seeds))
    return made


def report_tenths(progress: Progress, what: str, done: int, total: int) -> None:
    """Report long work in words that change with every tenth: for those who see no bar, but lines."""
    progress(f"{what}, {10 * (10 * done // total)} %", done, total)


def in_workers(task: "partial", seeds: Sequence[int], workers: int) -> Iterator:
    """`task` of each seed, in order, from worker processes of one thread each; in this process for `workers` of 0.

    Raises:
        GenerationError: a worker died.
    """
    if not workers:
        yield from map(task, seeds)
        return
    # Not forked: this process may already hold threads.
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            with deaf_to_interrupts():
                results = pool.map(task, seeds, chunksize=4)
            yield from results
        except BrokenProcessPool as error:
            raise GenerationError("a process that draws clips died; too little memory? use fewer workers") from error


def train_classifier(
    draw: Draw, rate: int, kinds: Sequence[str], config: ClassifierConfig, path: Path, progress: Progress = silent
) -> Trained:
    """Train a judge on clips that `draw` makes, test it on held-out ones, and write it to `path`.

    The same config gives the same judge on the same machine. The weights are rounded to half precision before the
    test, so that the accuracy is that of the file.

    Raises:
        UsageError: a number in the config is out of range, or a kind is not among the clips.
        OutputError: the file cannot be written; what was there stays.
    """
    _check(config, kinds)
    drawing = partial(draw_examples, draw, rate, seconds=config.seconds, workers=config.workers, progress=progress)
    first = TRAINING_SEEDS + config.seed * config.clips
    examples = drawing(range(first, first + config.clips), held_out=False, what="drawing clips to learn from")
    held_out = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + config.held_out)
    tested = drawing(held_out, held_out=True, what="drawing held-out clips")
    lacking = set(kinds) - {clip.kind for clip in examples}
    if lacking:
        raise UsageError(f"{config.clips} clips hold none of {', '.join(sorted(lacking))}; set more clips")
    names = tuple(kinds)
    network = _trained(examples, names, config, progress)
    network.load_state_dict({name: _rounded(tensor) for name, tensor in network.state_dict().items()})
    judge = Judge(network, names, _medians(examples, names), 0.0)
    found = judge.listen([clip.levels for clip in tested]).kinds
    accuracy = float(np.mean([kind == clip.kind for kind, clip in zip(found, tested)]))
    replace_file(path, _dumped(Judge(network, names, judge.medians, accuracy), config))
    return Trained(path=path, accuracy=accuracy, confusions=_confusions([clip.kind for clip in tested], found))


def _check(config: ClassifierConfig, kinds: Sequence[str]) -> None:
    least = {"clips": 2, "held_out": 1, "epochs": 1, "batch": 2, "width": 1, "embedding": 2, "seed": 0, "workers": 0}
    for name, limit in least.items():
        if getattr(config, name) < limit:
            raise UsageError(f"classifier: {name} is {getattr(config, name)}, expected {limit} or more")
    if len(kinds) < 2 or len(set(kinds)) != len(kinds):
        raise UsageError("classifier: two kinds at least, each once, are needed to tell apart")


def _trained(
    examples: Sequence[Example], kinds: tuple[str, ...], config: ClassifierConfig, progress: Progress
) -> Classifier:
    """AdamW and one cycle of the learning rate, on changed copies of the clips; in eval mode."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = Classifier(len(kinds), config.width, config.embedding).to(device)
        levels = torch.from_numpy(np.stack([clip.levels for clip in examples]))
        labels = torch.tensor([kinds.index(clip.kind) for clip in examples])
        batches = len(examples) // config.batch or 1
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.02)
        steps = batches * config.epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=max(2, steps))
        for step in range(steps):
            if step % batches == 0:
                order = torch.randperm(len(examples), generator=random)
            chosen = order[step % batches * config.batch :][: config.batch]
            logits, _ = network(changed(levels[chosen].float(), random).to(device))
            loss = F.cross_entropy(logits, labels[chosen].to(device), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(f"training the judge, epoch {step // batches + 1} of {config.epochs}", step + 1, steps)
    return network.cpu().eval()


def changed(levels: Tensor, random: torch.Generator) -> Tensor:
    """Copies of levels [clips, frames, 64] as another room or recorder would have them: same kind, other numbers.

    Louder or softer by up to 6 dB, a tilt of up to 4 dB from the lowest band to the highest, a noise floor of up to
    -75 dB, and one stretch of up to a tenth of the frames and one of up to 6 bands silenced (arXiv 1904.08779).
    """
    clips, frames, bands = levels.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(clips, 1, 1, generator=random)

    slope = torch.linspace(-0.5, 0.5, bands)
    moved = levels + uniform(-6, 6) + uniform(-4, 4) * slope
    floor = uniform(-110, -75)
    moved = torch.maximum(moved, floor)
    for size, most, axis in ((frames, frames // 10, 1), (bands, 6, 2)):
        where = torch.arange(size).view((1, -1, 1) if axis == 1 else (1, 1, -1))
        length = uniform(0, most)
        start = torch.rand(clips, 1, 1, generator=random) * (size - length)
        moved = torch.where((where >= start) & (where < start + length), floor.clamp(min=-100), moved)
    return moved.clamp(min=-100)


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.half().to(tensor.dtype) if tensor.is_floating_point() else tensor


def _medians(examples: Sequence[Example], kinds: tuple[str, ...]) -> dict[str, dict[str, float]]:
    by_kind = {kind: [clip.features for clip in examples if clip.kind == kind] for kind in kinds}
    return {
        kind: {name: float(np.median([getattr(clip, name) for clip in clips])) for name in FEATURES}
        for kind, clips in by_kind.items()
    }


def _confusions(true: Sequence[str], found: Sequence[str]) -> tuple[tuple[str, str, int], ...]:
    """(kind, taken for, how often), the most frequent first."""
    pairs = [pair for pair in zip(true, found) if pair[0] != pair[1]]
    counted = {pair: pairs.count(pair) for pair in pairs}
    return tuple((*pair, count) for pair, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _dumped(judge: Judge, config: ClassifierConfig) -> bytes:
    from safetensors.torch import save

    tensors = {name: tensor.half() for name, tensor in _state(judge.network).items()}
    medians = [[judge.medians[kind][name] for name in FEATURES] for kind in judge.kinds]
    header = {
        "format": FORMAT,
        "kinds": judge.kinds,
        "features": FEATURES,
        "accuracy": judge.accuracy,
        "config": asdict(config),
    }
    # Under one name: several are written in an order that changes from run to run.
    return save({**tensors, MEDIANS: torch.tensor(medians, dtype=torch.float32)}, {"judge": json.dumps(header)})


def _state(network: Classifier) -> dict[str, Tensor]:
    """The network's tensors but for the batch norms' counters, which nothing needs once it is trained."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def load_judge(path: Path = PACKAGED) -> Judge:
    """Read a judge.

    Raises:
        CheckpointError: no such file, too large, truncated, or not a judge of this version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"no judge at {path}; train one with `python -m post_training.train_judge`")
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path} is larger than any judge ({MAX_BYTES} bytes); name another file")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error}); train it again") from error
    try:
        return _parsed(metadata, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is no judge of this version ({reason}); train it again") from error


def _parsed(metadata: Mapping[str, str], tensors: dict[str, Tensor]) -> Judge:
    header = json.loads(metadata["judge"])
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    kinds, accuracy = header["kinds"], float(header["accuracy"])
    if tuple(header["features"]) != FEATURES or not all(isinstance(kind, str) for kind in kinds):
        raise ValueError(f"its features are {header['features']}, expected {list(FEATURES)}")
    medians = tensors.pop(MEDIANS)
    if medians.shape != (len(kinds), len(FEATURES)):
        raise ValueError(f"its medians are {list(medians.shape)}, expected {[len(kinds), len(FEATURES)]}")
    if not all(bool(tensor.isfinite().all()) for tensor in (medians, *tensors.values())):
        raise ValueError("it holds NaN or infinity")
    width, embedding = (header["config"][name] for name in ("width", "embedding"))
    if not (isinstance(width, int) and isinstance(embedding, int) and 1 <= width <= 256 and 2 <= embedding <= 4096):
        raise ValueError("its size is out of range")
    network = Classifier(len(kinds), width, embedding)
    wanted = {name: tensor.shape for name, tensor in _state(network).items()}
    if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ValueError("its tensors do not fit its size")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    rows = {kind: dict(zip(FEATURES, row)) for kind, row in zip(kinds, medians.tolist())}
    return Judge(network.eval(), tuple(kinds), rows, accuracy)
