"""The native runtime gives what sentencepiece, PyTorch and a plain WAV writer gave; another vector is noticed."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"
VECTORS = ("noise.json", "sigmas.json", "tokenizer.json", "wav.json")


@pytest.fixture
def vectors(tmp_path) -> Path:
    """A copy of the golden vectors, to alter."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def alter(path: Path, change: Callable[[dict], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def flip_last_byte(case: dict) -> None:
    data = bytearray(base64.b64decode(case["wav"]))
    data[-1] ^= 1
    case["wav"] = base64.b64encode(data).decode()


def add(values: list, index: int, step: float) -> None:
    values[index] += step


@pytest.mark.parametrize("where", ["edge_replay", "edge_replay_on_arm"])
def test_every_golden_vector_is_replayed_and_holds(request, where):
    done = request.getfixturevalue(where)("golden", GOLDEN)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    counts = {"tokenizer.json": ("cases", "prompts"), "sigmas.json": ("cases",), "wav.json": ("cases",)}
    for file, keys in counts.items():
        document = json.loads((GOLDEN / file).read_text())
        assert f"{file}: {sum(len(document[key]) for key in keys)} cases, 0 failed" in lines
    draws = sum(len(case["draws"]) for case in json.loads((GOLDEN / "noise.json").read_text())["cases"])
    assert f"noise.json: {draws} cases, 0 failed" in lines
    assert len(lines) == len(VECTORS)


ALTERED = {
    "an id": ("tokenizer.json", lambda d: add(d["cases"][0]["ids"], 3, 1), "ids is"),
    "an id that is missing": ("tokenizer.json", lambda d: d["cases"][1]["ids"].pop(), "ids is"),
    "a text": ("tokenizer.json", lambda d: d["cases"][1].update(text="dog barkings"), "ids is"),
    "a prompt's padding": ("tokenizer.json", lambda d: add(d["prompts"][1]["ids"], -1, 1), "prompt"),
    "a prompt's mask": ("tokenizer.json", lambda d: add(d["prompts"][1], "tokens", 1), "mask is"),
    "tokens that were dropped": ("tokenizer.json", lambda d: add(d["prompts"][-1], "dropped", -1), "dropped is"),
    "unknown tokens": ("tokenizer.json", lambda d: add(d["prompts"][-1], "unknown", 1), "unknown is"),
    "a first number of noise": (
        "noise.json",
        lambda d: add(d["cases"][0]["draws"][1]["first"], 0, 4e-6),
        "draw 2: value 0",
    ),
    "a last number of noise": ("noise.json", lambda d: add(d["cases"][-1]["draws"][-1]["last"], -1, -4e-6), "value 7"),
    "a bit of noise": ("noise.json", lambda d: d["cases"][0]["draws"][0].update(sha256="0" * 64), "draw 1: sha256 is"),
    "a seed": ("noise.json", lambda d: d["cases"][0].update(seed=1), "seed 1, draw 1"),
    "a shape": ("noise.json", lambda d: add(d["cases"][1]["draws"][0]["shape"], -1, 1), "seed 42, draw 1"),
    "a sigma": ("sigmas.json", lambda d: add(d["cases"][3]["sigmas"], 2, 4e-7), "4 steps: value 2"),
    "the range of logSNR": ("sigmas.json", lambda d: add(d["logsnr"], 1, 1e-3), "steps: value"),
    "a byte of 16-bit sound": ("wav.json", lambda d: flip_last_byte(d["cases"][0]), "of 16 bits: the file is"),
    "a byte of float sound": ("wav.json", lambda d: flip_last_byte(d["cases"][1]), "of 32-bit floats: the file is"),
    "a sample": ("wav.json", lambda d: add(d["cases"][2]["audio"][0], 0, 1e-3), "the file is"),
    "no case left": ("sigmas.json", lambda d: d["cases"].clear(), "there are none"),
    "a key that is missing": ("noise.json", lambda d: d.pop("tolerance"), "tolerance"),
}


@pytest.mark.parametrize(("file", "change", "message"), ALTERED.values(), ids=ALTERED)
def test_an_altered_vector_is_noticed(edge_replay, vectors, file, change, message):
    alter(vectors / file, change)
    done = edge_replay("golden", vectors)
    assert done.returncode == 1
    *problems, count = [line for line in done.stdout.splitlines() if line.startswith(f"{file}: ")]
    assert any(message in problem for problem in problems)
    assert not count.endswith(" 0 failed")
    others = [line for line in done.stdout.splitlines() if not line.startswith(f"{file}: ")]
    assert len(others) == len(VECTORS) - 1 and all(line.endswith(" 0 failed") for line in others)


@pytest.mark.parametrize("file", [*VECTORS, "t5.json"])
def test_a_missing_or_broken_file_is_noticed(edge_replay, vectors, file):
    (vectors / file).write_text("{")
    assert edge_replay("golden", vectors).returncode == 1
    (vectors / file).unlink()
    assert edge_replay("golden", vectors).returncode == 1


def test_vectors_that_it_cannot_replay_are_not_passed_over(edge_replay, vectors):
    (vectors / "novel.json").write_text("{}")
    done = edge_replay("golden", vectors)
    assert done.returncode == 1
    assert "novel.json: edge-replay does not know this file" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("golden",), ("manifest",), ("sing", "x"), ("tokenize", "a", "b")])
def test_other_arguments_are_answered_with_the_usage(edge_replay, arguments):
    done = edge_replay(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: edge-replay golden FOLDER")
