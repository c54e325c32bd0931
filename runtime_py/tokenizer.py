"""Text to token ids: sentencepiece's unigram model, exactly, without sentencepiece.

Normalise by the model's own charsmap, then the most probable segmentation (Kudo 2018, arXiv 1804.10959).
Text like "</s>" is text: special tokens are never read out of a prompt. It knows no model beyond ids.
"""

import base64
import json
import math
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py import strict_json
from runtime_py.errors import BundleError, UsageError
from runtime_py.files import replace_file

FORMAT = 1
MAX_BYTES = 64 << 20
MAX_PIECES = 1 << 20
MAX_PIECE_BYTES = 512
MAX_SCORE = 1e9  # far from where float32 sums of scores would overflow
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
TYPES = (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED)
UNKNOWN_PENALTY = 10.0
USER_DEFINED_BONUS = 0.1
SPACE = "\u2581"
LEAST_SPELLED = 3  # characters: shorter words may well be letters
REPLACEMENT = "\ufffd".encode()
FLOAT32 = struct.Struct("<f")

# What the JSON holds under each key, and in each list.
FIELDS: dict[str, type] = {
    **dict.fromkeys(("pieces", "scores", "types"), list),
    **dict.fromkeys(("unk_id", "eos_id", "pad_id"), int),
    **dict.fromkeys(("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"), bool),
    "charsmap": str,
}
ITEMS: dict[str, tuple[type, ...]] = {"pieces": (str,), "scores": (float, int), "types": (int,)}


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt as the conditioner takes it: ids int32 [length] and mask float32 [length].

    tokens: how many of them are the prompt's, `</s>` among them; dropped: tokens that did not fit;
    unknown: how many of `tokens` are `<unk>`, what the model has no piece for. spelled_out: the words of three
    characters or more that the model reads letter by letter, each once.
    """

    ids: np.ndarray
    mask: np.ndarray
    tokens: int
    dropped: int
    unknown: int
    spelled_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """The model: `pieces`, their log probabilities and types, special ids, and how text is normalised.

    `scores` are float32 values; `types` are sentencepiece's: 1 normal, 2 unknown, 3 control, 4 user-defined,
    5 unused. `charsmap` is sentencepiece's precompiled one: the size of a double-array trie (uint32), the
    trie (uint32 units), then the replacements it points into, each ended by a zero byte. All little-endian.

    Raises:
        ValueError: a field that sentencepiece itself would refuse, or that no text could be tokenized with.
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

    def __post_init__(self) -> None:
        count = len(self.pieces)
        _require(1 <= count <= MAX_PIECES, "pieces", f"has {count} entries, expected 1 to {MAX_PIECES}")
        for key, length in (("scores", len(self.scores)), ("types", len(self.types))):
            _require(length == count, key, f"has {length} entries, pieces has {count}")
        for index, piece in enumerate(self.pieces):
            _require(1 <= _utf8_length(piece) <= MAX_PIECE_BYTES, f"pieces[{index}]", "is empty, too long or no text")
        twin, times = Counter(self.pieces).most_common(1)[0]
        _require(times == 1, "pieces", f"lists {twin!r} twice")
        for index, score in enumerate(self.scores):
            _require(abs(score) <= MAX_SCORE, f"scores[{index}]", f"is {score}, no log probability")
        for index, kind in enumerate(self.types):
            _require(kind in TYPES, f"types[{index}]", f"is {kind}, none of {', '.join(map(str, TYPES))}")
        for key, index in (("unk_id", self.unk_id), ("eos_id", self.eos_id), ("pad_id", self.pad_id)):
            _require(0 <= index < count, key, f"is {index}, no piece's id")
        unknown = [index for index, kind in enumerate(self.types) if kind == UNKNOWN]
        _require(unknown == [self.unk_id], "unk_id", f"is {self.unk_id}, but the pieces of type unknown are {unknown}")
        _require(NORMAL in self.types, "types", "has no normal piece")
        self._charsmap  # noqa: B018  (read now, so that a broken one is refused here)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` without `</s>`: what `SentencePieceProcessor.encode` gives; lone surrogates are U+FFFD."""
        return self._segment(self.normalize(text))

    def encode_prompt(self, text: str, length: int = 64) -> Prompt:
        """Ids and mask of exactly `length`: at most `length - 1` pieces, `</s>`, padding.

        Raises:
            UsageError: `length` leaves no room for `</s>`.
        """
        if length < 1:
            raise UsageError(f"a prompt of {length} tokens cannot hold </s>; ask for 1 or more")
        pieces = self.encode(text)
        kept = [*pieces[: length - 1], self.eos_id]
        padding = length - len(kept)
        return Prompt(
            ids=np.array(kept + [self.pad_id] * padding, np.int32),
            mask=np.array([1] * len(kept) + [0] * padding, np.float32),
            tokens=len(kept),
            dropped=len(pieces) - (len(kept) - 1),
            unknown=kept.count(self.unk_id),
            spelled_out=self._spelled_out(kept[:-1]),
        )

    def _spelled_out(self, ids: list[int]) -> tuple[str, ...]:
        words: list[list[str]] = [[]]
        for piece in (self.pieces[index] for index in ids):
            if piece.startswith(SPACE):
                words.append([])
            words[-1].append(piece.removeprefix(SPACE))
        spelled = ("".join(word) for word in words if all(len(piece) <= 1 for piece in word))
        return tuple(dict.fromkeys(word for word in spelled if len(word) >= LEAST_SPELLED))

    def normalize(self, text: str) -> str:
        """Characters replaced by the charsmap, runs of spaces folded, spaces written as U+2581."""
        if not text:
            return ""
        made = [b" "] if self.add_dummy_prefix else []
        after_space = folding = self.remove_extra_whitespaces
        for part in self._replaced(_utf8(text)):
            added = part.lstrip(b" ") if after_space else part
            if added:
                made.append(added)
                after_space = folding and added.endswith(b" ")
        spaced = b"".join(made).decode()
        escaped = spaced.replace(" ", SPACE) if self.escape_whitespaces else spaced
        return escaped.rstrip(SPACE if self.escape_whitespaces else " ") if folding else escaped

    def _replaced(self, data: bytes) -> Iterator[bytes]:
        """What each stretch of UTF-8 becomes: the longest match; user-defined symbols and all else as they are."""
        position = 0
        while position < len(data):
            matched = self._user_defined_at(data, position)
            replacement = data[position : position + matched]
            if not matched:
                matched, replacement = self._charsmap.longest(data, position)
            if not matched:
                matched = _character_bytes(data[position])
                replacement = data[position : position + matched] if matched else REPLACEMENT
            yield replacement
            position += matched or 1

    def _user_defined_at(self, data: bytes, position: int) -> int:
        """Bytes of the longest user-defined symbol that starts at `position`; 0 if none does."""
        symbols, lengths = self._user_defined
        return next((length for length in lengths if data[position : position + length] in symbols), 0)

    def _segment(self, text: str) -> list[int]:
        """Viterbi over character positions; a tie goes to the candidate found first, the piece that starts first.

        Sums are rounded to float32 after each piece, as sentencepiece keeps them, because that decides ties.
        A character that is no piece may stand alone as unknown.
        """
        vocabulary, longest = self._vocabulary
        best = [0.0] + [-math.inf] * len(text)
        back = [(-1, -1)] * (len(text) + 1)  # where the last piece of the best path starts, and its id
        for start in range(len(text)):
            for end in range(start + 1, min(start + longest, len(text)) + 1):
                found = vocabulary.get(text[start:end])
                if found is None:
                    if end > start + 1:
                        continue
                    found = self._unknown
                piece, score = found
                reached = _float32(best[start] + score)
                if reached > best[end]:
                    best[end], back[end] = reached, (start, piece)
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

        A user-defined symbol scores above zero by its length in bytes, as in sentencepiece 0.2.3, so that it
        wins against pieces; earlier releases have other formulas.
        """
        table = {}
        for index, (piece, score, kind) in enumerate(zip(self.pieces, self.scores, self.types)):
            if kind == NORMAL:
                table[piece] = (index, score)
            elif kind == USER_DEFINED:
                table[piece] = (index, _float32(USER_DEFINED_BONUS * (_utf8_length(piece) - 1)))
        return table, max(map(len, table))

    @cached_property
    def _unknown(self) -> tuple[int, float]:
        """Id and score of a character that is no piece."""
        lowest = min(score for score, kind in zip(self.scores, self.types) if kind == NORMAL)
        return self.unk_id, _float32(lowest - UNKNOWN_PENALTY)

    @cached_property
    def _user_defined(self) -> tuple[frozenset[bytes], tuple[int, ...]]:
        """The user-defined symbols, and their lengths, longest first."""
        symbols = frozenset(piece.encode() for piece, kind in zip(self.pieces, self.types) if kind == USER_DEFINED)
        return symbols, tuple(sorted(set(map(len, symbols)), reverse=True))

    @cached_property
    def _charsmap(self) -> "Charsmap":
        return Charsmap(self.charsmap)


class Charsmap:
    """sentencepiece's precompiled normalisation rules: a darts-clone double array over UTF-8 bytes.

    A unit is 32 bits. Of a node: label (bits 0-7), whether a rule ends here (8), and how far its children are
    (offset in 10-30, times 256 where bit 9 is set): the child for byte b is at (node ^ offset) ^ b, and the
    rule's value in the unit at node ^ offset, whose bit 31 is set. A value is a place in the replacements.

    Raises:
        ValueError: it is truncated, or a unit points outside; so that looking up never can.
    """

    def __init__(self, blob: bytes) -> None:
        self._units: list[int] = []
        self._replacements = b""
        if blob:
            units, self._replacements = _split_charsmap(blob)
            _check_links(units, self._replacements)
            self._units = units.tolist()

    def longest(self, data: bytes, start: int) -> tuple[int, bytes]:
        """Bytes matched at `start`, and what they become; (0, b"") when no rule applies."""
        units = self._units
        if not units:
            return 0, b""
        matched, value = 0, 0
        node = _offset(units[0])
        for position in range(start, len(data)):
            node ^= data[position]
            unit = units[node]
            if unit & 0x800000FF != data[position]:
                break
            node ^= _offset(unit)
            if unit >> 8 & 1:
                matched, value = position + 1 - start, units[node] & 0x7FFFFFFF
        if not matched:
            return 0, b""
        return matched, self._replacements[value : self._replacements.index(b"\0", value)]


def _split_charsmap(blob: bytes) -> tuple[np.ndarray, bytes]:
    """The trie's units (uint32) and the replacements."""
    size = int.from_bytes(blob[:4], "little")
    _require(0 < size <= len(blob) - 4 and size % 4 == 0, "charsmap", "is truncated")
    return np.frombuffer(blob, "<u4", size // 4, offset=4), blob[4 + size :]


def _check_links(units: np.ndarray, replacements: bytes) -> None:
    """Every node's children and value lie inside, and every value is where UTF-8 text starts."""
    _require(bool(units[0] >> 31 == 0), "charsmap", "has no root")
    nodes = np.flatnonzero(units >> 31 == 0)
    offsets = (units[nodes] >> 10) << ((units[nodes] & 0x200) >> 6)
    targets = nodes ^ offsets
    _require(bool((targets | 0xFF < len(units)).all()), "charsmap", "points outside its trie")
    values = units[targets[units[nodes] >> 8 & 1 == 1]] & 0x7FFFFFFF
    _require(bool((values < len(replacements)).all()), "charsmap", "points outside its replacements")
    text = np.frombuffer(replacements, np.uint8)
    _require(not replacements or replacements[-1] == 0, "charsmap", "does not end its last replacement")
    _require(_is_utf8(replacements) and bool((text[values] & 0xC0 != 0x80).all()), "charsmap", "holds broken UTF-8")


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def _character_bytes(lead: int) -> int:
    """Bytes of the UTF-8 character that starts with `lead`; 0 inside one, where a rule matched but its start."""
    return 1 if lead < 0x80 else 0 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def _utf8(text: str) -> bytes:
    """UTF-8 of `text`: surrogate pairs are the character they stand for, lone surrogates are U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _utf8_length(piece: str) -> int:
    """Bytes of UTF-8; 0 where it has none, because of a lone surrogate or a zero character."""
    try:
        return 0 if "\0" in piece else len(piece.encode())
    except UnicodeEncodeError:
        return 0


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _float32(value: float) -> float:
    return FLOAT32.unpack(FLOAT32.pack(value))[0]


def dump_tokenizer(tokenizer: Tokenizer) -> str:
    """The tokenizer's JSON text: `format`, which is 1, then the fields of `Tokenizer` under their names.

    A score is the shortest decimal that reads back as the same float32; `charsmap` is base64.
    """
    document: dict[str, Any] = {"format": FORMAT}
    document |= {field.name: getattr(tokenizer, field.name) for field in fields(tokenizer)}
    document["scores"] = [float(str(np.float32(score))) for score in tokenizer.scores]
    document["charsmap"] = base64.b64encode(tokenizer.charsmap).decode("ascii")
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write the tokenizer's JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    replace_file(path, dump_tokenizer(tokenizer).encode())


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer's JSON.

    Raises:
        BundleError: it is missing, of another format, or inconsistent; the message names the file and the key.
    """
    try:
        size = path.stat().st_size
        _require(size <= MAX_BYTES, "the file", f"has {size} bytes, more than {MAX_BYTES >> 20} MiB")
        return _parse(path.read_bytes().decode())
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; copy or build the bundle again") from error
    except (ValueError, OverflowError) as error:
        raise BundleError(f"{path}: {error}; rebuild the bundle") from error


def _parse(text: str) -> Tokenizer:
    document = strict_json.parse(text)
    _require(type(document) is dict, "the file", "is not a JSON object")
    version = document.pop("format", None)
    _require(type(version) is int and version == FORMAT, "format", f"is {version!r}, this edge-export reads {FORMAT}")
    for key in sorted(document.keys() ^ FIELDS.keys()):
        _require(key in document, key, "is missing")
        _require(key in FIELDS, key, "is not a key of this format")
    for key, kind in FIELDS.items():
        _require(type(document[key]) is kind, key, f"is {type(document[key]).__name__}, expected {kind.__name__}")
    for key, kinds in ITEMS.items():
        for index, item in enumerate(document[key]):
            _require(type(item) in kinds, f"{key}[{index}]", f"is {type(item).__name__}, expected {kinds[0].__name__}")
    try:
        charsmap = base64.b64decode(document["charsmap"], validate=True)
    except ValueError as error:
        raise ValueError(f"charsmap is not base64 ({error})") from error
    with np.errstate(over="ignore"):
        scores = np.array(document["scores"], np.float64).astype(np.float32).tolist()
    lists = {"pieces": tuple(document["pieces"]), "scores": tuple(scores), "types": tuple(document["types"])}
    return Tokenizer(**document | lists | {"charsmap": charsmap})


def _require(condition: bool, key: str, problem: str) -> None:
    if not condition:
        raise ValueError(f"{key} {problem}")
