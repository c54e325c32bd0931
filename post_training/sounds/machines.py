"""Machines, signals, things and effects, one function for each kind. It knows nothing of captions or loudness."""

import math
from collections.abc import Callable

import numpy as np

from post_training.sounds.attributes import Attributes
from post_training.sounds.synth import (
    LEAD,
    RATE,
    Wave,
    band,
    brown,
    count,
    cycles,
    decay,
    every,
    highpass,
    impulses,
    lowpass,
    moving,
    oscillate,
    pink,
    place,
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


def again(
    rng: np.random.Generator, attributes: Attributes, samples: int, interval: float, wave: Callable[[], Wave]
) -> Wave:
    """A sound once, or as often as the pace says, never over itself."""
    first = wave()
    gap = max(interval / attributes.rate * rng.uniform(0.85, 1.2), 1.15 * len(first) / RATE + 0.05)
    starts = [0.0] if attributes.single else every(rng, samples, gap)
    return place(samples, [(start, first if index == 0 else wave()) for index, start in enumerate(starts)])


# Effects


def sweep(upward: bool) -> Callable[..., Wave]:
    """A sawtooth that slides over four octaves, with an octave of noise around it."""

    def make(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
        low, seconds = rng.uniform(80, 160), 2.2 * attributes.stretch * rng.uniform(0.85, 1.15)
        octaves = rng.uniform(3.6, 4.6)
        length = count(min(seconds, 0.97 * samples / RATE))

        def one() -> Wave:
            part = np.linspace(0, 1, length) if upward else np.linspace(1, 0, length)
            line = low * 2 ** (octaves * part)
            hiss = moving(white(rng, length), 2 * line, 3, shape="band")
            return (0.5 * oscillate(line, saw(12), length) + 0.5 * hiss) * swell(length, 0.05, 0.08)

        return again(rng, attributes, samples, 1.0, one)

    return make


sweep_up, sweep_down = sweep(True), sweep(False)


def noise_burst(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    length = count(0.3 * attributes.stretch * rng.uniform(0.85, 1.2))
    return again(rng, attributes, samples, 0.9, lambda: white(rng, length) * swell(length, 0.004, 0.02))


def laser(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A tone that falls from far above, like a toy gun's."""
    seconds = 0.28 * attributes.stretch * rng.uniform(0.85, 1.2)
    length, top, bottom = count(seconds), rng.uniform(3000, 6000), rng.uniform(120, 350)
    fall = bottom + (top - bottom) * np.exp(-times(length) * 5 / seconds)

    def shot() -> Wave:
        return oscillate(fall * rng.uniform(0.93, 1.07), square(9), length) * decay(length, 1.6 * seconds)

    return again(rng, attributes, samples, 0.55, shot)


def explosion(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A bang that overloads, a low boom, and debris."""
    seconds = 2.6 * attributes.stretch
    length = count(min(seconds, samples / RATE))
    t = times(length)
    sides = []
    for _ in range(2):
        blast = moving(white(rng, length), 120 + 5000 * np.exp(-t / (0.09 * seconds)), 0.8) * decay(length, seconds)
        sides.append(np.tanh(5 * blast))
    boom = sine(34 + 60 * np.exp(-t / 0.15), length) * decay(length, 0.6 * seconds)
    debris = band(impulses(rng, length, 60, 0.8), 500, 4000) * decay(length, seconds) * np.minimum(1, 4 * t)
    left, right = twice(sides[0], sides[1], 0.5) + 0.9 * boom + debris
    return np.stack([place(samples, [(0.0, left)]), place(samples, [(0.0, right)])])


def vinyl(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """An empty groove: rumble, dust, and a scratch that comes round at 33 turns a minute."""
    dust = [band(impulses(rng, samples, 45, 0.4), 500, 5000) for _ in range(2)]
    scratch = band(white(rng, 90), 800, 5000) * decay(90, 0.002)
    thumps = place(samples, [(start, scratch) for start in every(rng, samples, 60 / 33.3)])
    floor = lowpass(brown(rng, samples), 70) * 0.02 + 0.012 * highpass(white(rng, samples), 2000, 1)
    return twice(dust[0], dust[1], 0.9) + 0.3 * thumps + floor


# Signals


def alarm(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Four beeps and a rest, like a clock beside a bed."""
    pitch, beep = rng.uniform(1800, 2600), 0.085 / attributes.rate**0.6
    length = count(beep)
    tone = oscillate(pitch, square(9), length) * swell(length, 0.003, 0.004)
    group = 12 * beep
    starts = [s + 2 * i * beep for s in np.arange(0, samples / RATE, group) for i in range(4)]
    return place(samples, [(start, tone) for start in starts])


def siren(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A wail: up and down, again and again."""
    period = 2.4 / attributes.rate * rng.uniform(0.85, 1.2)
    part = 0.5 - 0.5 * np.cos(2 * math.pi * times(samples) / period + rng.uniform(0, 6))
    wail = oscillate(rng.uniform(480, 620) * 2 ** (1.15 * part), saw(14), samples)
    return band(wail, 500, 3200)


def telephone(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """An electromechanical bell: two gongs struck twenty times a second, ringing and resting."""
    low = rng.uniform(900, 1200)
    pair = (low, low * rng.uniform(1.12, 1.26))
    gongs = [ring([f, 2.4 * f, 4.1 * f], [0.5, 0.3, 0.15], [1, 0.5, 0.3], count(0.6)) for f in pair]
    burst, rest = 1.3 / attributes.rate**0.6, 1.1 / attributes.rate
    hammer = [s + i / 20 for s in np.arange(0, samples / RATE, burst + rest) for i in range(int(burst * 20))]
    return place(samples, [(start, gongs[index % 2]) for index, start in enumerate(hammer)])


def beeps(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A computer of the films: random tones in quick succession."""
    step = 0.11 / attributes.rate
    length = count(0.85 * step)
    pitches = rng.choice((523, 659, 784, 880, 1047, 1319, 1568, 1760, 2093, 2637), 12) * rng.uniform(0.9, 1.2)
    harmonics = (square(5), np.array([1.0]))[rng.integers(2)]
    tones = [oscillate(float(pitch), harmonics, length) * swell(length, 0.003, 0.006) for pitch in pitches]
    starts = [start for start in np.arange(0, samples / RATE, step) if rng.uniform() < 0.8]
    return scatter(samples, [(s, tones[rng.integers(12)], rng.uniform(-0.4, 0.4)) for s in starts])


# Things


def clock(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Tick and tock, a second of two of them."""
    base = rng.uniform(1800, 3200)

    def tick(pitch: float) -> Wave:
        length = count(0.06)
        body = ring([pitch, 1.7 * pitch, 0.32 * pitch], [0.03, 0.02, 0.05], [1, 0.6, 0.5], length)
        return body + 0.4 * highpass(white(rng, length), 3000) * decay(length, 0.008)

    pair = (tick(base), 0.8 * tick(0.82 * base))
    starts = every(rng, samples, 0.5 / attributes.rate)
    return place(samples, [(start, pair[index % 2]) for index, start in enumerate(starts)])


def typing(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Keys going down and coming up, in bursts like words, and now and then the space bar."""

    def key(base: float) -> Wave:
        length = count(0.12)
        body = ring([base, 2.7 * base], [0.05, 0.025], [0.4, 0.2], length)
        click = band(white(rng, length), 1500, 8000) * decay(length, 0.014)
        return body + click + 0.35 * np.roll(click, count(0.07))

    keys = [key(rng.uniform(350, 900)) for _ in range(8)]
    bar = 1.3 * key(220)
    events: list[tuple[float, Wave, float]] = []
    at = 0.0
    while at < samples / RATE:
        if rng.uniform() < 0.17:
            events.append((at, bar, 0.0))
            at += rng.uniform(0.15, 0.4) / attributes.rate
        else:
            events.append((at, rng.uniform(0.5, 1) * keys[rng.integers(8)], rng.uniform(-0.35, 0.35)))
            at += rng.uniform(0.07, 0.19) / attributes.rate
    return scatter(samples, events)


def glass(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A glass struck with a spoon: a few high modes that ring and beat."""
    base = rng.uniform(1500, 2600)
    modes = [base, 1.004 * base, 2.32 * base, 4.25 * base, 6.63 * base]
    decays = [attributes.stretch * d for d in (1.6, 1.5, 0.8, 0.4, 0.2)]

    def ping() -> Wave:
        levels = np.array([1, 0.6, 0.5, 0.35, 0.2]) * rng.uniform(0.7, 1, 5)
        return ring(modes, decays, list(levels), count(decays[0]))

    starts = [0.0] if attributes.single else every(rng, samples, 0.9 / attributes.rate * rng.uniform(0.85, 1.2), 0.1)
    return place(samples, [(start, rng.uniform(0.6, 1) * ping()) for start in starts])


def engine(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Four uneven cylinders through an exhaust, and the rattle that goes with them."""
    firing = rng.uniform(22, 30) * attributes.rate**0.7 * wander(rng, samples, 2, 0.96, 1.04)
    bursts = np.exp(-np.arange(60) / 14)
    uneven = 0.7 * oscillate(firing, bursts, samples) + 0.22 * oscillate(firing / 4, bursts, samples, rng.uniform())
    exhaust = band(uneven, 45, 400) + 0.35 * band(uneven, 600, 1500)
    rattle = band(white(rng, samples), 900, 4500) * (0.3 + np.maximum(0, np.sin(2 * math.pi * cycles(firing, samples))))
    return np.tanh(1.2 * exhaust) + 0.06 * rattle


def helicopter(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Blades that chop the air, over a turbine's whine."""
    blades = rng.uniform(9, 12.5) * attributes.rate**0.6
    chop = np.maximum(0, np.sin(2 * math.pi * blades * times(samples))) ** 3
    left, right = (lowpass(pink(rng, samples), 700) * (0.12 + chop) for _ in range(2))
    thud = 0.8 * sine(rng.uniform(55, 75), samples) * chop
    whine = 0.03 * oscillate(rng.uniform(900, 1400), saw(4), samples) + 0.04 * band(white(rng, samples), 1500, 5000)
    return twice(left, right, 0.5) + thud + whine


def train(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Wheels over the joints, four knocks at a time, above the rumble of the carriage."""
    interval = 0.95 / attributes.rate * rng.uniform(0.85, 1.2)

    def knock() -> Wave:
        length = count(0.2)
        iron = ring([140, 390, 860], [0.12, 0.08, 0.05], [1, 0.5, 0.25], length)
        return iron + 0.5 * band(white(rng, length), 500, 3500) * decay(length, 0.06)

    offsets = (0.0, 0.13, 0.42, 0.55)
    starts = every(rng, samples, interval, 0.01)
    knocks = place(
        samples, [(s + offset * interval, rng.uniform(0.7, 1) * knock()) for s in starts for offset in offsets]
    )
    left, right = (lowpass(brown(rng, samples), 220) + 0.25 * band(pink(rng, samples), 300, 2000) for _ in range(2))
    return 0.25 * twice(left, right, 0.6) + knocks


def vacuum(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A motor's whine in a rush of air, that comes up to speed."""
    speed = rng.uniform(190, 280) * (1 - 0.5 * np.exp(-times(samples) / 0.35)) * wander(rng, samples, 1, 0.97, 1.03)
    left, right = (band(white(rng, samples), 350, 6000) for _ in range(2))
    return 0.5 * twice(left, right, 0.5) + 0.3 * oscillate(speed, saw(20), samples) + 0.1 * sine(6.1 * speed, samples)


def saw_cutting(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A handsaw in wood, push and pull."""
    stroke = 0.75 / attributes.rate * rng.uniform(0.85, 1.2)
    part = np.maximum(0, times(samples) - LEAD) / stroke % 1
    moves = np.abs(np.sin(2 * math.pi * part)) ** 0.8 * np.where(part < 0.5, 1, 0.55)
    teeth = 0.5 + 0.5 * np.sin(2 * math.pi * np.cumsum(60 + 130 * moves) / RATE)
    wood = band(white(rng, samples), 900, 5000) + 0.5 * band(white(rng, samples), 300, 700)
    return wood * moves * teeth
