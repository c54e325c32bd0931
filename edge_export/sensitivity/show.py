"""What `edge-export sensitivity` shows: a table for people, a plain record for machines. It prints nothing."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from edge_export.report import table
from edge_export.sensitivity.layer_error import LayerError, by_submodule, predicted_db, worst_first


def sensitivity_table(errors: Iterable[LayerError]) -> Table:
    """For people, worst first."""
    numbers = ("parameters", "SNR dB", "weights dB", "noise")
    made = table("each layer alone in int8", "submodule", "layer", "operator", *numbers, right=numbers)
    for error in worst_first(errors):
        made.add_row(
            error.submodule,
            error.name,
            error.operator,
            f"{error.parameters:,}",
            _shown(error.snr_db),
            _shown(error.weights_snr_db),
            f"{error.share:.1%}",
        )
    return made


def _shown(snr_db: float) -> str:
    return "equal" if snr_db == math.inf else f"{snr_db:.1f}"


def sensitivity_record(errors: Iterable[LayerError]) -> dict[str, Any]:
    """For machines, worst first. JSON has no infinity: such numbers are null, and `equal` says which way."""
    errors = worst_first(errors)
    return {
        "predicted_snr_db": {name: _finite(predicted_db(group)) for name, group in by_submodule(errors).items()},
        "layers": [_record(error) for error in errors],
    }


def _record(error: LayerError) -> dict[str, Any]:
    record = {key: _finite(value) for key, value in asdict(error).items()}
    return {**record, "equal": error.snr_db == math.inf}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
