"""The judge's command: config, file, and one line for what is wrong."""

import json
import sys
from pathlib import Path

import pytest

from edge_export.errors import UsageError
from post_training import evaluation, train_judge
from post_training.classifier import ClassifierConfig, load_judge
from post_training.config import read_settings
from tests.post_training import standin

pytestmark = pytest.mark.train

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_projects_config_is_the_default():
    assert read_settings(ClassifierConfig, CONFIGS / "judge.toml") == ClassifierConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "epoch: is not a key of this schema; did you mean 'epochs'?"),
        ("zzz = 3", "zzz: is not a key of this schema; expected one of seed, clips"),
        ('epochs = "3"', "epochs: expected int, found str"),
        ("epochs = true", "epochs: expected int, found bool"),
        ("epochs = ", "no valid TOML"),
    ],
)
def test_a_wrong_config(tmp_path, text, message):
    path = tmp_path / "judge.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_settings(ClassifierConfig, path)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def run(monkeypatch, capfd, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr(evaluation, "the_sounds", lambda: standin)
    monkeypatch.setattr(sys, "argv", ["train_judge", *map(str, arguments)])
    code = 0
    try:
        train_judge.main()
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_it_trains_and_says_how_well(tmp_path, monkeypatch, capfd):
    config = tmp_path / "few.toml"
    config.write_text("clips = 20\nheld_out = 4\nbatch = 10\nwidth = 2\nseconds = 0.5\nworkers = 0\n")
    code, out, err = run(monkeypatch, capfd, "--config", config, "--run", tmp_path / "new" / "run", "--epochs", 1)
    assert code == 0, err
    made = json.loads((tmp_path / "new" / "run" / "judge.json").read_text())
    assert load_judge(tmp_path / "new" / "run" / "judge.safetensors").accuracy == made["accuracy"]
    assert made["config"]["epochs"] == 1 and "right on" in out and "training the judge, epoch 1 of 1" in err


def test_bad_input_is_one_line(tmp_path, monkeypatch, capfd):
    code, _, err = run(monkeypatch, capfd, "--config", tmp_path / "none.toml", "--run", tmp_path)
    assert code == 2 and "no config at" in err and "Traceback" not in err
    (tmp_path / "file").touch()
    code, _, err = run(monkeypatch, capfd, "--run", tmp_path / "file")
    assert code == 6 and "cannot make" in err and "Traceback" not in err
