"""The tokenizer made for random checkpoints is a real one, and always the same."""

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from edge_export.new_tokenizer import train_tokenizer

PROMPT = "warm arpeggios on house beats 120BPM with drums effect"


@pytest.fixture(scope="module")
def spiece() -> bytes:
    return train_tokenizer(500)


@pytest.fixture(scope="module")
def tokenizer(spiece):
    return sentencepiece.SentencePieceProcessor(model_proto=spiece)


def test_every_run_gives_the_same_bytes(spiece):
    assert train_tokenizer(500) == spiece


def test_it_has_as_many_pieces_as_asked_for_and_t5s_special_ids(tokenizer):
    assert tokenizer.get_piece_size() == 500
    assert [tokenizer.id_to_piece(index) for index in range(3)] == ["<pad>", "</s>", "<unk>"]
    assert (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id(), tokenizer.bos_id()) == (0, 1, 2, -1)


def test_it_normalises_as_t5_does(spiece, tokenizer):
    proto = sentencepiece_model_pb2.ModelProto.FromString(spiece)
    assert proto.normalizer_spec.name == "nmt_nfkc"
    assert len(proto.normalizer_spec.precompiled_charsmap) > 100_000
    assert tokenizer.encode("ｗａｒｍ　 ﬁre") == tokenizer.encode("warm fire")


@pytest.mark.parametrize("text", [PROMPT, "Café — “Über” #1: rock&roll @ 44.1kHz (50%)!", "ZZZ qqq 0987654321"])
def test_plain_text_has_no_unknowns_and_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.unk_id() not in ids
    assert tokenizer.decode(ids) == text


def test_words_of_sound_are_pieces(tokenizer):
    assert len(tokenizer.encode(PROMPT)) < len(PROMPT) / 2


def test_what_it_never_saw_is_unknown(tokenizer):
    assert tokenizer.unk_id() in tokenizer.encode("🎹")
