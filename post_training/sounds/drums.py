"""Drums and drum loops, one function for each kind. It knows nothing of captions, loudness or rooms."""

import math
from collections.abc import Callable

import numpy as np

from post_training.sounds.attributes import Attributes
from post_training.sounds.synth import (
    LEAD,
    RATE,
    Wave,
    band,
    count,
    decay,
    every,
    highpass,
    lowpass,
    oscillate,
    place,
    ring,
    scatter,
    sine,
    square,
    times,
    white,
)

STEPS = 16  # of a bar of four beats


def kick_hit(rng: np.random.Generator, stretch: float = 1.0, deep: float = 1.0) -> Wave:
    """A sine that falls from a click to the drum's own pitch."""
    seconds = 0.38 * stretch * rng.uniform(0.8, 1.2)
    samples = count(1.1 * seconds)
    base, punch = rng.uniform(44, 58) * deep, rng.uniform(140, 260)
    body = sine(base + punch * np.exp(-times(samples) / rng.uniform(0.015, 0.035)), samples) * decay(samples, seconds)
    click = highpass(white(rng, count(0.012)), 1500) * decay(count(0.012), 0.01)
    body[: len(click)] += 0.25 * click
    return np.tanh(1.6 * body)


def snare_hit(rng: np.random.Generator, stretch: float = 1.0) -> Wave:
    seconds = 0.22 * stretch * rng.uniform(0.8, 1.3)
    samples = count(1.1 * seconds)
    pitch = rng.uniform(165, 215)
    skin = ring([pitch, 1.78 * pitch], [0.16 * stretch, 0.1 * stretch], [0.8, 0.5], samples)
    wires = band(white(rng, samples), 1200, 9000) * decay(samples, seconds)
    return skin + 0.9 * wires


def metal(rng: np.random.Generator, samples: int) -> Wave:
    """Six square waves out of tune with each other, and noise: what machines make cymbals of."""
    pitches = np.array([205.3, 304.4, 369.6, 522.7, 540.0, 800.0]) * rng.uniform(0.9, 1.15)
    ringing = sum(oscillate(float(pitch), square(60), samples, rng.uniform()) for pitch in pitches)
    return highpass(0.3 * ringing + 0.4 * white(rng, samples), 6500, 3)


def hat_hit(rng: np.random.Generator, stretch: float = 1.0, opened: bool = False) -> Wave:
    seconds = (0.45 if opened else 0.09) * stretch * rng.uniform(0.8, 1.2)
    samples = count(1.1 * seconds)
    return metal(rng, samples) * decay(samples, seconds)


def crash_hit(rng: np.random.Generator, stretch: float = 1.0) -> Wave:
    seconds = 2.0 * stretch * rng.uniform(0.8, 1.2)
    samples = count(1.1 * seconds)
    wash = band(white(rng, samples), 2500, 12000) * decay(samples, 0.7 * seconds)
    return 0.6 * wash + 1.5 * metal(rng, samples) * decay(samples, seconds)


def tom_hit(rng: np.random.Generator, stretch: float = 1.0, pitch: float | None = None) -> Wave:
    seconds = 0.6 * stretch * rng.uniform(0.8, 1.2)
    samples = count(1.1 * seconds)
    base = pitch or rng.uniform(80, 190)
    bend = base * (1 + 0.7 * np.exp(-times(samples) / 0.05))
    stick = band(white(rng, samples), 400, 3000) * decay(samples, 0.06)
    over = 0.3 * sine(1.6 * bend, samples) * decay(samples, seconds / 2)
    return sine(bend, samples) * decay(samples, seconds) + over + 0.3 * stick


def clap_hit(rng: np.random.Generator, stretch: float = 1.0) -> Wave:
    """Several hands within 30 ms, then the room they are in."""
    seconds = 0.26 * stretch * rng.uniform(0.8, 1.2)
    samples = count(seconds + 0.06)
    noise = band(white(rng, samples), 900, 3500)
    envelope = np.zeros(samples)
    for start in (0.0, 0.009, 0.019, 0.03):
        at = count(start * rng.uniform(0.85, 1.15))
        envelope[at:] = np.maximum(envelope[at:], decay(samples - at, seconds if start == 0.03 else 0.03))
    return 2 * noise * envelope


def strikes(rng: np.random.Generator, attributes: Attributes, samples: int, interval: float) -> list[float]:
    """When something is struck again and again, or once."""
    return [0.0] if attributes.single else every(rng, samples, interval / attributes.rate, 0.03)


