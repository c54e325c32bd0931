"""A sentencepiece model file to the bundle's tokenizer, which needs no sentencepiece to be used."""

from pathlib import Path

from edge_export.errors import CheckpointError
from runtime_py.tokenizer import Tokenizer

UNIGRAM = 1


def read_spiece(path: Path) -> Tokenizer:
    """Read `spiece.model`.

    Raises:
        CheckpointError: it is truncated, no sentencepiece model, or of a kind the runtime does not have.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no sentencepiece model ({error}); fetch it again") from error
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    for wrong, what in (
        (not model.pieces, "has no pieces"),
        (trainer.model_type != UNIGRAM, "is not a unigram model"),
        (trainer.byte_fallback, "falls back to bytes, which T5's does not"),
        (trainer.treat_whitespace_as_suffix, "puts spaces behind words, which T5's does not"),
        (min(trainer.unk_id, trainer.eos_id, trainer.pad_id) < 0, "lacks <unk>, </s> or <pad>"),
        (max(trainer.unk_id, trainer.eos_id, trainer.pad_id) >= len(model.pieces), "has special ids beyond its pieces"),
    ):
        if wrong:
            raise CheckpointError(f"{path} {what}; use the T5 folder that was published with the checkpoint")
    return Tokenizer(
        pieces=tuple(piece.piece for piece in model.pieces),
        scores=tuple(piece.score for piece in model.pieces),
        types=tuple(piece.type for piece in model.pieces),
        unk_id=trainer.unk_id,
        eos_id=trainer.eos_id,
        pad_id=trainer.pad_id,
        add_dummy_prefix=normalizer.add_dummy_prefix,
        remove_extra_whitespaces=normalizer.remove_extra_whitespaces,
        escape_whitespaces=normalizer.escape_whitespaces,
        charsmap=normalizer.precompiled_charsmap,
    )
