"""The arithmetic of a bench: figures of runs, medians and spreads, and ratios within pairs. It measures nothing."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_export.bench.job import Run, StageRun
from runtime_py.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One figure over several runs."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Every figure of `figures` over all runs of one subject."""

    shown: str
    runs: int
    quantities: dict[str, Quantity]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """B against A: `ratios` are B / A within each pair of runs, so a time of 2 says that B takes twice as long.

    `notes` says in what else the two differ than in speed.
    """

    other: Summary
    ratios: dict[str, Quantity]
    notes: tuple[str, ...]


def steady(stage: StageRun) -> float | None:
    """The median of a stage's runs after the first, with those repeated; None where there are none."""
    warm = (*stage.runs[1:], *stage.repeats)
    return statistics.median(warm) if warm else None


def figures(run: Run) -> dict[str, float]:
    """Every figure of one run by name; what is compared, summarized and shown is this.

    Of each stage `STAGE_load_seconds`, `_first_seconds` (its first run), `_steady_seconds` (a run once warm; of the
    dit: one step, of the decoder: one piece), `_seconds` (loading and all runs of the generation). `real_time_factor`
    is audio per second.
    """
    made: dict[str, float] = {}
    for name, stage in run.stages.items():
        made[f"{name}_load_seconds"] = stage.load
        made[f"{name}_first_seconds"] = stage.runs[0]
        warm = steady(stage)
        if warm is not None:
            made[f"{name}_steady_seconds"] = warm
        made[f"{name}_seconds"] = stage.load + sum(stage.runs)
    return made | {
        "seconds_open": run.seconds_open,
        "seconds_first_audio": run.seconds_first_audio,
        "seconds_total": run.seconds_total,
        "real_time_factor": run.audio_seconds / run.seconds_total,
        "baseline_rss_mb": run.baseline_rss_mb,
        "peak_rss_mb": run.peak_rss_mb,
    }


def quantity(values: Iterable[float]) -> Quantity:
    found = list(values)
    return Quantity(median=statistics.median(found), low=min(found), high=max(found))


def summarize(runs: Sequence[Run], shown: str = "") -> Summary:
    """Median and spread of every figure that all runs have."""
    found = [figures(run) for run in runs]
    names = [name for name in found[0] if all(name in each for each in found)]
    quantities = {name: quantity(each[name] for each in found) for name in names}
    return Summary(shown=shown, runs=len(runs), quantities=quantities)


def paired(a: Sequence[Run], b: Sequence[Run], shown: str = "", notes: tuple[str, ...] = ()) -> Paired:
    """B / A of every figure that both have and that is above 0 in A: median and spread over the pairs."""
    pairs = [(figures(one), figures(other)) for one, other in zip(a, b, strict=True)]
    names = [name for name in pairs[0][0] if all(one.get(name, 0) > 0 and name in other for one, other in pairs)]
    ratios = {name: quantity(other[name] / one[name] for one, other in pairs) for name in names}
    return Paired(other=summarize(b, shown), ratios=ratios, notes=notes)


def differences(a: Manifest, b: Manifest) -> tuple[str, ...]:
    """What else two bundles differ in, for a reader who takes the ratio for the recipe's."""
    notes = []
    if a.model.checkpoint_sha256 != b.model.checkpoint_sha256:
        notes.append("A and B are built from different checkpoints")
    if a.generation.sampler.steps != b.generation.sampler.steps:
        notes.append(f"A plays {a.generation.sampler.steps} steps, B {b.generation.sampler.steps}")
    if a.generation.latent.shape != b.generation.latent.shape:
        notes.append(f"A denoises {a.generation.latent.shape[1]} latents, B {b.generation.latent.shape[1]}")
    return tuple(notes)
