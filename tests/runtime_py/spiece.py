"""sentencepiece models made by hand, so that a test can choose every piece, score and flag."""

import io
from collections.abc import Iterable, Mapping

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

PAD, EOS, UNK = 0, 1, 2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5


def unigram(
    scores: Mapping[str, float],
    *,
    user_defined: Iterable[str] = (),
    unused: Iterable[str] = (),
    charsmap: bytes = b"",
    add_dummy_prefix: bool = True,
    remove_extra_whitespaces: bool = True,
    escape_whitespaces: bool = True,
):
    """A unigram model of <pad>, </s>, <unk> and these pieces: a ModelProto, still to be serialized."""
    model = sentencepiece_model_pb2.ModelProto()
    for piece, kind in (("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)):
        model.pieces.add(piece=piece, score=0, type=kind)
    for piece, score in scores.items():
        model.pieces.add(piece=piece, score=score, type=UNUSED if piece in unused else NORMAL)
    for piece in user_defined:
        model.pieces.add(piece=piece, score=0, type=USER_DEFINED)
    model.trainer_spec.model_type = 1
    model.trainer_spec.pad_id, model.trainer_spec.eos_id = PAD, EOS
    model.trainer_spec.unk_id, model.trainer_spec.bos_id = UNK, -1
    model.normalizer_spec.precompiled_charsmap = charsmap
    model.normalizer_spec.add_dummy_prefix = add_dummy_prefix
    model.normalizer_spec.remove_extra_whitespaces = remove_extra_whitespaces
    model.normalizer_spec.escape_whitespaces = escape_whitespaces
    return model


def charsmap_of(rule: str) -> bytes:
    """sentencepiece's own precompiled charsmap called `rule`, such as nmt_nfkc."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words to train on"] * 20),
        model_writer=made,
        model_type="unigram",
        vocab_size=30,
        hard_vocab_limit=False,
        normalization_rule_name=rule,
        minloglevel=2,
    )
    return sentencepiece_model_pb2.ModelProto.FromString(made.getvalue()).normalizer_spec.precompiled_charsmap
