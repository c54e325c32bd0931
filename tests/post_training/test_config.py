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
        ("depth = 3", "depht = 3", ["network.depht: is not a key of this schema; did you mean 'depth'?"]),
        (
            "depth = 3",
            "depth = 3\nstrides = [2, 4, 4, 8]",
            ["network.strides: is [2, 4, 4, 8]", "even numbers", "2048"],
        ),
        ("depth = 3", "depth = 3\nencoder_mults = [1, 2]", ["network.encoder_mults: is [1, 2]", "each of strides"]),
        ("depth = 3", "depth = 3\nstrides = [1, 8, 4, 8, 8]", ["network.strides: is [1, 8, 4, 8, 8]", "even"]),
        ("seed = 0", "zzz = 0", ["zzz: is not a key of this schema; expected one of seed, data"]),
        ("depth = 3", "", ["network.depth: is missing"]),
        ("depth = 3", 'depth = "3"', ["network.depth: expected int, found str"]),
        ("depth = 3", "depth = true", ["network.depth: expected int, found bool"]),
        ("latents = 32", "latents = 8", ["network.latents: is 8, expected 16"]),
        ("depth = 3", "depth = 0", ["network.depth: is 0, expected more than 0"]),
        ("num_heads = 1", "num_heads = 3", ["network.num_heads: is 3, which does not cut embed_dim"]),
        ("latents = 16", "latents = 64", ["autoencoder.latents: is 64, expected at most a clip's latents, 32"]),
        ("encoded = 2", "encoded = 5", ["autoencoder.encoded: is 5, expected at most batch, 4"]),
        ("[arc]", "[arc]\nlatents = 8", ["arc.latents: is 8, expected 0, or 16 to 32"]),
        ("layers = 2\nlearning", "layers = 9\nlearning", ["arc.layers: is 9, expected at most the network's depth, 3"]),
        ("shortest = 1.0", "shortest = 5", ["data.shortest: is 5.0, expected at most a clip's seconds, 1.48"]),
        ("betas = [0.0, 0.99]", "betas = [0.9]", ["arc.betas: expected 2 entries, found 1"]),
        ("betas = [0.0, 0.99]", "betas = [1.0, 0.99]", ["arc.betas: is [1.0, 0.99], expected two numbers from 0"]),
        ("learning_rate = 1e-3", "learning_rate = nan", ["flow.learning_rate: is not a finite number"]),
        ("fft_sizes = [1024, 256, 64]", "fft_sizes = [1000]", ["autoencoder.fft_sizes: is [1000], expected powers"]),
        ("fft_sizes = [1024, 256, 64]", "fft_sizes = []", ["autoencoder.fft_sizes: is [], expected powers"]),
        ("[flow]", "[flow]\ntimes = 'uniform'", ["flow.times: is 'uniform', expected one of", "'logsnr-uniform'"]),
        ("[arc]", "[arc]\nadversary = 'hinge'", ["arc.adversary: is 'hinge'", "'relativistic', 'least-squares'"]),
        ("[arc]", "[arc]\nlogsnr = [2, -6]", ["arc.logsnr: is [2.0, -6.0]"]),
        ("seed = 0", "seed = ", ["no valid TOML"]),
        ("[flow]", "[[flow]]", ["flow: expected an object, found list"]),
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
