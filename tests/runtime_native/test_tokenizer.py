"""Ids are those of sentencepiece and of runtime_py, for any text; a tokenizer that Python refuses, C++ refuses."""

import base64
import json
import random
import struct
from pathlib import Path

import pytest
import sentencepiece

from edge_export.new_tokenizer import train_tokenizer
from edge_export.tokenizer_export import read_spiece
from runtime_py.errors import BundleError
from runtime_py.tokenizer import load_tokenizer, save_tokenizer
from tests.runtime_py.spiece import charsmap_of
from tests.runtime_py.test_tokenizer import BROKEN, DOCUMENT, SPIECE, random_model, random_text

COUNT = 10_000
RANGES = {
    "CJK": (0x4E00, 0xA000),
    "kana": (0x3040, 0x3100),
    "Arabic": (0x600, 0x700),
    "Arabic presentation forms": (0xFB50, 0xFE00),
    "Hebrew": (0x590, 0x600),
    "Devanagari": (0x900, 0x980),
    "Thai": (0xE00, 0xE80),
    "Hangul jamo": (0x1100, 0x1200),
    "Hangul": (0xAC00, 0xD7A4),
    "combining marks": (0x300, 0x370),
    "full-width and half-width": (0xFF00, 0xFFF0),
    "letter-like": (0x2100, 0x2190),
    "enclosed": (0x2460, 0x2500),
    "CJK compatibility": (0x3300, 0x3400),
    "ligatures": (0xFB00, 0xFB50),
    "spaces and joiners": (0x2000, 0x2070),
    "variation selectors": (0xFE00, 0xFE10),
    "emoji": (0x1F300, 0x1FB00),
    "flags": (0x1F1E6, 0x1F200),
    "mathematical": (0x1D400, 0x1D800),
    "private": (0xE000, 0xF900),
    "control characters": (0, 0x20),
    "more control characters": (0x7F, 0xA0),
}
PARTS = (
    "</s>",
    "<pad>",
    "<unk>",
    "\t",
    "  ",
    "\u3000",
    "\u2581",
    "\ufeff",
    "\u00ad",
    "👩🏽\u200d🎤",
    "❤\ufe0f",
    "e\u0301",
    "ﬃ",
    "ﷺ",
    "½",
)


def texts(dice: random.Random, count: int, pieces: list[str]) -> list[str]:
    """One script among words, all scripts among one another, anything at all, the empty text and very long ones."""
    made = ["", " ", "\0", "\t\n", "x" * 20_000, "🎹" * 5_000, "aé " * 5_000, "\u0301" * 3_000, "</s>" * 1_000]
    ranges = [range(*bounds) for bounds in RANGES.values()]
    while len(made) < count:
        script = dice.choice(ranges)
        draws = (
            lambda script=script: chr(dice.choice(script)),
            lambda: chr(dice.choice(dice.choice(ranges))),
            lambda: dice.choice(pieces),
            lambda: dice.choice(PARTS),
        )
        weights = dice.choice(((1, 0, 0, 0), (3, 0, 2, 1), (0, 3, 1, 1), (0, 0, 1, 1)))
        made.append("".join(draw() for draw in dice.choices(draws, weights, k=dice.randrange(40))))
        made.append(random_text(dice, pieces))
    return made


def test_the_generated_texts_hold_every_script():
    letters = set("".join(texts(random.Random(1), COUNT, ["a"])))
    for name, (first, end) in RANGES.items():
        assert sum(first <= ord(letter) < end for letter in letters) > (end - first) // 20, name


def native_ids(edge_replay, tokenizer: Path, given: list[str]) -> list[list[int]]:
    done = edge_replay("tokenize", tokenizer, stdin="".join(f"{json.dumps(text)}\n" for text in given))
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_ids_agree(edge_replay, spiece: Path, folder: Path, seed: int) -> None:
    tokenizer = read_spiece(spiece)
    save_tokenizer(tokenizer, folder / "tokenizer.json")
    python = load_tokenizer(folder / "tokenizer.json")
    expected = sentencepiece.SentencePieceProcessor(model_file=str(spiece))
    given = texts(random.Random(seed), COUNT, [piece.replace("\u2581", " ") for piece in tokenizer.pieces])
    made = native_ids(edge_replay, folder / "tokenizer.json", given)
    assert len(made) == len(given) >= COUNT
    for text, ids in zip(given, made, strict=True):
        assert ids == expected.encode(text), ascii(text[:200])
        assert ids == python.encode(text), ascii(text[:200])


