"""What the tests of several packages share: a command's answer, and a document with one value changed."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """What `program` answered."""

    program: str
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of error, and the proof that it is one and no traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith(f"{self.program}: error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


def replaced(document: Any, path: str, value: Any) -> Any:
    """`document` with the value at a dotted path replaced, in place; ... deletes it."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = document
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document
