"""JSON from a stranger: no NaN, no key twice, no nesting deep enough to exhaust the stack.

Python's own parser stops at the recursion limit, which some toolchains raise beyond what the stack holds.
"""

import json
import re
from typing import Any

MAX_DEPTH = 64
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def parse(text: str) -> Any:
    """The document in `text`.

    Raises:
        ValueError: not JSON, or one of the above; the message says which.
    """
    _refuse_depth(text)
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_twins)


def _refuse_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"holds {name}, which is not a number JSON allows")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"gives {next(name for name in names if names.count(name) > 1)!r} twice")
    return document
