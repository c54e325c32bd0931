"""Pictures of sound: waveform above spectrogram. matplotlib is imported when a picture is asked for."""

import warnings
from io import BytesIO
from pathlib import Path
from textwrap import shorten

import numpy as np

from edge_export.errors import MissingDependency, OutputError
from runtime_py.files import replace_file
from runtime_py.text import printable

LOWEST_HZ = 30


def require_plots() -> None:
    """MissingDependency when matplotlib is not installed."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingDependency("pictures need matplotlib: pip install 'edge-export[plot]'")


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be drawn: asked before the work for it is done, not after.

    Raises:
        MissingDependency: matplotlib is not installed.
        OutputError: the ending of `path` is no picture format.
    """
    require_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    formats = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in formats:
        known = ", ".join(f".{name}" for name in sorted(formats))
        raise OutputError(f"cannot write the picture {path}: its ending is none of {known}; choose another --plot")


def plot_audio(path: Path, audio: np.ndarray, sample_rate: int, title: str) -> None:
    """Write a PNG (or what `path`'s ending names) of audio [channels, samples]: waveform and log spectrogram.

    A file that was there is replaced by a whole picture, or left as it was.

    Raises:
        OutputError: the ending is no picture format, or the file cannot be written.
    """
    check_picture(path)
    replace_file(path, audio_picture(audio, sample_rate, title, path.suffix.removeprefix(".")))


def audio_picture(
    audio: np.ndarray,
    sample_rate: int,
    title: str,
    format: str,
    *,
    size: tuple[float, float] = (10, 5.5),
    dpi: int = 120,
) -> bytes:
    """The bytes of that picture in a `format` that matplotlib knows; `size` in inches."""
    require_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    seconds = np.arange(audio.shape[1]) / sample_rate
    for channel, name in zip(audio, ("left", "right") if len(audio) == 2 else ("",) * len(audio)):
        above.plot(seconds, channel, linewidth=0.3, label=name, alpha=0.8)
    if title:
        above.set_title(_shown(title), parse_math=False)  # a prompt may hold dollar signs
    above.set(ylabel="full scale", ylim=(-1, 1), xlim=(0, audio.shape[1] / sample_rate))
    if len(audio) == 2:
        above.legend(loc="upper right")
    _spectrogram(below, audio.mean(axis=0), sample_rate)
    below.set(xlabel="seconds", ylabel="Hz", yscale="log", ylim=(LOWEST_HZ, sample_rate / 2))
    below.set_xlim(0, audio.shape[1] / sample_rate)
    picture = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the title's: drawn as boxes where the font lacks them
        figure.savefig(picture, format=format)
    return picture.getvalue()


def _shown(title: str) -> str:
    """One printable line of bearable length."""
    return shorten(printable(title), 90)


def _spectrogram(axes: object, mono: np.ndarray, sample_rate: int) -> None:
    window = 2048
    padded = np.pad(mono, (0, max(0, 2 * window - len(mono))))
    # Far below what is drawn: silence has no logarithm.
    floor = 1e-9 * np.random.default_rng(0).standard_normal(len(padded))
    axes.specgram(  # type: ignore[attr-defined]
        padded + floor, NFFT=window, noverlap=window * 3 // 4, Fs=sample_rate, cmap="magma", vmin=-140, vmax=-40
    )
