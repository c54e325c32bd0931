"""Text to token ids: sentencepiece's unigram model, exactly, without sentencepiece.

Normalise by the model's own charsmap, then the most probable segmentation (Kudo 2018, arXiv 1804.10959).
Text like "</s>" is text: special tokens are never read out of a prompt. It knows no model beyond ids.
"""

import base64
import binascii
import json
import math
import struct
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py.audio import replace_file
from runtime_py.errors import BundleError

FORMAT = 1
MAX_BYTES = 64 << 20
MAX_PIECES = 1 << 20
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
TYPES = (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED)
UNKNOWN_PENALTY = 10.0
SPACE = "\u2581"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt as the conditioner takes it: ids int32 [length] and mask float32 [length].

    tokens: how many of them are the prompt's, `</s>` among them; dropped: tokens that did not fit;
    unknown: tokens the model has no piece for.
    """

    ids: np.ndarray
    mask: np.ndarray
    tokens: int
    dropped: int
    unknown: int


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """The model: `pieces`, their log probabilities and types, special ids, and how text is normalised.

    `charsmap` is sentencepiece's precompiled one: the size of a double-array trie (uint32), the trie
    (uint32 units), then the replacements it points into, each ended by a zero byte. All little-endian.
    """

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    unk_id: int
    eos_id: int
    pad_id: int
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    charsmap: bytes

    def encode(self, text: str) -> list[int]:
        """Ids of `text` without `</s>`: what `SentencePieceProcessor.encode` gives."""
        return self._segment(self.normalize(text))

    def encode_prompt(self, text: str, length: int) -> Prompt:
        """Ids and mask of exactly `length`: at most `length - 1` pieces, `</s>`, padding."""
        pieces = self.encode(text)
        kept = [*pieces[: length - 1], self.eos_id]
        padding = length - len(kept)
        return Prompt(
            ids=np.array(kept + [self.pad_id] * padding, np.int32),
            mask=np.array([1] * len(kept) + [0] * padding, np.float32),
            tokens=len(kept),
            dropped=len(pieces) - (len(kept) - 1),
            unknown=kept.count(self.unk_id),
        )

    def normalize(self, text: str) -> str:
        """Characters replaced by the charsmap, runs of spaces folded, spaces written as U+2581."""
        replaced = self._replace(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
        if self.remove_extra_whitespaces:
            replaced = " ".join(part for part in replaced.split(" ") if part)
        if not replaced:
            return ""
        spaced = f" {replaced}" if self.add_dummy_prefix else replaced
        return spaced.replace(" ", SPACE) if self.escape_whitespaces else spaced

    def _replace(self, text: str) -> str:
        """Longest match first; user-defined symbols and characters that match nothing stay as they are."""
        data, made, position = text.encode(), bytearray(), 0
        while position < len(data):
            kept = self._user_defined_at(data, position)
            if kept:
                made += data[position : position + kept]
                position += kept
                continue
            matched, replacement = self._charsmap.longest(data, position)
            if not matched:
                matched = _character_bytes(data[position])
                replacement = data[position : position + matched]
            made += replacement
            position += matched
        return made.decode("utf-8", "replace")

    def _user_defined_at(self, data: bytes, position: int) -> int:
        return max((len(symbol) for symbol in self._user_defined if data.startswith(symbol, position)), default=0)

    def _segment(self, text: str) -> list[int]:
        """Viterbi over character positions; ties go to the candidate found first, the shorter piece.

        Sums are rounded to float32 where sentencepiece keeps them so, because ties are decided by them.
        """
        vocabulary, longest = self._vocabulary
        best = [0.0] + [-math.inf] * len(text)
        back: list[tuple[int, int]] = [(-1, -1)] * (len(text) + 1)
        for start in range(len(text)):
            here = best[start]
            single = False
            for end in range(start + 1, min(start + longest, len(text)) + 1):
                found = vocabulary.get(text[start:end])
                if found is None:
                    continue
                piece, score = found
                single = single or end == start + 1
                reached = _float32(here + score)
                if back[end][0] < 0 or reached > best[end]:
                    best[end], back[end] = reached, (start, piece)
            if not single:
                unknown = _float32(here + self._unknown_score)
                if back[start + 1][0] < 0 or unknown > best[start + 1]:
                    best[start + 1], back[start + 1] = unknown, (start, self.unk_id)
        return self._trace(back)

    def _trace(self, back: list[tuple[int, int]]) -> list[int]:
        """Ids along the best path; neighbouring unknowns count as one."""
        ids: list[int] = []
        position = len(back) - 1
        while position > 0:
            position, piece = back[position]
            if not (piece == self.unk_id and ids and ids[-1] == self.unk_id):
                ids.append(piece)
        return ids[::-1]

    @cached_property
    def _vocabulary(self) -> tuple[dict[str, tuple[int, float]], int]:
        """Piece -> (id, score) of all that text can become, and the longest piece's characters.

        A user-defined symbol scores its bytes times the best score, less 0.1, so that it always wins.
        """
        normal = [score for score, kind in zip(self.scores, self.types) if kind == NORMAL]
        highest = max(normal, default=0.0)
        table = {}
        for index, (piece, score, kind) in enumerate(zip(self.pieces, self.scores, self.types)):
            if kind == NORMAL:
                table[piece] = (index, score)
            elif kind == USER_DEFINED:
                table[piece] = (index, len(piece.encode()) * highest - 0.1)
        return table, max(map(len, table), default=0)

    @cached_property
    def _unknown_score(self) -> float:
        normal = [score for score, kind in zip(self.scores, self.types) if kind == NORMAL]
        return _float32(min(normal, default=0.0) - UNKNOWN_PENALTY)

    @cached_property
    def _user_defined(self) -> tuple[bytes, ...]:
        return tuple(piece.encode() for piece, kind in zip(self.pieces, self.types) if kind == USER_DEFINED)

    @cached_property
    def _charsmap(self) -> "Charsmap":
        return Charsmap(self.charsmap)


class Charsmap:
    """sentencepiece's precompiled normalisation rules: a darts-clone double array over UTF-8 bytes."""

    def __init__(self, blob: bytes) -> None:
        self._units: tuple[int, ...] = ()
        self._replacements = b""
        if not blob:
            return
        size = struct.unpack_from("<I", blob)[0] if len(blob) >= 4 else len(blob)
        if size % 4 or 4 + size > len(blob):
            raise BundleError("the tokenizer's charsmap is truncated; rebuild the bundle")
        self._units = struct.unpack_from(f"<{size // 4}I", blob, 4)
        self._replacements = blob[4 + size :]

    def longest(self, data: bytes, start: int) -> tuple[int, bytes]:
        """Bytes matched at `start`, and what they become; (0, b"") when no rule applies."""
        units = self._units
        matched, value = 0, 0
        if not units:
            return 0, b""
        node = _offset(units[0])
        for position in range(start, len(data)):
            node ^= data[position]
            if node >= len(units) or units[node] & 0x800000FF != data[position]:
                break
            unit = units[node]
            node ^= _offset(unit)
            if node >= len(units):
                raise BundleError("the tokenizer's charsmap points outside itself; rebuild the bundle")
            if unit >> 8 & 1:
                matched, value = position + 1 - start, units[node] & 0x7FFFFFFF
        if not matched:
            return 0, b""
        end = self._replacements.find(b"\0", value)
        if value >= len(self._replacements) or end < 0:
            raise BundleError("the tokenizer's charsmap points outside itself; rebuild the bundle")
        return matched, self._replacements[value:end]


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def _character_bytes(lead: int) -> int:
    """Bytes of the UTF-8 character that starts with `lead`."""
    return 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def _float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write the tokenizer's JSON: its fields; scores in float32's shortest digits, charsmap in base64."""
    document: dict[str, Any] = {"format": FORMAT}
    document |= {field.name: getattr(tokenizer, field.name) for field in fields(tokenizer)}
    document["scores"] = [float(str(np.float32(score))) for score in tokenizer.scores]
    document["charsmap"] = base64.b64encode(tokenizer.charsmap).decode("ascii")
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    replace_file(path, text.encode("utf-8"))


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer's JSON.

    Raises:
        BundleError: it is missing, of another format, or inconsistent.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BundleError(f"{path} is larger than {MAX_BYTES >> 20} MiB; rebuild the bundle")
        document = json.loads(path.read_bytes())
        return _parse(document)
    except _Malformed as error:
        raise BundleError(f"{path}: {error}; rebuild the bundle") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no tokenizer ({error}); rebuild the bundle") from error


class _Malformed(Exception):
    """What is wrong with a tokenizer's JSON, without the path."""


