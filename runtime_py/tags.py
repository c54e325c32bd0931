"""What a WAV says of itself: the prompt, what made it, and how to make it again. It does not know how sound is made.

A RIFF chunk LIST of kind INFO after the data, which some readers expect early: INAM, the prompt with a space for every
control character (U+0000 to U+001F, and U+007F); ISFT, "edge-export"; ICMT, `comment_of`. Each text is UTF-8, ended by
a zero byte, padded to an even length.
"""

import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from runtime_py import strict_json
from runtime_py.errors import UsageError
from runtime_py.finishing import Finishing
from runtime_py.request import Request
from runtime_py.schema import SchemaError, read_as, require

SOFTWARE = "edge-export"
MAX_INFO_BYTES = 2 << 20  # a prompt of 100 000 characters, twice
MOST_CHUNKS = 1000


@dataclass(frozen=True, kw_only=True)
class Tags:
    """bundle: the sha256 of its manifest.json. request: nothing is left open."""

    bundle: str
    request: Request
    finishing: Finishing

    def validate(self, path: str) -> None:
        del path
        require(re.fullmatch("[0-9a-f]{64}", self.bundle) is not None, "bundle", "is no sha256")
        require(self.request.steps is not None, "request.steps", "is missing")


def title_of(tags: Tags) -> str:
    """The prompt without control characters."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", tags.request.prompt)


def comment_of(tags: Tags) -> str:
    """Bundle, request and finishing as JSON without spaces; other letters than ASCII's stay as they are."""
    return json.dumps(asdict(tags), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def info_chunk(tags: Tags) -> bytes:
    """The chunk as it stands in a WAV."""
    texts = {b"INAM": title_of(tags), b"ISFT": SOFTWARE, b"ICMT": comment_of(tags)}
    return _chunk(b"LIST", b"INFO" + b"".join(_chunk(name, text.encode() + b"\0") for name, text in texts.items()))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def read_tags(path: Path) -> Tags:
    """The tags of a WAV that a runtime wrote; of the file no more is read than where its chunks begin.

    Raises:
        UsageError: the file cannot be read, is no WAV, or holds no tags of ours.
    """
    try:
        with path.open("rb") as file:
            info = next(_infos(file), None)
        if info is None:
            raise ValueError("it has none")
        comment = dict(_texts(info)).get(b"ICMT")
        if comment is None:
            raise ValueError("it has no comment")
        return read_as(Tags, strict_json.parse(comment.decode()))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; name a WAV file") from error
    except SchemaError as error:
        raise _foreign(path, str(error)) from error
    except (ValueError, RecursionError) as error:  # a zero byte in the name, too
        plain = isinstance(error, RecursionError | UnicodeDecodeError | json.JSONDecodeError)
        raise _foreign(path, "its comment is no JSON" if plain else str(error)) from error


def _foreign(path: Path, reason: str) -> UsageError:
    return UsageError(f"{path} holds no tags of edge-export ({reason}); compare a run's record, made with --record")


def _infos(file: BinaryIO) -> Iterator[bytes]:
    """The bodies of its INFO lists, without that word."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("it does not begin as RIFF WAVE")
    for _ in range(MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], "little")
        if header[:4] == b"LIST" and size >= 4:
            if size > MAX_INFO_BYTES:
                raise ValueError(f"its list of {size} bytes is too large")
            body = file.read(size)
            if len(body) < size:
                raise ValueError("it is truncated")
            if body[:4] == b"INFO":
                yield body[4:]
            file.seek(size % 2, os.SEEK_CUR)
        else:
            file.seek(size + size % 2, os.SEEK_CUR)


def _texts(info: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(info):
        size = int.from_bytes(info[position + 4 : position + 8], "little")
        text = info[position + 8 : position + 8 + size]
        if len(text) < size:
            raise ValueError("its list is truncated")
        yield info[position : position + 4], text.rstrip(b"\0")
        position += 8 + size + size % 2
