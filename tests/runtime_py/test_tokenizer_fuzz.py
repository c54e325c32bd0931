"""Whatever a tokenizer.json holds, it loads or is refused in one line; user-defined symbols of a trained model."""

import base64
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_export.tokenizer_export import read_spiece
from runtime_py.errors import BundleError
from runtime_py.tokenizer import USER_DEFINED, Tokenizer, dump_tokenizer, load_tokenizer

UNITS = 1024
SYMBOLS = ["<laugh>", "<", "BPM", "120BPM", "é", "ﬁ", "drum loop", "♫♫♫", "の"]
SENTENCES = (
    "warm arpeggios on house beats 120BPM with drums effect",
    "dog barking, cat, crowd cheering; footsteps on gravel",
    "Ein dunkler Bass über kühlen Flächen, großes Echo",
    "glass breaking <laugh> drum loop é fi 90 BPM in C minor",
)
TEXT = "aabb b<x> é の\ud800 bbbb abab"


def double_array() -> bytes:
    """A charsmap of two rules, a -> b and bb -> "c d": the root's children lie at 256 ^ byte."""
    units = np.zeros(UNITS, "<u4")
    first_b = 256 ^ ord("b")
    second_b = first_b ^ 768 ^ ord("b")
    units[0] = 256 << 10
    units[256 ^ ord("a")] = 512 << 10 | 1 << 8 | ord("a")
    units[512 ^ 256 ^ ord("a")] = 1 << 31
    units[first_b] = 768 << 10 | ord("b")
    units[second_b] = 3 << 10 | 1 << 8 | ord("b")
    units[second_b ^ 3] = 1 << 31 | 2
    return (4 * UNITS).to_bytes(4, "little") + units.tobytes() + b"b\0c d\0"


# Small, so that damage hits every key.
TINY = Tokenizer(
    pieces=("<pad>", "</s>", "<unk>", "\u2581", "b", "c", "\u2581c", "<x>"),
    scores=(0.0, 0.0, 0.0, -2.5, -3.0, -3.25, -4.0, 0.0),
    types=(3, 3, 2, 1, 1, 1, 1, 4),
    unk_id=2,
    eos_id=1,
    pad_id=0,
    add_dummy_prefix=True,
    remove_extra_whitespaces=True,
    escape_whitespaces=True,
    charsmap=double_array(),
)
DOCUMENT = json.loads(dump_tokenizer(TINY))
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loads_or_is_refused(path: Path, data: bytes) -> bool:
    """Whether it loads; what does, encodes; what does not, raises BundleError and nothing else."""
    path.write_bytes(data)
    try:
        tokenizer = load_tokenizer(path)
    except BundleError as error:
        assert len(str(error).splitlines()) == 1
        assert str(path) in str(error)
        return False
    tokenizer.encode(TEXT)
    return True


def with_charsmap(charsmap: bytes) -> bytes:
    return json.dumps(DOCUMENT | {"charsmap": base64.b64encode(charsmap).decode()}).encode()


def test_the_tiny_model_loads_and_applies_its_rules(tmp_path):
    assert loads_or_is_refused(tmp_path / "tokenizer.json", json.dumps(DOCUMENT).encode())
    assert TINY.normalize("a bb <x>") == "\u2581b\u2581c\u2581d\u2581<x>"
    assert TINY.encode("bb a<x>") == [6, 3, 2, 3, 4, 7]