def _parse(document: Any) -> Tokenizer:
    names = [field.name for field in fields(Tokenizer)]
    _require(isinstance(document, dict), "is not an object")
    _require(document.get("format") == FORMAT, f"format is {document.get('format')!r}, expected {FORMAT}")
    _require(set(document) == {"format", *names}, f"its keys are not exactly format, {', '.join(names)}")
    pieces, scores, types = (_list(document, key) for key in ("pieces", "scores", "types"))
    _require(1 <= len(pieces) <= MAX_PIECES, "has no pieces, or too many")
    _require(len(pieces) == len(scores) == len(types), "pieces, scores and types differ in length")
    _require(all(isinstance(piece, str) and piece for piece in pieces), "a piece is no text, or empty")
    _require(len(set(pieces)) == len(pieces), "a piece is listed twice")
    _require(all(type(kind) is int and kind in TYPES for kind in types), f"a type is none of {TYPES}")
    _require(all(type(score) in (int, float) and abs(score) < 1e9 for score in scores), "a score is no finite number")
    for key in ("unk_id", "eos_id", "pad_id"):
        index = document[key]
        _require(type(index) is int and 0 <= index < len(pieces), f"{key} is no piece's id")
    for key in ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        _require(type(document[key]) is bool, f"{key} is neither true nor false")
    _require(isinstance(document["charsmap"], str), "charsmap is no text")
    try:
        for piece in pieces:
            piece.encode("utf-8")
        charsmap = base64.b64decode(document["charsmap"], validate=True)
        Charsmap(charsmap)
    except (binascii.Error, UnicodeEncodeError, BundleError) as error:
        raise _Malformed(str(error)) from error
    return Tokenizer(
        pieces=tuple(pieces),
        scores=tuple(_float32(score) for score in scores),
        types=tuple(types),
        charsmap=charsmap,
        **{key: document[key] for key in names if key not in ("pieces", "scores", "types", "charsmap")},
    )


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document[key]
    _require(isinstance(value, list), f"{key} is no list")
    return list(value)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise _Malformed(problem)