def test_ids_are_sentencepieces_and_pythons(edge_replay, tmp_path):
    assert_ids_agree(edge_replay, SPIECE, tmp_path, seed=2)


def test_ids_are_sentencepieces_and_pythons_for_a_larger_model(edge_replay, tmp_path):
    (tmp_path / "spiece.model").write_bytes(train_tokenizer(1000))
    assert_ids_agree(edge_replay, tmp_path / "spiece.model", tmp_path, seed=3)


def test_ids_are_sentencepieces_whatever_the_models_flags(edge_replay, tmp_path):
    """Few letters and tied scores, user-defined symbols, every charsmap and flag."""
    dice, spiece = random.Random(4), tmp_path / "spiece.model"
    charsmaps = {rule: charsmap_of(rule) for rule in ("identity", "nmt_nfkc", "nmt_nfkc_cf", "nfkc")}
    for _ in range(60):
        model, letters = random_model(dice, charsmaps)
        spiece.write_bytes(model.SerializeToString())
        save_tokenizer(read_spiece(spiece), tmp_path / "tokenizer.json")
        given = ["".join(dice.choice(letters) for _ in range(dice.randrange(40))) for _ in range(50)]
        expected = sentencepiece.SentencePieceProcessor(model_file=str(spiece))
        made = native_ids(edge_replay, tmp_path / "tokenizer.json", given)
        assert made == [expected.encode(text) for text in given], model


@pytest.mark.parametrize(("key", "value", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_as_in_python(edge_replay, tmp_path, key, value, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(DOCUMENT | {key: value}))
    done = edge_replay("tokenize", path, stdin='"a"\n')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"edge-replay: error: {path}: ") and done.stderr.count("\n") == 1


def charsmap_with_value(value: int) -> bytes:
    """One rule, for the letter a, whose replacement begins `value` bytes into "x\\0"."""
    units = [0] * 512
    units[0] = 256 << 10
    units[256 ^ ord("a")] = ord("a") | 1 << 8 | (256 ^ ord("a") ^ 1) << 10
    units[1] = 1 << 31 | value
    return struct.pack("<I512I", 4 * 512, *units) + b"x\0"


@pytest.mark.parametrize("value", [0, 1, 2, 3, 2**31 - 1])
def test_a_replacement_lies_within_the_replacements(edge_replay, tmp_path, value):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(DOCUMENT | {"charsmap": base64.b64encode(charsmap_with_value(value)).decode()}))
    if value < 2:
        assert native_ids(edge_replay, path, ["banana"]) == [load_tokenizer(path).encode("banana")]
        return
    with pytest.raises(BundleError, match="points outside its replacements"):
        load_tokenizer(path)
    assert "points outside its replacements" in edge_replay("tokenize", path).stderr


def test_a_damaged_charsmap_is_refused_or_gives_pythons_ids(edge_replay, tmp_path):
    dice, path, given = random.Random(5), tmp_path / "tokenizer.json", ["ｗarm ﬁre ½ 日本 é 🎹 ㎏", "Cafe\u0301  a"]
    whole = base64.b64decode(DOCUMENT["charsmap"])
    loaded = 0
    for _ in range(60):
        blob = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            blob[dice.choice((dice.randrange(4, 2048), dice.randrange(4, len(blob))))] = dice.randrange(256)
        path.write_text(json.dumps(DOCUMENT | {"charsmap": base64.b64encode(blob).decode()}))
        try:
            expected = [load_tokenizer(path).encode(text) for text in given]
        except BundleError:
            assert edge_replay("tokenize", path).returncode == 1
            continue
        loaded += 1
        assert native_ids(edge_replay, path, given) == expected
    assert 0 < loaded < 60
