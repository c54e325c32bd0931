"""A sentencepiece model is read whole, or refused in one line."""

import io
import random

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from edge_export.errors import CheckpointError
from edge_export.tokenizer_export import read_spiece
from tests.runtime_py.spiece import unigram

LETTERS = {"\u2581": -1.0, "a": -2.0, "b": -3.0}


@pytest.fixture
def spiece(oracle):
    return oracle / "t5-base" / "spiece.model"


@pytest.fixture
def written(tmp_path):
    def write(model):
        path = tmp_path / "spiece.model"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return write


def test_everything_that_decides_ids_is_read(spiece):
    model = sentencepiece_model_pb2.ModelProto.FromString(spiece.read_bytes())
    tokenizer = read_spiece(spiece)
    assert [*zip(tokenizer.pieces, tokenizer.scores, tokenizer.types)] == [
        (piece.piece, piece.score, piece.type) for piece in model.pieces
    ]
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2)
    assert tokenizer.charsmap == model.normalizer_spec.precompiled_charsmap != b""
    assert tokenizer.add_dummy_prefix and tokenizer.remove_extra_whitespaces and tokenizer.escape_whitespaces


@pytest.mark.parametrize("flag", ["add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"])
def test_each_flag_is_read_by_its_own_name(written, flag):
    tokenizer = read_spiece(written(unigram(LETTERS, **{flag: False})))
    flags = ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
    assert [name for name in flags if not getattr(tokenizer, name)] == [flag]


def changed(**trainer):
    model = unigram(LETTERS)
    for name, value in trainer.items():
        setattr(model.trainer_spec, name, value)
    return model


def with_piece(**fields):
    model = unigram(LETTERS)
    model.pieces.add(**fields)
    return model


def without(spec):
    model = unigram(LETTERS)
    model.ClearField(spec)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed(model_type=2), "is not a unigram model"),
        (changed(byte_fallback=True), "falls back to bytes"),
        (changed(treat_whitespace_as_suffix=True), "puts spaces behind words"),
        (changed(pad_id=-1), "lacks <unk>, </s> or <pad>"),
        (changed(eos_id=-1), "lacks <unk>, </s> or <pad>"),
        (changed(eos_id=99), "eos_id is 99, no piece's id"),
        (changed(unk_id=1), "unk_id is 1, but"),
        (without("trainer_spec"), "truncated: it lacks a spec"),
        (without("normalizer_spec"), "truncated: it lacks a spec"),
        (without("pieces"), "has no pieces"),
        (with_piece(piece="a", score=-1, type=1), "pieces lists 'a' twice"),
        (with_piece(piece="", score=-1, type=1), r"pieces\[6\] is empty"),
        (with_piece(piece="c", score=float("nan"), type=1), r"scores\[6\] is nan"),
        (with_piece(piece="c", score=float("-inf"), type=1), r"scores\[6\] is -inf"),
        (with_piece(piece="<0x00>", score=0, type=6), r"types\[6\] is 6"),
        (unigram({}), "has no normal piece"),
        (unigram(LETTERS, charsmap=b"\x08\0\0\0abcd"), "charsmap is truncated"),
        (unigram(LETTERS).SerializeToString().replace(b"\n\x01a", b"\n\x01\xff"), "a piece is no text"),
        (b"", "has no pieces"),
        (b"\x80\x04\x95 a pickle or whatever", "no sentencepiece model"),
    ],
)
def test_what_the_runtime_cannot_follow_is_refused(written, model, message):
    path = written(model)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_spiece(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_bpe_model_of_sentencepieces_own_is_refused(written):
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words to train on"] * 20),
        model_writer=made,
        model_type="bpe",
        vocab_size=30,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    with pytest.raises(CheckpointError, match="is not a unigram model"):
        read_spiece(written(made.getvalue()))


def test_a_truncated_model_is_refused_wherever_it_is_cut(spiece, written):
    whole = spiece.read_bytes()
    dice = random.Random(3)
    pieces_and_specs = [*range(0, 5000, 7), *(dice.randrange(len(whole)) for _ in range(50)), len(whole) - 1]
    for cut in pieces_and_specs:
        with pytest.raises(CheckpointError):
            read_spiece(written(whole[:cut]))


def test_a_missing_model_and_a_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        read_spiece(tmp_path / "spiece.model")
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_spiece(tmp_path)
