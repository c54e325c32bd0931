"""Pictures of sound: a file that is one, or one line that says why not."""

import warnings

import numpy as np
import pytest

from edge_export.errors import MissingDependency, OutputError
from edge_export.plots import plot_audio

pytestmark = pytest.mark.slow

RATE = 44100
PNG = b"\x89PNG\r\n\x1a\n"


def sweep(channels: int = 2, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return np.stack([0.5 * np.sin(2 * np.pi * (200 + 4000 * time) * time)] * channels).astype(np.float32)


def drawn(path, audio: np.ndarray, title: str = "drums") -> bytes:
    """The picture, drawn with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_audio(path, audio, RATE, title)
    return path.read_bytes()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_picture_is_drawn(tmp_path, channels):
    from matplotlib.image import imread

    data = drawn(tmp_path / "a.png", sweep(channels))
    assert data.startswith(PNG)
    assert len(data) > 10_000
    height, width, _ = imread(tmp_path / "a.png").shape
    assert width > height > 400
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_the_sound_is_in_the_picture(tmp_path):
    assert drawn(tmp_path / "a.png", sweep()) != drawn(tmp_path / "b.png", sweep()[:, ::-1])


def test_the_ending_names_the_format(tmp_path):
    assert b"<svg" in drawn(tmp_path / "a.svg", sweep(seconds=0.1))


@pytest.mark.parametrize("samples", [1, 2, 100, 2047, 2049])
def test_very_short_sounds_are_drawn(tmp_path, samples):
    assert drawn(tmp_path / "a.png", sweep()[:, :samples]).startswith(PNG)


@pytest.mark.parametrize("samples", [1, 4096])
def test_silence_is_drawn(tmp_path, samples):
    assert drawn(tmp_path / "a.png", np.zeros((2, samples), np.float32)).startswith(PNG)


@pytest.mark.parametrize("title", ["", "costs $5 and $6", "a_b^c \\frac{", "$\\nonsense$", "♪ 音楽", "long " * 100])
def test_any_prompt_can_be_the_title(tmp_path, title):
    assert drawn(tmp_path / "a.png", sweep(seconds=0.1), title).startswith(PNG)


@pytest.mark.parametrize("name", ["a.wav", "a.nonsense", "a.png.txt", "picture"])
def test_an_ending_that_is_no_picture_leaves_nothing(tmp_path, name):
    with pytest.raises(OutputError, match=f"cannot write the picture .*{name}.*choose another --plot") as caught:
        plot_audio(tmp_path / name, sweep(), RATE, "drums")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_survives_a_wrong_ending(tmp_path):
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(OutputError):
        plot_audio(mine, sweep(), RATE, "drums")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("place", ["missing/a.png", "file/a.png", "folder.png"])
def test_a_place_that_cannot_be_written_is_told(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=place):
        plot_audio(tmp_path / place, sweep(), RATE, "drums")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]
    assert (tmp_path / "file").read_text() == "mine"


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"pip install 'edge-export\[plot\]'"):
        plot_audio(tmp_path / "a.png", sweep(), RATE, "drums")
