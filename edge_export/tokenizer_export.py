"""A sentencepiece model file to the bundle's tokenizer, which needs no sentencepiece to be used."""

from pathlib import Path

from edge_export.errors import CheckpointError
from runtime_py.errors import first_line
from runtime_py.tokenizer import Tokenizer

UNIGRAM = 1


def read_spiece(path: Path) -> Tokenizer:
    """Read `spiece.model`.

    Raises:
        CheckpointError: it is missing, truncated, no sentencepiece model, or of a kind the runtime does not have.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; fetch the T5 folder again") from error
    except DecodeError as error:
        raise CheckpointError(
            f"{path} is truncated or no sentencepiece model ({first_line(error)}); fetch it again"
        ) from error
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    special = (trainer.unk_id, trainer.eos_id, trainer.pad_id)
    for wrong, what in (
        (not model.pieces, "is no sentencepiece model: it has no pieces"),
        # the specs follow the pieces in the file: cut between two fields, it still parses
        (not (model.HasField("trainer_spec") and model.HasField("normalizer_spec")), "is truncated: it lacks a spec"),
        # protobuf gives bytes where a string is no UTF-8
        (not all(isinstance(piece.piece, str) for piece in model.pieces), "is damaged: a piece is no text"),
        (trainer.model_type != UNIGRAM, "is not a unigram model"),
        (trainer.byte_fallback, "falls back to bytes, which T5's does not"),
        (trainer.treat_whitespace_as_suffix, "puts spaces behind words, which T5's does not"),
        (min(special) < 0, "lacks <unk>, </s> or <pad>"),
    ):
        if wrong:
            raise CheckpointError(f"{path} {what}; use the T5 folder that was published with the checkpoint")
    try:
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
    except ValueError as error:
        raise CheckpointError(f"{path} is no sound sentencepiece model: {error}; fetch it again") from error
