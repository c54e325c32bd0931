"""Many prompts in one file, a JSON object a line: {"prompt": "rain", "seconds": 5, "seed": 1, "steps": 8}.

All but the prompt may be left out. It does not know what they are played with.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from edge_export.errors import UsageError
from runtime_py import strict_json
from runtime_py.schema import SchemaError, read_as

MAX_BYTES = 16 << 20
MOST_PROMPTS = 1000
STDIN = Path("-")


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """What one line asks for; None is the command line's."""

    prompt: str
    seconds: float | None = None
    seed: int | None = None
    steps: int | None = None


def read_prompts(path: Path) -> list[PromptLine]:
    """The lines of `path`, or of standard input for `-`; empty ones at the end are none.

    Raises:
        UsageError: it cannot be read, is too large, holds nothing, or a line is none: which one, and why.
    """
    try:
        data = _bytes(path).rstrip()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', error)}; name a file of prompts") from error
    lines = data.split(b"\n") if data else []
    if not 1 <= len(lines) <= MOST_PROMPTS:
        raise UsageError(f"{path} holds {len(lines)} lines, expected 1 to {MOST_PROMPTS}, each a prompt in JSON")
    return [_line(data, f"{path}, line {number}") for number, data in enumerate(lines, start=1)]


def _bytes(path: Path) -> bytes:
    if path == STDIN:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES >> 20} MiB; split it")
    return data


def _line(data: bytes, place: str) -> PromptLine:
    if not data.strip():
        raise UsageError(f'{place} is empty; write {{"prompt": "rain"}}, or take it out')
    try:
        return read_as(PromptLine, strict_json.parse(data.decode()), defaults=True)
    except UnicodeDecodeError as error:
        raise UsageError(f"{place} is not UTF-8; save the file as UTF-8") from error
    except SchemaError as error:
        raise UsageError(f"{place}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{place} is no JSON ({error}); write {{"prompt": "rain"}}') from error
