"""Weather, water, fire, animals and people, one function for each kind. It knows nothing of captions or loudness."""

import math

import numpy as np

from post_training.sounds.attributes import Attributes
from post_training.sounds.synth import (
    LEAD,
    RATE,
    Wave,
    band,
    brown,
    count,
    decay,
    every,
    highpass,
    impulses,
    lowpass,
    moving,
    oscillate,
    pink,
    place,
    randomly,
    ring,
    saw,
    scatter,
    sine,
    square,
    swell,
    times,
    twice,
    wander,
    white,
)


def rain(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A wash of far drops, and near ones that tick."""
    sides = []
    for _ in range(2):
        wash = band(white(rng, samples), 1000, 9000)
        near = band(impulses(rng, samples, 90, 0.9), 1500, 6000)
        sides.append(0.25 * wash * wander(rng, samples, 0.6, 0.8, 1.1) + 1.0 * near)
    return twice(sides[0], sides[1])


def wind(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Noise through a resonance that rises as the gust grows."""
    gust = wander(rng, samples, 0.9, 0.0, 1.0)
    noise = np.stack([white(rng, samples), white(rng, samples)])
    howl = moving(noise, 250 + 900 * gust, 5, shape="band")
    left, right = (howl + 0.15 * lowpass(noise, 500)) * (0.15 + gust)
    return twice(left, right, 0.6)


def waves(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Each wave rises for a while, breaks, and runs out hissing."""
    interval = 4.2 / attributes.rate * rng.uniform(0.85, 1.2)
    phase = times(samples) / interval + rng.uniform()
    part = phase % 1
    rise = np.where(part < 0.35, (part / 0.35) ** 2.5, np.exp(-(part - 0.35) * 4.2))
    sides = []
    for _ in range(2):
        roar = lowpass(pink(rng, samples), 1100)
        foam = highpass(white(rng, samples), 2500, 1)
        sides.append((1.5 * roar + 0.16 * foam * rise) * (0.06 + rise))
    return twice(sides[0], sides[1])


def thunder(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A crack, and a rumble that rolls on in several swells."""
    length = min(samples, count(4.5 * attributes.stretch))
    rumble = np.zeros(samples)
    for start in (0.05, *rng.uniform(0.2, 1.6, 5) * attributes.stretch):
        at = count(start)
        if at < samples:
            tail = min(samples - at, length)
            rumble[at : at + tail] += rng.uniform(0.4, 1) * decay(tail, tail / RATE) * swell(tail, 0.08, 0.05)
    left, right = (lowpass(brown(rng, samples), 160, 2) * rumble for _ in range(2))
    crack = band(white(rng, count(0.5)), 300, 5000) * decay(count(0.5), 0.45) * wander(rng, count(0.5), 40, 0, 1)
    return 5 * twice(left, right, 0.6) + 0.5 * place(samples, [(0.05, crack)])


def fire(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A low flutter, a hiss, and crackles of all sizes."""
    sides = []
    for _ in range(2):
        flutter = band(brown(rng, samples), 90, 400) * wander(rng, samples, 6, 0.3, 1)
        hiss = highpass(white(rng, samples), 3000, 1) * wander(rng, samples, 3, 0.2, 1)
        crackle = band(impulses(rng, samples, 22, 0.8), 900, 7000)
        sides.append(0.22 * flutter + 0.04 * hiss + 1.5 * crackle)
    return twice(sides[0], sides[1])


def bubble(rng: np.random.Generator, lowest: float, highest: float) -> Wave:
    """A bubble's note after van den Doel: it rises while it fades."""
    samples = count(rng.uniform(0.03, 0.09))
    pitch = math.exp(rng.uniform(math.log(lowest), math.log(highest)))
    rise = pitch * (1 + rng.uniform(2, 9) * times(samples))
    return sine(rise, samples) * decay(samples, samples / RATE) * swell(samples, 0.002, 0.005)


def stream(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Many bubbles over a soft rush."""
    usual = [bubble(rng, 350, 2600) for _ in range(40)]
    starts = randomly(rng, samples, 70)
    events = [(s, rng.exponential(0.3) * usual[rng.integers(40)], rng.uniform(-0.8, 0.8)) for s in starts]
    left, right = (band(pink(rng, samples), 500, 4000) for _ in range(2))
    return scatter(samples, events) + 0.16 * twice(left, right)


def drops(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Drops into a basin, each a plop with a click before it."""

    def drop() -> Wave:
        plop, click = bubble(rng, 500, 1500), 0.3 * band(white(rng, 200), 2000, 8000) * decay(200, 0.004)
        return np.concatenate([click, np.zeros(count(rng.uniform(0.005, 0.02))), plop])

    starts = every(rng, samples, 0.8 / attributes.rate * rng.uniform(0.85, 1.2), 0.2)
    return scatter(samples, [(start, drop(), rng.uniform(-0.4, 0.4)) for start in starts])


VOICE = np.array([1.0, 0.2, 0.08])  # a bird's harmonics


def chirp(rng: np.random.Generator, base: float, shape: int) -> Wave:
    """One syllable: up, down, an arch, or a trill."""
    seconds = rng.uniform(0.06, 0.16)
    samples = count(seconds)
    part = np.linspace(0, 1, samples)
    bends = (part, 1 - part, np.sin(np.pi * part), 0.5 + 0.5 * np.sin(2 * np.pi * 28 * seconds * part))
    return oscillate(base * (1 + 0.35 * bends[shape]), VOICE, samples) * np.sin(np.pi * part) ** 0.7


def birds(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A few birds, each with its own pitch, place and phrase, singing in turn."""
    events: list[tuple[float, Wave, float]] = []
    for _ in range(int(rng.integers(2, 5))):
        base, side = rng.uniform(2200, 5200), rng.uniform(-0.8, 0.8)
        phrase = [
            chirp(rng, base * rng.uniform(0.8, 1.2), int(rng.integers(4))) for _ in range(int(rng.integers(2, 7)))
        ]
        gap, level = rng.uniform(0.09, 0.2), rng.uniform(0.4, 1)
        for start in every(rng, samples, rng.uniform(1.2, 2.6) / attributes.rate, 0.25):
            events += [(start + i * gap, level * syllable, side) for i, syllable in enumerate(phrase)]
    air = lowpass(pink(rng, samples), 1500)
    return scatter(samples, events) + 0.004 * air


def crickets(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Trills of short pulses at a pitch of their own, each cricket at its own place and pace."""
    events: list[tuple[float, Wave, float]] = []
    for _ in range(3):
        pitch, pulses = rng.uniform(3800, 5000), int(rng.integers(3, 6))
        wing = oscillate(pitch, np.array([1, 0.35, 0.12]), count(0.016))
        pulse = wing * np.sin(np.pi * np.linspace(0, 1, len(wing)))
        trill = place(count(0.025 * pulses + LEAD), [(0.025 * i, pulse) for i in range(pulses)])
        side, level, shift = rng.uniform(-0.9, 0.9), rng.uniform(0.3, 1), rng.uniform(0, 0.4)
        starts = every(rng, samples, rng.uniform(0.4, 0.6), 0.03)
        events += [(start + shift, level * trill, side) for start in starts]
    return scatter(samples, events) + 0.002 * pink(rng, samples)


def frog(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A croak: a train of low pulses through two resonances of the throat."""
    seconds = 0.42 * attributes.stretch
    length = count(seconds)
    rate = rng.uniform(28, 44) * np.linspace(0.85, 1.25, length)
    pulses = oscillate(rate, np.ones(80) * 0.2, length)
    low, high = rng.uniform(420, 560), rng.uniform(1300, 1700)
    croak = (band(pulses, 0.85 * low, 1.15 * low) + 0.7 * band(pulses, 0.9 * high, 1.1 * high)) * swell(
        length, 0.05, 0.08
    )
    starts = every(rng, samples, max(1.2 * seconds, 1.1 / attributes.rate * rng.uniform(0.85, 1.2)), 0.08)
    return place(samples, [(start, rng.uniform(0.7, 1) * croak) for start in starts])


def bark(rng: np.random.Generator, base: float) -> Wave:
    """A growl that jumps up and falls, through a mouth that opens and closes, with breath."""
    samples = count(rng.uniform(0.16, 0.24))
    part = np.linspace(0, 1, samples)
    arch = np.sin(np.pi * part**0.6)
    voice = oscillate(base * (0.75 + 0.6 * arch), saw(40), samples) + 0.3 * white(rng, samples)
    rough = voice * (1 + 0.4 * np.sin(2 * np.pi * 70 * times(samples)))
    return np.tanh(2.5 * moving(rough, 500 + 1100 * arch, 2.5, shape="band")) * arch**0.8


def dog(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Barks in groups of one to three."""
    base = rng.uniform(180, 420)
    events: list[tuple[float, Wave]] = []
    for start in (
        [0.0] if attributes.single else every(rng, samples, 1.3 / attributes.rate * rng.uniform(0.85, 1.2), 0.1)
    ):
        together = 1 if attributes.single else int(rng.integers(1, 4))
        events += [(start + 0.3 * i, bark(rng, base * rng.uniform(0.94, 1.06))) for i in range(together)]
    return place(samples, events)


def heartbeat(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Lub and dub, low and dull."""

    def thump(pitch: float, seconds: float) -> Wave:
        length = count(seconds)
        return (
            sine(pitch * (1 + 0.6 * decay(length, 0.08)), length) * swell(length, 0.012, 0.06) * decay(length, seconds)
        )

    interval = 0.85 / attributes.rate * rng.uniform(0.9, 1.15)
    lub, dub = thump(52, 0.28), 0.7 * thump(66, 0.2)
    starts = every(rng, samples, interval, 0.02)
    gap = min(0.3, 0.36 * interval)
    beats = place(samples, [event for start in starts for event in ((start, lub), (start + gap, dub))])
    return np.tanh(1.5 * beats) + 0.01 * lowpass(pink(rng, samples), 200)


def footsteps(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Heel and sole, left foot and right, on wood or on gravel."""
    gravel = rng.uniform() < 0.5

    def step() -> Wave:
        length = count(0.22)
        heel = ring([95 * rng.uniform(0.9, 1.1), 210, 480], [0.1, 0.07, 0.04], [0.9, 0.5, 0.3], length)
        grit = band(impulses(rng, length, 1500, 0.8), 1500, 7000) * swell(length, 0.03, 0.12)
        sole = band(white(rng, length), 300, 3000) * decay(length, 0.09)
        return (0.25 * heel + 1.4 * grit) if gravel else heel + 0.25 * sole + 0.12 * np.roll(sole, count(0.07))

    starts = every(rng, samples, 0.58 / attributes.rate * rng.uniform(0.85, 1.15), 0.05)
    return scatter(samples, [(start, step(), 0.25 * (-1) ** i) for i, start in enumerate(starts)])


def knocking(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Knuckles on a wooden door, in groups."""
    base = rng.uniform(150, 260)

    def knock() -> Wave:
        length = count(0.25)
        wood = ring([base, 2.3 * base, 3.9 * base, 6.1 * base], [0.16, 0.1, 0.06, 0.04], [1, 0.6, 0.4, 0.2], length)
        return wood + 0.5 * band(white(rng, length), 500, 3500) * decay(length, 0.03)

    gap = 0.24 / attributes.rate**0.6 * rng.uniform(0.85, 1.15)
    group = int(rng.integers(3, 5))
    starts = [0.0] if attributes.single else every(rng, samples, gap * group + 0.9 / attributes.rate, 0.05)
    together = 1 if attributes.single else group
    return place(samples, [(s + i * gap, rng.uniform(0.7, 1) * knock()) for s in starts for i in range(together)])


def applause(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Some sixty people, each with hands and a pace of their own."""
    hands = []
    for _ in range(24):
        pitch, length = rng.uniform(700, 2600), count(0.05)
        hands.append(band(white(rng, length), 0.7 * pitch, 1.5 * pitch) * decay(length, rng.uniform(0.025, 0.05)))
    events: list[tuple[float, Wave, float]] = []
    for _ in range(60):
        hand, side, level = hands[rng.integers(24)], rng.uniform(-1, 1), rng.uniform(0.2, 1)
        starts = every(rng, samples, rng.uniform(0.19, 0.32), 0.15)
        shift = rng.uniform(0, 0.3)
        events += [(start + shift, level * hand, side) for start in starts]
    left, right = (band(white(rng, samples), 700, 5000) for _ in range(2))
    return scatter(samples, events) + 0.06 * twice(left, right)


def gulls(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Falling cries with a harsh edge, in a row that grows shorter."""
    base = rng.uniform(900, 1300)
    events: list[tuple[float, Wave, float]] = []
    for start in every(rng, samples, 2.4 / attributes.rate * rng.uniform(0.85, 1.2), 0.1):
        at, side = start, rng.uniform(-0.6, 0.6)
        for index in range(int(rng.integers(2, 5))):
            length = count(0.38 - 0.05 * index)
            part = np.linspace(0, 1, length)
            cry = oscillate(base * (1.35 - 0.5 * part), square(6), length) * np.sin(np.pi * part**0.7)
            events.append((at, cry, side))
            at += 1.15 * length / RATE
    return scatter(samples, events)


def bees(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Several buzzes that come near and go away."""
    sides = np.zeros((2, samples))
    for _ in range(3):
        pitch = rng.uniform(170, 260) * wander(rng, samples, 4, 0.93, 1.07)
        near = wander(rng, samples, 0.7, -0.3, 1).clip(0.05)
        where = wander(rng, samples, 0.5, 0.1, 0.9)
        buzz = oscillate(pitch, saw(24), samples, rng.uniform()) * near
        sides += np.stack([np.sqrt(1 - where), np.sqrt(where)]) * buzz
    return highpass(sides, 250, 1)
