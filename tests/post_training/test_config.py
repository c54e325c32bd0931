"""The config files: what ships can be read, and everything else is refused in one line that names the setting."""

from pathlib import Path

import pytest

from edge_export.errors import UsageError
from post_training.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = (CONFIGS / "tiny.toml").read_text(encoding="utf-8")


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "c.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_config(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["tiny", "small", "laptop"])
def test_what_ships_can_be_read(name):
    config = load_config(CONFIGS / f"{name}.toml")
    assert config.network.samples == config.network.latents * 2048


@pytest.mark.parametrize("name", ["small", "laptop"])
def test_the_small_models_play_7_seconds(name):
    assert load_config(CONFIGS / f"{name}.toml").network.seconds == pytest.approx(160 * 2048 / 44100)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("depth = 3", "depht = 3", ["unknown setting 'depht'", "[network]", "did you mean 'depth'?"]),
        ("depth = 3", "depth = 3\nstrides = [2, 4, 4, 8]", ["strides = [2, 4, 4, 8]", "even numbers", "2048"]),
        ("depth = 3", "depth = 3\nencoder_mults = [1, 2]", ["encoder_mults = [1, 2]", "each of strides"]),
        ("depth = 3", "depth = 3\nstrides = [1, 8, 4, 8, 8]", ["strides = [1, 8, 4, 8, 8]", "even"]),
        ("seed = 0", "zzz = 0", ["unknown setting 'zzz'", "it may have seed"]),
        ("depth = 3", "", ["[network] lacks depth"]),
        ("depth = 3", 'depth = "3"', ["network.depth is '3', expected int"]),
        ("depth = 3", "depth = true", ["network.depth is True, expected int"]),
        ("latents = 32", "latents = 8", ["[network]", "latents = 8, expected 16"]),
        ("depth = 3", "depth = 0", ["[network]", "depth = 0"]),
        ("num_heads = 1", "num_heads = 3", ["num_heads"]),
        ("latents = 16", "latents = 64", ["autoencoder.latents is 64"]),
        ("encoded = 2", "encoded = 5", ["[autoencoder]", "encoded = 5, expected at most batch, 4"]),
        ("[arc]", "[arc]\nlatents = 8", ["arc.latents is 8, expected 0, or 16 to 32"]),
        ("layers = 2\nlearning", "layers = 9\nlearning", ["arc.layers is 9", "depth, 3"]),
        ("shortest = 1.0", "shortest = 5", ["data.shortest"]),
        ("betas = [0.0, 0.99]", "betas = [0.9]", ["arc.betas has 1 entries, expected 2"]),
        ("betas = [0.0, 0.99]", "betas = [1.0, 0.99]", ["betas"]),
        ("learning_rate = 1e-3", "learning_rate = nan", ["learning_rate = nan"]),
        ("fft_sizes = [1024, 256, 64]", "fft_sizes = [1000]", ["1000"]),
        ("fft_sizes = [1024, 256, 64]", "fft_sizes = []", ["autoencoder.fft_sizes"]),
        ("[flow]", "[flow]\ntimes = 'uniform'", ["times = 'uniform'", "logsnr-uniform"]),
        ("[arc]", "[arc]\nadversary = 'hinge'", ["relativistic, least-squares"]),
        ("[arc]", "[arc]\nlogsnr = [2, -6]", ["logsnr"]),
        ("seed = 0", "seed = ", ["no valid TOML"]),
        ("[flow]", "[[flow]]", ["flow is no table"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, words):
    assert old in TINY
    message = refused(tmp_path, TINY.replace(old, new, 1))
    assert all(word in message for word in words), message


def test_a_file_that_is_missing_or_no_text(tmp_path):
    with pytest.raises(UsageError, match=r"no config at .*; take one of configs/"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot read"):
        load_config(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no valid TOML"):
        load_config(tmp_path / "x.toml")
