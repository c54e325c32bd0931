"""C++, Python and sentencepiece itself give the same ids for ten thousand strings, whatever they hold."""

import json
import random
from pathlib import Path

import pytest
import sentencepiece

from edge_export.new_tokenizer import train_tokenizer
from edge_export.tokenizer_export import read_spiece
from runtime_py.tokenizer import save_tokenizer
from tests.runtime_py.test_tokenizer import random_text
from tests.runtime_py.test_tokenizer_fuzz import SYMBOLS

STRINGS = 10_000
SPECIAL = (
    "", " ", "\t", "\u3000", "a" * 20_000, "é" * 5_000, "👩🏽‍🎤" * 1_000, "e\u0301\u0323" * 3_000, " \t\n" * 5_000,
    "ｆｕｌｌ　ｗｉｄｔｈ", "한국어 각 ᄒ\u1161ᆫ", "ﷺ ﷲ", "\0", "\U0010ffff", "</s><pad><unk>", "▁▁ ▁a", *SYMBOLS,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A model of 1000 pieces, where many segmentations compete, with the charsmap that T5's has."""
    path = tmp_path_factory.mktemp("trained") / "spiece.model"
    path.write_bytes(train_tokenizer(1000))
    return path


def test_ids_are_sentencepieces(replay, trained, tmp_path):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(trained))
    tokenizer = read_spiece(trained)
    save_tokenizer(tokenizer, tmp_path / "tokenizer.json")
    dice, pieces = random.Random(20), [piece.replace("\u2581", " ") for piece in tokenizer.pieces]
    texts = [*SPECIAL, *(random_text(dice, pieces) for _ in range(STRINGS))]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = replay("tokenize", tmp_path / "tokenizer.json", told=lines)
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(made) == len(texts) > STRINGS
    wrong = [text for text, ids, expected in zip(texts, made, processor.encode(texts)) if ids != expected]
    assert wrong == []
    assert len({tuple(ids) for ids in made}) > STRINGS // 2
    wrong = [text for text, ids in zip(texts[:2_000], made) if ids != tokenizer.encode(text)]
    assert wrong == []


def test_a_broken_tokenizer_is_one_line(replay, trained, tmp_path):
    good = tmp_path / "tokenizer.json"
    save_tokenizer(read_spiece(trained), good)
    assert replay("tokenizer", good).stdout == "ok\n"
    document = json.loads(good.read_text())
    for index, (key, value) in enumerate(
        {
            "pieces": ["<unk>"],
            "scores": [0.0],
            "types": "none",
            "unk_id": 10**9,
            "eos_id": -1,
            "charsmap": "####",
            "format": 99,
            "add_dummy_prefix": 1,
        }.items()
    ):
        path = tmp_path / f"{index}.json"
        path.write_text(json.dumps({**document, key: value}))
        done = replay("tokenizer", path)
        (line,) = done.stdout.splitlines()
        assert (done.returncode, str(path) in line) == (1, True), (key, line)
