"""What travels besides the bundle, and the command line that plays it; of an app, which is there already, neither.

Every command takes the options of `edge-run`; what it does with them is not known here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_export.device.place import Payload, PlaceKind
from edge_export.progress import Progress

HERE = "{runner}"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """words: the command, in which {runner} stands for the payload's folder on the device; options follow.

    payload, words: none of a place's own runner. name: what begins its lines of error, such as "edge-run: error: ".
    remedy: what to do with a runner that writes what cannot be read.
    """

    payload: Payload | None = None
    words: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    name: str = "edge-run"
    remedy: str = "rebuild the runner"

    @property
    def bytes(self) -> int:
        """Of what travels."""
        return 0 if self.payload is None else self.payload.bytes

    def argv(self, at: Callable[[Payload], str], options: list[str]) -> list[str]:
        """The whole command line, `at` saying where a payload is; empty of a place's own runner."""
        if self.payload is None:
            return []
        here = at(self.payload)
        return [*(word.replace(HERE, here) for word in self.words), *options]


MakeRunner = Callable[[PlaceKind, Progress], Runner]
