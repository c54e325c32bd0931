"""The picture of a comparison: how far each step of the dit is from the truth, in dB. It judges nothing."""

import math
from io import BytesIO

from edge_export.compare.comparison import Comparison, threshold
from edge_export.plots import require_plots

EQUAL_DB = 160
"""Where equal tensors, whose SNR is infinite, are drawn."""
LEAST_DB = -20
TICKS = range(LEAST_DB, EQUAL_DB + 1, 20)


def steps_picture(comparison: Comparison) -> bytes:
    """An SVG of `comparison.steps` and `comparison.drift` over the steps, with the dit's threshold."""
    require_plots()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for values, label, style in (
        (comparison.steps, "the step, on its own input", "o-"),
        (comparison.drift, "what enters the step, against the other trajectory", "s--"),
    ):
        if values:
            axes.plot(range(1, len(values) + 1), [_drawn(value) for value in values], style, label=label)
    needed = threshold(comparison.bundle.manifest, "dit", comparison.against)
    if needed is not None:
        axes.axhline(needed, color="firebrick", linewidth=1, label=f"the recipe needs {needed:g} dB")
    axes.set(xlabel="step", ylabel="SNR in dB", xticks=range(1, len(comparison.steps) + 1))
    drawn = [_drawn(value) for value in (*comparison.steps, *comparison.drift, needed or 0.0)]
    axes.set_ylim(min(0.0, *drawn) - 5, max(drawn) + 10)
    ticks = [tick for tick in TICKS if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]]
    axes.set_yticks(ticks, ["equal" if tick == EQUAL_DB else str(tick) for tick in ticks])
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    picture = BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def _drawn(snr: float) -> float:
    return LEAST_DB if math.isnan(snr) else min(max(snr, LEAST_DB), EQUAL_DB)
