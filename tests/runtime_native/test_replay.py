"""The golden vectors, replayed in C++ here and on Arm: every case, and a case that is off is named."""

import json
import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


@pytest.mark.parametrize("preset", ["host", "linux-arm64"])
def test_every_case_holds(built_replay, preset):
    done = built_replay(preset)("golden", GOLDEN)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in done.stdout.splitlines():
        _, right, _, cases = line.split()
        assert right == cases
    counted = {line.split(":")[0]: int(line.split()[-1]) for line in done.stdout.splitlines()}
    assert counted == {name: cases_in(name) for name in ("noise", "sigmas", "tokenizer", "wav")}


def cases_in(name: str) -> int:
    document = json.loads((GOLDEN / f"{name}.json").read_text())
    if name == "noise":
        return sum(len(case["draws"]) for case in document["cases"])
    return len(document["cases"]) + len(document.get("prompts", []))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("noise", lambda case: case["draws"][0].update(sha256="0" * 64)),
        ("noise", lambda case: case["draws"][0]["first"].__setitem__(0, case["draws"][0]["first"][0] + 1e-5)),
        ("sigmas", lambda case: case["sigmas"].__setitem__(1, 0.5)),
        ("sigmas", lambda case: case["sigmas"].append(0.0)),
        ("tokenizer", lambda case: case["ids"].append(3)),
        ("wav", lambda case: case["audio"][0].__setitem__(1, 0.25)),
    ],
)
def test_a_case_that_is_off_is_named(replay, tmp_path, name, change):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
    path = folder / f"{name}.json"
    document = json.loads(path.read_text())
    change(document["cases"][1])
    path.write_text(json.dumps(document))
    done = replay("golden", folder)
    assert done.returncode == 1
    (off,) = [line for line in done.stdout.splitlines() if line.endswith("is off")]
    assert off.startswith(f"{name}: ")


def test_what_are_no_golden_vectors_is_one_line(replay, tmp_path):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
    (folder / "sigmas.json").write_text("{}")
    for words in (("golden", folder), ("golden", tmp_path / "nowhere"), ("tokenize", tmp_path / "nowhere"), ("play",)):
        done = replay(*words)
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("edge-replay: error: ")
