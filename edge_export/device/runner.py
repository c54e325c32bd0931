"""What travels besides the bundle, and the command line that plays it.

Every runner takes the options of `edge-run`; what it does with them is not known here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_export.device.place import Payload, PlaceKind
from edge_export.progress import Progress

HERE = "{runner}"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """words: the command, in which {runner} stands for the payload's folder on the device; options follow.

    name: what begins its lines of error, such as "edge-run: error: ".
    """

    payload: Payload
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    name: str = "edge-run"

    def argv(self, at: str, options: list[str]) -> list[str]:
        """The whole command line, `at` being where the payload is."""
        return [*(word.replace(HERE, at) for word in self.words), *options]


MakeRunner = Callable[[PlaceKind, Progress], Runner]
