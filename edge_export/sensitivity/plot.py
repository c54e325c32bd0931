"""A picture of what each layer alone in int8 does: one panel a submodule, one bar a layer.

It measures nothing. matplotlib is imported when a picture is asked for.
"""

import math
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from edge_export.plots import check_picture
from runtime_py.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from edge_export.sensitivity.layer_error import LayerError

MOST_LAYERS = 40
COLOURS = {"linear": "tab:blue", "conv": "tab:orange", "embedding": "tab:green"}
ROW, FRAME = 0.17, 1.1
"""Inches: of one bar, and of a panel's title and axis."""


def plot_sensitivity(path: Path, errors: "Iterable[LayerError]") -> None:
    """Write a PNG (or what `path`'s ending names): bars of each layer's share of its submodule's noise, worst first.

    At most 40 layers a submodule are drawn, each with its SNR. A file that was there is replaced by a whole
    picture, or left as it was.

    Raises:
        MissingDependency: matplotlib is not installed.
        OutputError: the ending is no picture format, or the file cannot be written.
    """
    check_picture(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from edge_export.sensitivity.layer_error import by_submodule, worst_first

    groups = by_submodule(worst_first(errors))
    heights = [FRAME + ROW * min(len(group), MOST_LAYERS) for group in groups.values()]
    figure = Figure(figsize=(10, sum(heights)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (submodule, group) in zip(panels, groups.items()):
        _panel(axes, submodule, group)
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix("."))
    replace_file(path, picture.getvalue())


def _panel(axes: "Axes", submodule: str, errors: "list[LayerError]") -> None:
    """`errors` of one submodule, worst first."""
    from edge_export.sensitivity.layer_error import predicted_db

    drawn, rows = errors[:MOST_LAYERS], range(min(len(errors), MOST_LAYERS))
    bars = axes.barh(rows, [100 * error.share for error in drawn], color=[COLOURS[error.operator] for error in drawn])
    axes.bar_label(bars, [_shown(error.snr_db) for error in drawn], padding=3, fontsize=6)
    axes.set_yticks(rows, [error.name for error in drawn], fontsize=6)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.margins(x=0.1)
    axes.set_xlabel("percent of the noise when each layer alone is in int8")
    some = f"the worst {len(drawn)} of {len(errors)} layers" if len(drawn) < len(errors) else f"{len(drawn)} layers"
    axes.set_title(f"{submodule}: {some}; all {len(errors)} in int8: {predicted_db(errors):.1f} dB predicted")
    for operator in dict.fromkeys(error.operator for error in drawn):
        axes.barh([0], [0], color=COLOURS[operator], label=operator)
    axes.legend(loc="lower right")


def _shown(snr_db: float) -> str:
    return "no change" if snr_db == math.inf else f"{snr_db:.1f} dB"
