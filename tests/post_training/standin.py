"""Three kinds that need no synthesis, behind the signature of `post_training.sounds.draw`."""

from dataclasses import dataclass

import numpy as np

RATE = 44100
KINDS = {"beep": 0, "hiss": 1, "clicks": 2}


@dataclass(frozen=True, kw_only=True)
class Attributes:
    kind: str
    adjectives: tuple[str, ...] = ()
    bpm: float | None = None
    key: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Clip:
    audio: np.ndarray
    caption: str
    attributes: Attributes


def draw(seed: int, *, seconds: float = 7.43, held_out: bool = False) -> Clip:
    random = np.random.default_rng([seed, held_out])
    kind = list(KINDS)[int(random.integers(3))]
    side = ("left", "right")[int(random.integers(2))]
    time = np.arange(round(seconds * RATE)) / RATE
    level = float(random.uniform(0.2, 0.6))
    bpm = note = None
    if kind == "beep":
        note = ("A", "C", "E")[int(random.integers(3))]
        hertz = {"A": 440.0, "C": 523.251, "E": 659.255}[note]
        wave = np.sin(2 * np.pi * hertz * time)
    elif kind == "hiss":
        wave = random.standard_normal(len(time)) / 3
    else:
        bpm = float(random.integers(80, 160))
        wave = random.standard_normal(len(time)) * np.exp(-(time % (60 / bpm)) / 0.01)
    gains = (1.0, 0.3) if side == "left" else (0.3, 1.0)
    stated = "".join([f" at {bpm:g} BPM" if bpm else "", f" on {note}" if note else ""])
    return Clip(
        audio=np.stack([level * gain * wave for gain in gains]).astype(np.float32),
        caption=f"a {kind} on the {side}{stated}",
        attributes=Attributes(kind=kind, adjectives=(side,), bpm=bpm, note=note),
    )