def struck(hit: Callable[[np.random.Generator, float], Wave], interval: float) -> Callable[..., Wave]:
    """A kind that strikes one drum, about every `interval` seconds, with small differences."""

    def make(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
        usual = [hit(rng, attributes.stretch) for _ in range(3)]
        starts = strikes(rng, attributes, samples, interval * rng.uniform(0.8, 1.25))
        return place(samples, [(start, usual[rng.integers(3)] * rng.uniform(0.8, 1)) for start in starts])

    return make


kick = struck(kick_hit, 0.7)
snare = struck(snare_hit, 0.75)
clap = struck(clap_hit, 0.8)
crash = struck(crash_hit, 2.2)


def hi_hat(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    closed, opened = hat_hit(rng, attributes.stretch), hat_hit(rng, attributes.stretch, True)
    starts = strikes(rng, attributes, samples, 0.28 * rng.uniform(0.85, 1.2))
    gains = np.where(np.arange(len(starts)) % 2, 0.6, 1.0)
    hits = [opened if index % 8 == 6 else closed for index in range(len(starts))]
    return place(samples, [(start, gain * hit) for start, gain, hit in zip(starts, gains, hits)])


def tom(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """From high to low and around again."""
    low = rng.uniform(75, 95)
    drums = [tom_hit(rng, attributes.stretch, low * step) for step in (1.9, 1.45, 1.0)]
    starts = strikes(rng, attributes, samples, 0.55 * rng.uniform(0.85, 1.2))
    first = int(rng.integers(3))
    events = [(start, drums[(first + i) % 3], 0.5 * ((first + i) % 3 - 1)) for i, start in enumerate(starts)]
    return scatter(samples, events)


# Loops: patterns of sixteenths, x loud, o soft; every bar may leave out or add a soft one.

Pattern = dict[str, tuple[str, ...]]

HOUSE: Pattern = {
    "kick": ("x...x...x...x...",),
    "clap": ("....x.......x...", "....x.......x..o"),
    "open": ("..x...x...x...x.",),
    "hat": ("x.o.x.o.x.o.x.o.", "xooxxooxxooxxoox", "oooooooooooooooo"),
}
TECHNO: Pattern = {
    "kick": ("x...x...x...x...",),
    "hat": ("..x...x...x...x.", "o.xoo.xoo.xoo.xo"),
    "low": (".ooo.ooo.ooo.ooo", "..oo..oo..oo..oo"),
    "tom": ("...x..o....x....", "......x.....x..o", ".x....o..x......"),
    "clap": ("................", "....o.......o..."),
}
BREAKBEAT: Pattern = {
    "kick": ("x.x.......xx....", "x..x......x.....", "x.x......x..x..."),
    "snare": ("....x..o.o..x..o", "....x..o....x.o.", "....x.o..o..x..."),
    "hat": ("x.x.x.x.x.x.x.x.", "x.xox.x.xox.x.x.", "x.x.x.xox.x.x.o."),
}
HIP_HOP: Pattern = {
    "kick": ("x......x..x.....", "x.x.......x....o", "x......x.xx....."),
    "snare": ("....x.......x...",),
    "hat": ("x.x.x.x.x.x.x.x.", "x.xox.x.x.xox.x.", "xoxox.x.x.xox.xx"),
}
LEVELS = {"kick": 1.0, "snare": 0.75, "clap": 0.6, "open": 0.35, "hat": 0.3, "low": 0.5, "tom": 0.35}


def loop(pattern: Pattern, *, swing: float = 0.0, deep: float = 1.0) -> Callable[..., Wave]:
    """A kind that repeats a pattern at the stated beats per minute; `swing` delays every second sixteenth."""

    def make(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
        assert attributes.bpm is not None
        step = 60 / attributes.bpm / 4
        hits = {
            "kick": kick_hit(rng, 0.8 if swing == 0 else 1.2, deep),
            "snare": snare_hit(rng),
            "clap": clap_hit(rng),
            "open": hat_hit(rng, 0.7, True),
            "hat": hat_hit(rng, 0.8),
            "tom": tom_hit(rng, 0.4, rng.uniform(180, 420)),
            "low": lowpass(white(rng, count(step)), 90) * np.sin(np.pi * np.arange(count(step)) / count(step)) * 4,
        }
        sides = {"hat": rng.uniform(-0.4, 0.4), "open": rng.uniform(-0.4, 0.4), "tom": rng.uniform(-0.6, 0.6)}
        chosen = {name: choices[rng.integers(len(choices))] for name, choices in pattern.items()}
        events: list[tuple[float, Wave, float]] = []
        for index in range(math.ceil((samples / RATE - LEAD) / step)):
            start = index * step + (swing * step if index % 2 else 0)
            for name, steps in chosen.items():
                mark = steps[index % STEPS]
                if mark == "." and not (name == "hat" and rng.uniform() < 0.04):
                    continue
                gain = LEVELS[name] * (1.0 if mark == "x" else 0.4) * rng.uniform(0.9, 1)
                events.append((start, gain * hits[name], sides.get(name, 0.0)))
        return scatter(samples, events)

    return make


house_loop = loop(HOUSE)
techno_loop = loop(TECHNO, deep=0.92)
breakbeat_loop = loop(BREAKBEAT, deep=1.15)
hip_hop_loop = loop(HIP_HOP, swing=0.3, deep=0.95)
