"""The error that each layer makes, and its arithmetic: noise powers add. It measures nothing and knows no network."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

MARGIN_DB = 3.0
"""What a prediction may be off by: noise adds as powers only roughly, and a dit is judged by its worst step."""


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """What one layer does to its submodule when it alone computes in int8.

    name: as recipes' patterns match it, without the `.cut_N` of a weight cut in pieces.
    operator: "linear", "conv" or "embedding". parameters: of weights and bias.
    snr_db: of the submodule's output against float32, the worst where there are several; inf when nothing changes.
    weights_snr_db: of the weights after rounding, against themselves before.
    share: of the summed noise power of the submodule's measured layers, 0..1.
    """

    submodule: str
    name: str
    operator: str
    parameters: int
    snr_db: float
    weights_snr_db: float
    share: float


def worst_first(errors: Iterable[LayerError]) -> list[LayerError]:
    """By submodule, in the order they came in, and within each by falling noise."""
    return [error for group in by_submodule(errors).values() for error in sorted(group, key=lambda e: e.snr_db)]


def by_submodule(errors: Iterable[LayerError]) -> dict[str, list[LayerError]]:
    groups: dict[str, list[LayerError]] = {}
    for error in errors:
        groups.setdefault(error.submodule, []).append(error)
    return groups


def predicted_db(errors: Iterable[LayerError]) -> float:
    """SNR of one submodule with all of these layers in int8: rounding errors do not know of each other, so that
    their noise powers add. Where outputs are several, no output is expected to be worse."""
    return _decibels(math.fsum(map(_noise, errors)))


def suggest(errors: Iterable[LayerError], threshold_db: float) -> tuple[LayerError, ...]:
    """The fewest layers to leave in float so that each submodule is predicted to reach `threshold_db`, worst first."""
    allowed = _power(threshold_db)
    left: list[LayerError] = []
    for group in by_submodule(errors).values():
        quietest_first = sorted(group, key=lambda error: -error.snr_db)
        sums = accumulate(map(_noise, quietest_first))
        kept = sum(total <= allowed for total in sums)
        left += reversed(quietest_first[kept:])
    return tuple(left)


def _noise(error: LayerError) -> float:
    """Noise power over signal power."""
    return _power(error.snr_db)


def _power(snr_db: float) -> float:
    return math.inf if snr_db == -math.inf else 10 ** (-snr_db / 10)


def _decibels(noise: float) -> float:
    return math.inf if noise == 0 else -10 * math.log10(noise)


def with_shares(errors: list[LayerError]) -> list[LayerError]:
    """With each layer's part of all noise; a layer that makes NaN leaves nothing to the others."""
    broken = sum(math.isinf(_noise(error)) for error in errors)
    powers = [float(math.isinf(_noise(error))) if broken else _noise(error) for error in errors]
    total = math.fsum(powers) or 1.0
    return [replace(error, share=power / total) for error, power in zip(errors, powers)]
