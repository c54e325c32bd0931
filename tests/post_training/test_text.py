"""The tokenizer: trained on captions, the same every time, and understood by the runtime as by sentencepiece."""

import numpy as np
import pytest

from edge_export.errors import UsageError
from edge_export.tokenizer_export import read_spiece
from post_training.text import tokenize, train_spiece
from tests.post_training.small import draw

CAPTIONS = [draw(seed, seconds=0.01).caption for seed in range(40)]


@pytest.fixture(scope="module")
def spiece() -> bytes:
    return train_spiece(CAPTIONS, 220)


def test_the_same_bytes_every_time(spiece):
    assert train_spiece(CAPTIONS, 220) == spiece


def test_a_caption_ends_with_eos_also_when_it_is_cut(spiece):
    ids, mask = tokenize(spiece, ["loud low hum", "loud low hum " * 20, ""], 16)
    assert ids.shape == mask.shape == (3, 16) and (ids.dtype, mask.dtype) == (np.int64, np.float32)
    length = int(mask[0].sum())
    assert ids[0, length - 1] == 1 and not ids[0, length:].any() and mask[0, :length].all()
    assert ids[1, 15] == 1 and mask[1].all() and ids[1, :14].all()
    assert ids[2].tolist() == [1] + [0] * 15 and mask[2].sum() == 1


def test_too_few_pieces_are_refused_in_one_line():
    with pytest.raises(UsageError, match=r"no tokenizer of 50 pieces .*; raise network\.pieces"):
        train_spiece(CAPTIONS, 50)


def test_the_runtime_reads_it_alike(spiece, tmp_path):
    path = tmp_path / "spiece.model"
    path.write_bytes(spiece)
    tokenizer = read_spiece(path)
    for caption in (*CAPTIONS[:5], "Zebra 120 BPM, in F#!"):
        ids, mask = tokenize(spiece, [caption], 32)
        prompt = tokenizer.encode_prompt(caption, 32)
        assert np.array_equal(prompt.ids, ids[0]) and np.array_equal(prompt.mask, mask[0])
