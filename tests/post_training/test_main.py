"""The command line, through its real entry: what it prints, and one line and an exit code for what goes wrong."""

import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_export.checkpoint import open_checkpoint
from post_training import __main__ as command
from post_training import loop
from tests.post_training.small import draw

pytestmark = pytest.mark.train

TINY = Path(__file__).parents[2] / "configs" / "tiny.toml"


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) -> (exit code, standard output, standard error)."""
    monkeypatch.setitem(sys.modules, "post_training.sounds", SimpleNamespace(draw=draw))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["post_training", *map(str, arguments)])
        code: object = 0
        try:
            command.main()
        except SystemExit as leaving:
            code = leaving.code
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """configs/tiny.toml with fewer clips, steps and latents."""
    text = TINY.read_text(encoding="utf-8")
    for name, value in (
        ("clips", 6),
        ("shard", 6),
        ("workers", 0),
        ("shortest", 0.3),
        ("decoder_channels", 2),
        ("adversary_channels", 2),
        ("latents", 16),
        ("save_every", 1),
        ("batch", 2),
        ("encoded", 1),
    ):
        text = re.sub(rf"^{name} = [\d.]+", f"{name} = {value}", text, flags=re.MULTILINE)
    path = tmp_path_factory.mktemp("config") / "c.toml"
    path.write_text(re.sub(r"^steps = \d+", "steps = 2", text, flags=re.MULTILINE), encoding="utf-8")
    return path


def one_line(code: int, streams: tuple[int, str, str]) -> str:
    got, _, err = streams
    line = err.strip().splitlines()[-1]
    assert got == code and line.startswith("python -m post_training: error: ") and "Traceback" not in err
    return line


def test_from_clips_to_a_checkpoint(run, config, tmp_path):
    arguments = ("--config", config, "--run", tmp_path / "run")
    assert run("clips", *arguments)[:2] == (0, f"6 clips in {tmp_path / 'run' / 'clips'}\n")
    for stage in ("autoencoder", "flow", "arc"):
        code, out, err = run("train", stage, *arguments)
        assert (code, out) == (0, f"{stage}: 2 steps done in {tmp_path / 'run'}\n")
        assert f"{stage}: step 2/2" in err
    no_card = run("publish", *arguments, "--out", tmp_path / "model", "--card", tmp_path / "none.md")
    assert "none.md for the model card" in one_line(2, no_card)
    code, out, _ = run("publish", *arguments, "--out", tmp_path / "model")
    assert code == 0 and re.fullmatch(r".*model: \d+\.\d\d MB\n", out)
    open_checkpoint(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "0.74 s" in card and "Apache-2.0" in card
    for stage in ("autoencoder", "flow", "arc"):
        assert f"python -m post_training train {stage} --config c.toml --run RUN --steps 2\n" in card
    assert "exists" in one_line(6, run("publish", *arguments, "--out", tmp_path / "model"))


def test_minutes_and_steps(run, config, tmp_path):
    arguments = ("autoencoder", "--config", config, "--run", tmp_path / "run")
    code, out, _ = run("train", *arguments, "--minutes", 0)
    assert code == 0 and out == "autoencoder: stopped after step 0 of 2; the same command goes on\n"
    assert run("train", *arguments, "--steps", 1)[1].startswith("autoencoder: 1 steps done")
    assert "goes on after step 1" in run("train", *arguments)[2]
    assert "--minutes is -1" in one_line(2, run("train", *arguments, "--minutes", -1))
    assert "--steps is 0" in one_line(2, run("train", *arguments, "--steps", 0))


def test_what_is_asked_for_wrongly(run, config, tmp_path):
    arguments = ("--config", config, "--run", tmp_path / "run")
    assert "choose one of autoencoder, flow, arc" in one_line(2, run("train", "vae", *arguments))
    assert "no config at" in one_line(2, run("train", "flow", "--config", tmp_path / "x", "--run", tmp_path))
    assert "no clips in" in one_line(2, run("train", "autoencoder", *arguments, "--clips", tmp_path))
    assert not (tmp_path / "run" / "autoencoder").exists()  # which a config set right would be refused for
    (tmp_path / "other" / "clips").mkdir(parents=True)
    hint = one_line(2, run("train", "autoencoder", *arguments, "--clips", tmp_path / "other"))
    assert f"did you mean {tmp_path / 'other' / 'clips'}?" in hint
    assert "ablations of arc" in one_line(2, run("train", "flow", *arguments, "--no-contrastive"))
    nowhere = one_line(3, run("train", "flow", *arguments, "--start", tmp_path / "nowhere"))
    assert "nowhere; --start takes built-in, or a folder that `publish` wrote" in nowhere
    first = "first, with the same --config and --run: python -m post_training train flow"
    assert first in one_line(2, run("train", "arc", *arguments))
    (tmp_path / "file").write_text("")
    assert "file" in one_line(6, run("clips", "--config", config, "--run", tmp_path / "file" / "run"))


def test_an_interruption_says_how_to_go_on(run, config, tmp_path, monkeypatch):
    def interrupted(*_arguments, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", interrupted)
    streams = run("train", "autoencoder", "--config", config, "--run", tmp_path / "run")
    assert "the same command goes on" in one_line(130, streams)


def test_another_config_in_the_same_folder(run, config, tmp_path):
    folder = tmp_path / "run"
    run("train", "autoencoder", "--config", config, "--run", folder)
    other = tmp_path / "other.toml"
    other.write_text(config.read_text().replace("decoder_channels = 2", "decoder_channels = 4"), encoding="utf-8")
    message = one_line(2, run("train", "autoencoder", "--config", other, "--run", folder))
    assert "network.decoder_channels (2 before, 4 now)" in message
    shutil.rmtree(folder)