@pytest.mark.parametrize("value", [None, "x", -1, 1.5, [], {}, [[]], [None], 10**400])
@pytest.mark.parametrize("key", sorted(DOCUMENT))
def test_a_value_that_makes_no_sense_is_refused_and_its_key_named(tmp_path, key, value):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(DOCUMENT | {key: value}))
    with pytest.raises(BundleError, match=key):
        load_tokenizer(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
VALUES = st.lists(st.text(max_size=3) | st.integers() | st.floats(), max_size=9) | JSON


@fuzz
@given(change=st.dictionaries(st.sampled_from(sorted(DOCUMENT)), VALUES, min_size=1, max_size=3))
def test_any_other_value_loads_or_is_refused(tmp_path, change):
    loads_or_is_refused(tmp_path / "tokenizer.json", json.dumps(DOCUMENT | change).encode())


@fuzz
@given(
    key=st.sampled_from(("pieces", "scores", "types")),
    index=st.integers(0, 7),
    value=st.text(max_size=3) | st.integers() | st.floats(),
)
def test_any_other_item_loads_or_is_refused(tmp_path, key, index, value):
    items = list(DOCUMENT[key])
    items[index] = value
    loads_or_is_refused(tmp_path / "tokenizer.json", json.dumps(DOCUMENT | {key: items}).encode())


@fuzz
@given(data=st.data())
def test_any_damage_to_the_bytes_loads_or_is_refused(tmp_path, data):
    damaged = bytearray(json.dumps(DOCUMENT | {"charsmap": ""}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))
    loads_or_is_refused(tmp_path / "tokenizer.json", bytes(damaged[:end]))


def test_a_charsmap_cut_anywhere_is_refused(tmp_path):
    whole = TINY.charsmap
    for end in (*range(1, 12), *range(12, len(whole) - 6, 97), *range(len(whole) - 6, len(whole))):
        assert not loads_or_is_refused(tmp_path / "tokenizer.json", with_charsmap(whole[:end])), end


@fuzz
@given(units=st.lists(st.integers(0, 2**32 - 1), max_size=300), replacements=st.binary(max_size=8))
def test_a_charsmap_of_random_units_loads_or_is_refused(tmp_path, units, replacements):
    body = np.array(units, "<u4").tobytes()
    charsmap = len(body).to_bytes(4, "little") + body + replacements
    loads_or_is_refused(tmp_path / "tokenizer.json", with_charsmap(charsmap))


@fuzz
@given(charsmap=st.binary(min_size=1, max_size=64))
def test_a_charsmap_of_random_bytes_is_refused(tmp_path, charsmap):
    assert not loads_or_is_refused(tmp_path / "tokenizer.json", with_charsmap(charsmap))


def test_a_charsmap_damaged_where_it_matters_loads_or_is_refused(tmp_path):
    dice = random.Random(7)
    used = [4 + 4 * int(unit) for unit in np.flatnonzero(np.frombuffer(TINY.charsmap, "<u4", UNITS, 4))]
    outcomes = []
    for _ in range(500):
        damaged = bytearray(TINY.charsmap)
        for _ in range(dice.choice((1, 2, 5))):
            damaged[dice.choice((dice.choice(used) + dice.randrange(4), -dice.randrange(1, 7)))] ^= 1 << dice.randrange(
                8
            )
        outcomes.append(loads_or_is_refused(tmp_path / "tokenizer.json", with_charsmap(bytes(damaged))))
    assert set(outcomes) == {True, False}


@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc_cf"])
def test_user_defined_symbols_of_a_trained_model_give_sentencepieces_ids(tmp_path, rule):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_writer=model,
        vocab_size=160,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
        user_defined_symbols=SYMBOLS,
        normalization_rule_name=rule,
    )
    (tmp_path / "spiece.model").write_bytes(model.getvalue())
    ours = read_spiece(tmp_path / "spiece.model")
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert ours.types.count(USER_DEFINED) == len(SYMBOLS)
    dice = random.Random(9)
    parts = (*SYMBOLS, *" ".join(SENTENCES).split(), "</s>", " ", "  ", "\u2581", "\t", "e\u0301", "ＢＰＭ", "楽")
    for _ in range(2000):
        text = "".join(dice.choice(parts) + dice.choice(("", " ")) for _ in range(dice.randrange(9)))
        assert ours.encode(text) == theirs.encode(text), repr(text)
