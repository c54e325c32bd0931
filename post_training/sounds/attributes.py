"""What a caption states and signal processing could check. It knows nothing of how a sound is made or worded."""

from dataclasses import dataclass

BRIGHTNESS = ("bright", "dark")
PACE = ("slow", "fast")
HITS = ("slow", "fast", "single")  # the pace of what can be struck once
PAN = ("left", "right")
SPACE = ("dry", "reverberant")
LENGTH = ("short", "long")
LEVEL = ("quiet", "loud")
AXES = (HITS, BRIGHTNESS, LENGTH, LEVEL, SPACE, PAN)

Axis = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """A sound in words: at most one adjective of each axis; beats per minute, a key or a note where it has them."""

    kind: str
    adjectives: tuple[str, ...] = ()
    bpm: float | None = None
    key: str | None = None  # "A minor"
    note: str | None = None  # "C#4", where A4 is 440 Hz

    def on(self, axis: Axis) -> str | None:
        """The adjective chosen from `axis`, if one was."""
        return next((word for word in self.adjectives if word in axis), None)

    @property
    def single(self) -> bool:
        return "single" in self.adjectives

    @property
    def rate(self) -> float:
        """How many times as often as usual things happen."""
        return {"slow": 0.5, "fast": 2.1}.get(self.on(HITS) or "", 1.0)

    @property
    def stretch(self) -> float:
        """How many times as long as usual a sound rings."""
        return {"short": 0.4, "long": 2.4}.get(self.on(LENGTH) or "", 1.0)
