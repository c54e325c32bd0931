"""The ids are sentencepiece's for any text and any flags; a broken tokenizer.json is refused with its key."""

import base64
import dataclasses
import json
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_export.new_tokenizer import train_tokenizer
from edge_export.tokenizer_export import read_spiece
from runtime_py.errors import BundleError, OutputError, UsageError
from runtime_py.tokenizer import Charsmap, dump_tokenizer, load_tokenizer, save_tokenizer
from tests.runtime_py.spiece import charsmap_of, unigram

FIXTURES = Path(__file__).parent.parent / "fixtures"
SPIECE = FIXTURES / "oracle" / "t5-base" / "spiece.model"
GOLDEN = json.loads((FIXTURES / "golden" / "tokenizer.json").read_text())
RULES = ("identity", "nmt_nfkc", "nmt_nfkc_cf", "nfkc")

TOKENIZER = read_spiece(SPIECE)
SENTENCEPIECE = sentencepiece.SentencePieceProcessor(model_file=str(SPIECE))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A model of 1000 pieces, where many segmentations compete."""
    path = tmp_path_factory.mktemp("trained") / "spiece.model"
    path.write_bytes(train_tokenizer(1000))
    return path


@pytest.fixture(scope="module")
def charsmaps() -> dict[str, bytes]:
    return {rule: charsmap_of(rule) for rule in RULES}


def random_text(dice: random.Random, pieces: list[str]) -> str:
    """Anything: pieces of the model, ASCII, controls, spaces of all kinds, marks, every plane of Unicode."""
    draws = (
        lambda: dice.choice(pieces),
        lambda: dice.choice(pieces),
        lambda: dice.choice("aeinorst"),
        lambda: dice.choice(" \t\n\u3000\u00a0\u200b\u200d\ufeff\u2581\u00ad\ufb01\u00a8\0\ufffd"),
        lambda: chr(dice.randrange(0x20)),
        lambda: chr(dice.randrange(0x20, 0x7F)),
        lambda: chr(dice.randrange(0x300, 0x370)),
        lambda: chr(dice.randrange(0xFF00, 0x10000)),
        lambda: chr(dice.randrange(0x1F300, 0x1FB00)),
        lambda: chr(dice.randrange(0xD800)),
        lambda: chr(dice.randrange(0xE000, 0x110000)),
        lambda: dice.choice(("</s>", "<pad>", "<unk>", "  ", "🎹🎹")),
    )
    return "".join(dice.choice(draws)() for _ in range(dice.randrange(40)))


def assert_equal_on_random_texts(spiece: Path, count: int) -> None:
    tokenizer, expected = read_spiece(spiece), sentencepiece.SentencePieceProcessor(model_file=str(spiece))
    dice = random.Random(1)
    pieces = [piece.replace("\u2581", " ") for piece in tokenizer.pieces]
    for _ in range(count):
        text = random_text(dice, pieces)
        assert tokenizer.encode(text) == expected.encode(text), repr(text)


# ids


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: ascii(case["text"][:20]))
def test_golden_texts_give_the_recorded_ids(case):
    assert TOKENIZER.encode(case["text"]) == case["ids"]


def test_the_oracles_prompt_gives_the_published_librarys_ids(oracle):
    from safetensors import safe_open

    with safe_open(oracle / "expected.safetensors", "np") as file:
        prompt, ids = file.metadata()["prompt"], file.get_tensor("input_ids")
    made = TOKENIZER.encode_prompt(prompt)
    assert np.array_equal(made.ids[None], ids)
    assert made.mask.sum() == made.tokens == (ids != 0).sum()


def test_ids_equal_sentencepieces_on_random_texts():
    assert_equal_on_random_texts(SPIECE, 6000)


def test_ids_equal_sentencepieces_on_random_texts_of_a_larger_model(trained):
    assert_equal_on_random_texts(trained, 6000)


@given(text=st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_ids_equal_sentencepieces_on_any_text(text):
    assert TOKENIZER.encode(text) == SENTENCEPIECE.encode(text)


def random_model(dice: random.Random, charsmaps: dict[str, bytes]):
    """Few letters, so that paths compete; scores in tenths, so that they tie; all kinds of pieces and flags."""
    letters = "ab" if dice.random() < 0.5 else "ab\u2581c\u00e9\u3000\t\ufb01\u00a8X"

    def pieces(count: int) -> set[str]:
        return {"".join(dice.choice(letters) for _ in range(dice.randrange(1, 5))) for _ in range(count)}

    normal = pieces(dice.randrange(3, 25)) | {"a"}
    tenths = dice.random() < 0.5
    return unigram(
        {piece: -dice.randrange(1, 8) / 10 if tenths else -dice.uniform(0.1, 4) for piece in sorted(normal)},
        user_defined=sorted(pieces(dice.choice((0, 0, 1, 3))) - normal),
        unused={piece for piece in sorted(normal - {"a"}) if dice.random() < 0.1},
        charsmap=charsmaps[dice.choice(RULES)],
        add_dummy_prefix=dice.random() < 0.5,
        remove_extra_whitespaces=dice.random() < 0.5,
        escape_whitespaces=dice.random() < 0.8,
    ), letters + " "


def test_ids_equal_sentencepieces_whatever_the_models_flags(tmp_path, charsmaps):
    dice, path = random.Random(5), tmp_path / "spiece.model"
    for _ in range(150):
        model, letters = random_model(dice, charsmaps)
        path.write_bytes(model.SerializeToString())
        tokenizer, expected = read_spiece(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
        for _ in range(30):
            text = "".join(dice.choice(letters) for _ in range(dice.randrange(40)))
            assert tokenizer.encode(text) == expected.encode(text), (text, model)


@pytest.mark.parametrize("control", ["</s>", "<pad>", "<unk>"])
def test_special_tokens_are_never_read_out_of_text(control):
    assert set(TOKENIZER.encode(f"a {control} b")) & {TOKENIZER.eos_id, TOKENIZER.pad_id} == set()


@pytest.mark.parametrize(
    ("text", "meant"),
    [("a\ud800b", "a\ufffdb"), ("\udc00", "\ufffd"), ("a\ud83c", "a\ufffd"), ("\udfb9\ud83c", "\ufffd\ufffd")],
)
def test_lone_surrogates_are_replacement_characters(text, meant):
    keeping = dataclasses.replace(TOKENIZER, charsmap=b"", remove_extra_whitespaces=False)
    assert keeping.normalize(text) == keeping.normalize(meant)
    assert TOKENIZER.encode(text) == SENTENCEPIECE.encode(meant)


def test_a_pair_of_surrogates_is_its_character():
    assert TOKENIZER.normalize("\ud83c\udfb9") == TOKENIZER.normalize("🎹")


@pytest.mark.parametrize(
    "text", ["warm arpeggios on house beats 120BPM " * 300, "🎹" * 11_000, "aé " * 4000, "x" * 11_000]
)
def test_ten_thousand_characters_take_well_under_a_second(text):
    started = time.process_time()
    ids = TOKENIZER.encode(text)
    assert time.process_time() - started < 1
    assert ids == SENTENCEPIECE.encode(text)


# prompts


@pytest.mark.parametrize("case", GOLDEN["prompts"], ids=lambda case: ascii(case["text"][:20]))
def test_golden_prompts_are_truncated_before_the_end_and_padded(case):
    made = TOKENIZER.encode_prompt(case["text"], GOLDEN["length"])
    assert made.ids.tolist() == case["ids"]
    assert made.mask.tolist() == [1.0] * case["tokens"] + [0.0] * (GOLDEN["length"] - case["tokens"])
    assert (made.tokens, made.dropped, made.unknown) == (case["tokens"], case["dropped"], case["unknown"])
    assert (made.ids.dtype, made.mask.dtype) == (np.int32, np.float32)


def test_a_prompt_of_one_token_is_its_end():
    made = TOKENIZER.encode_prompt("a b", 1)
    assert (made.ids.tolist(), made.dropped) == ([TOKENIZER.eos_id], 3)


def test_a_prompt_of_no_tokens_is_refused():
    with pytest.raises(UsageError, match="cannot hold"):
        TOKENIZER.encode_prompt("a", 0)


# the file


def test_a_tokenizer_comes_back_from_its_file_exactly(tmp_path, trained):
    for spiece in (SPIECE, trained):
        tokenizer = read_spiece(spiece)
        save_tokenizer(tokenizer, tmp_path / "tokenizer.json")
        assert load_tokenizer(tmp_path / "tokenizer.json") == tokenizer


@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=200))
@settings(max_examples=100, deadline=None)
def test_every_float32_score_comes_back_exactly(bits):
    numbers = struct.unpack(f"<{len(bits)}f", struct.pack(f"<{len(bits)}I", *bits))
    scores = tuple(number for number in numbers if abs(number) < 1e9)
    count = len(scores)
    tokenizer = dataclasses.replace(
        TOKENIZER,
        pieces=("?", "a", *(f"p{index}" for index in range(count))),
        scores=(0.0, -1.0, *scores),
        types=(2, 1, *[1] * count),
        **dict.fromkeys(("unk_id", "eos_id", "pad_id"), 0),
        charsmap=b"",
    )
    read = json.loads(dump_tokenizer(tokenizer))["scores"]
    assert np.array(read).astype(np.float32).tobytes() == np.array(tokenizer.scores, np.float32).tobytes()


def test_a_folder_is_no_place_for_a_tokenizer(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        save_tokenizer(TOKENIZER, tmp_path)


DOCUMENT = json.loads(dump_tokenizer(TOKENIZER))
CHARSMAP = TOKENIZER.charsmap
TRIE = 4 + int.from_bytes(CHARSMAP[:4], "little")


def encoded(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def with_item(key: str, index: int, value: object) -> list:
    return [*DOCUMENT[key][:index], value, *DOCUMENT[key][index + 1 :]]


BROKEN = {
    "a later format": ("format", 2, "format is 2"),
    "a format that is true": ("format", True, "format is True"),
    "an unknown key": ("colour", 1, "colour is not a key"),
    "pieces that are no list": ("pieces", "abc", "pieces is str, expected list"),
    "no pieces": ("pieces", [], "pieces has 0 entries"),
    "a piece too few": ("pieces", DOCUMENT["pieces"][:-1], "scores has 247 entries, pieces has 246"),
    "a type too few": ("types", DOCUMENT["types"][:-1], "types has 246 entries"),
    "a piece twice": ("pieces", with_item("pieces", 9, "in"), "pieces lists 'in' twice"),
    "an empty piece": ("pieces", with_item("pieces", 9, ""), r"pieces\[9\] is empty"),
    "a piece that is a number": ("pieces", with_item("pieces", 9, 5), r"pieces\[9\] is int, expected str"),
    "a piece with a lone surrogate": ("pieces", with_item("pieces", 9, "\ud800"), r"pieces\[9\] is empty, too long"),
    "a piece with a zero": ("pieces", with_item("pieces", 9, "a\0"), r"pieces\[9\] is empty, too long"),
    "an endless piece": ("pieces", with_item("pieces", 9, "a" * 600), r"pieces\[9\] is empty, too long"),
    "a score that is text": ("scores", with_item("scores", 9, "-1"), r"scores\[9\] is str, expected float"),
    "a score that is true": ("scores", with_item("scores", 9, True), r"scores\[9\] is bool"),
    "a score beyond float32": ("scores", with_item("scores", 9, 1e300), r"scores\[9\] is inf"),
    "a score beyond float64": ("scores", with_item("scores", 9, 10**400), "too large"),
    "an absurd score": ("scores", with_item("scores", 9, 1e30), r"scores\[9\] is .* no log probability"),
    "a type that does not exist": ("types", with_item("types", 9, 7), r"types\[9\] is 7"),
    "a byte piece": ("types", with_item("types", 9, 6), r"types\[9\] is 6"),
    "a type that is a fraction": ("types", with_item("types", 9, 1.0), r"types\[9\] is float"),
    "two unknowns": ("types", with_item("types", 9, 2), "unk_id is 2, but"),
    "only special pieces": ("types", [3, 3, 2, *[5] * 244], "types has no normal piece"),
    "an id that is no piece": ("eos_id", 247, "eos_id is 247"),
    "a negative id": ("pad_id", -1, "pad_id is -1"),
    "an unknown that is another": ("unk_id", 3, "unk_id is 3"),
    "an id that is a fraction": ("unk_id", 2.0, "unk_id is float"),
    "a flag that is a number": ("add_dummy_prefix", 1, "add_dummy_prefix is int, expected bool"),
    "a charsmap that is a list": ("charsmap", [], "charsmap is list, expected str"),
    "a charsmap that is no base64": ("charsmap", "not base64!", "charsmap is not base64"),
    "a charsmap in cyrillic": ("charsmap", "ж", "charsmap is not base64"),
    "a charsmap of two bytes": ("charsmap", encoded(b"\0\0"), "charsmap is truncated"),
    "a charsmap without a trie": ("charsmap", encoded(bytes(4) + b"a\0"), "charsmap is truncated"),
    "a charsmap cut in its trie": ("charsmap", encoded(CHARSMAP[: TRIE - 400]), "charsmap is truncated"),
    "a charsmap without replacements": ("charsmap", encoded(CHARSMAP[:TRIE]), "outside its replacements"),
    "a charsmap cut in its replacements": ("charsmap", encoded(CHARSMAP[:-9]), "charsmap"),
    "a charsmap that does not end": ("charsmap", encoded(CHARSMAP[:-1] + b"a"), "does not end"),
    "a charsmap whose root is a leaf": (
        "charsmap",
        encoded(CHARSMAP[:4] + b"\xff\xff\xff\xff" + CHARSMAP[8:]),
        "has no root",
    ),
    "a charsmap that points outside": (
        "charsmap",
        encoded(CHARSMAP[:4] + b"\x00\xfe\xff\x7f" + CHARSMAP[8:]),
        "outside its trie",
    ),
    "a charsmap of broken UTF-8": (
        "charsmap",
        encoded(CHARSMAP[:-3] + b"\xff" + CHARSMAP[-2:]),
        "broken UTF-8",
    ),
}


@pytest.mark.parametrize(("key", "value", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_with_its_key(tmp_path, key, value, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(DOCUMENT | {key: value}))
    with pytest.raises(BundleError, match=message) as raised:
        load_tokenizer(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", DOCUMENT)
def test_a_missing_key_is_refused(tmp_path, key):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({other: value for other, value in DOCUMENT.items() if other != key}))
    with pytest.raises(BundleError, match="format is None" if key == "format" else f"{key} is missing"):
        load_tokenizer(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe", "utf-8"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b'{"format": 1, "format": 1}', "gives 'format' twice"),
        (b'{"scores": [NaN]}', "holds NaN"),
        (b'{"scores": [-Infinity]}', "holds -Infinity"),
        (b'{"format": ' + b"1" * 5000 + b"}", "digits"),
    ],
)
def test_what_is_no_tokenizer_is_refused(tmp_path, content, message):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=message):
        load_tokenizer(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(BundleError, match="No such file"):
        load_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(BundleError, match="Is a directory"):
        load_tokenizer(tmp_path)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(BundleError, match="more than 64 MiB"):
        load_tokenizer(path)


def test_a_damaged_charsmap_is_refused_or_harmless():
    """Whatever loads, looking up in it never fails: the links were checked."""
    dice, data = random.Random(2), "ｗarm ﬁre ½ 日本 é 🎹 ㎏".encode()
    loaded = 0
    for _ in range(60):
        blob = bytearray(CHARSMAP)
        for _ in range(dice.randrange(1, 5)):
            blob[dice.choice((dice.randrange(4, 2048), dice.randrange(4, TRIE)))] = dice.randrange(256)
        try:
            charsmap = Charsmap(bytes(blob))
        except ValueError as error:
            assert str(error).startswith("charsmap ")
            continue
        loaded += 1
        for start in range(len(data)):
            _, replacement = charsmap.longest(data, start)
            replacement.decode()
    assert 0 < loaded < 60


def test_a_rule_that_ends_inside_a_character_leaves_replacement_characters(tmp_path):
    """As in sentencepiece: one U+FFFD for each byte that is left."""
    units = [0] * 512
    units[0] = 256 << 10  # the children of the root lie at 256 ^ byte
    units[256 ^ 0xC3] = 0xC3 | 1 << 8 | (256 ^ 0xC3 ^ 1) << 10  # a rule for the byte 0xC3; its value lies at 1
    units[1] = 1 << 31  # value 0: the replacement "x"
    model = unigram({"x": -1.0, "\ufffd": -1.0}, charsmap=struct.pack("<I512I", 4 * 512, *units) + b"x\0")
    path = tmp_path / "spiece.model"
    path.write_bytes(model.SerializeToString())
    assert read_spiece(path).normalize("é") == "\u2581x\ufffd"
    assert read_spiece(path).encode("é") == sentencepiece.SentencePieceProcessor(model_file=str(path)).encode("é")
