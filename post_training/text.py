"""Captions to token ids, by a sentencepiece model trained on captions.

It knows no sounds: only lines of text.
"""

from collections.abc import Iterable

import numpy as np

from edge_export.errors import UsageError
from edge_export.new_tokenizer import train_on
from runtime_py.errors import first_line

EMPTY = ""
EOS = 1


def train_spiece(captions: Iterable[str], pieces: int) -> bytes:
    """A `spiece.model` of at most `pieces` pieces: the same bytes for the same captions.

    Raises:
        UsageError: so few pieces that they do not hold the letters.
    """
    try:
        return train_on(iter(captions), pieces, exactly=False)
    except RuntimeError as error:
        raise UsageError(
            f"no tokenizer of {pieces} pieces from these captions ({first_line(error)}); raise network.pieces"
        ) from error


def tokenize(spiece: bytes, captions: Iterable[str], tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """ids int64 [captions, tokens], padded with 0, and mask float32, 1 for a caption's own tokens.

    Every caption ends with `</s>`, also when it is cut (as T5's tokenizer does it).
    """
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_proto=spiece)
    rows = [[*model.encode(caption)[: tokens - 1], EOS] for caption in captions]
    ids = np.zeros((len(rows), tokens), np.int64)
    mask = np.zeros((len(rows), tokens), np.float32)
    for row, values in enumerate(rows):
        ids[row, : len(values)] = values
        mask[row, : len(values)] = 1
    return ids, mask
