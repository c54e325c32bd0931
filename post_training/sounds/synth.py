"""The parts that sounds are made of: oscillators, envelopes, noise, filters, events, rooms. It knows no sound's name.

Arrays are float [samples], or [2, samples] where a docstring says stereo; times are in seconds, frequencies in Hz.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
from scipy.signal import butter, lfilter, sosfilt

Wave = np.ndarray

RATE = 44100
NYQUIST = RATE / 2
TAU = 2 * math.pi
SIXTY_DB = math.log(1000)
TABLE = 4096  # samples of one cycle: read at the nearest sample, the error is 65 dB down
LEAD = 0.012  # silence before the first event, so that the fade-in spares its attack
COARSE = 64  # samples for which the pitch of a sustained voice stands still
CONTROL = 512  # samples for which a moving filter stands still


def count(seconds: float) -> int:
    """The samples of so many seconds, at least one."""
    return max(1, round(seconds * RATE))


def times(samples: int) -> Wave:
    return np.arange(samples) / RATE


# Oscillators


def cycles(frequency: float | Wave, samples: int) -> Wave:
    """How many cycles have passed at each sample, for a constant or a moving frequency."""
    if isinstance(frequency, np.ndarray):
        return np.cumsum(frequency) / RATE
    return np.arange(samples) * (frequency / RATE)


def sine(frequency: float | Wave, samples: int, start: float = 0.0) -> Wave:
    """A sine, from the cycle `start` on."""
    phase = cycles(frequency, samples) + start
    phase -= np.floor(phase)
    return np.sin((TAU * phase).astype(np.float32))


def oscillate(frequency: float | Wave, harmonics: Wave, samples: int, start: float = 0.0) -> Wave:
    """A periodic tone of the given harmonic amplitudes, without those that would fold over at its highest."""
    highest = float(np.max(frequency))
    kept = harmonics[: max(1, int(NYQUIST / highest))]
    spectrum = np.zeros(TABLE // 2 + 1, dtype=np.complex64)
    spectrum[1 : len(kept) + 1] = -0.5j * TABLE * kept
    table = scipy.fft.irfft(spectrum)
    at = ((cycles(frequency, samples) + start) * TABLE).astype(np.int64)
    at &= TABLE - 1
    return np.take(table, at)


def saw(most: int = 200) -> Wave:
    """A sawtooth's harmonics."""
    return 0.6 / np.arange(1, most + 1)


def square(most: int = 200) -> Wave:
    """A square wave's harmonics."""
    return np.where(np.arange(1, most + 1) % 2, 0.9 / np.arange(1, most + 1), 0.0)


def ring(frequencies: Sequence[float], decays: Sequence[float], levels: Sequence[float], samples: int) -> Wave:
    """Struck modes: sines that fall by 60 dB in `decays` seconds, each the impulse response of a two-pole filter."""
    out = np.zeros(samples)
    for frequency, decay, level in zip(frequencies, decays, levels, strict=True):
        if frequency >= NYQUIST:
            continue
        length = min(samples, count(1.2 * decay))
        radius, angle = math.exp(-SIXTY_DB / (decay * RATE)), TAU * frequency / RATE
        impulse = np.zeros(length)
        impulse[0] = level * math.sin(angle)
        out[:length] += lfilter([1.0], [1.0, -2 * radius * math.cos(angle), radius * radius], impulse)
    return out


def pluck(rng: np.random.Generator, frequency: float, samples: int, *, decay: float, softness: float) -> Wave:
    """A string after Karplus and Strong: a period of noise, averaged with its neighbour at every turn.

    `softness` 0..1 rounds the pluck. The period is a whole number of samples; the result is read a little faster
    or slower to be in tune.
    """
    period = max(4, round(RATE / frequency - 0.5))
    ratio = frequency * (period + 0.5) / RATE
    turns = int(samples * ratio / period) + 2
    turn = lfilter([1 - softness], [1, -softness], rng.uniform(-1, 1, 2 * period))[period:]
    turn -= turn.mean()
    loss = 0.5 * math.exp(-SIXTY_DB / (decay * frequency))
    out = np.empty((turns, period))
    last = 0.0
    for row in out:
        row[:] = turn
        ended = turn[-1]
        turn = loss * (turn + np.concatenate(([last], turn[:-1])))
        last = ended
    return np.interp(np.arange(samples) * ratio, np.arange(out.size), out.ravel())


# Envelopes and slow movements


def decay(samples: int, seconds: float) -> Wave:
    """An exponential fall of 60 dB in `seconds`."""
    return np.exp(np.arange(samples, dtype=np.float32) * np.float32(-SIXTY_DB / (seconds * RATE)))


def swell(samples: int, attack: float, release: float) -> Wave:
    """Up in `attack` seconds, hold, down in `release` seconds, on raised cosines; both shrink to fit."""
    fit = min(1.0, samples / RATE / (attack + release))
    up, down = int(attack * fit * RATE), int(release * fit * RATE)
    envelope = np.ones(samples)
    envelope[:up] = 0.5 - 0.5 * np.cos(np.pi * np.arange(up) / max(1, up))
    envelope[samples - down :] = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, down + 1) / max(1, down))
    return envelope


def wander(rng: np.random.Generator, samples: int, hertz: float, low: float, high: float) -> Wave:
    """A random movement between `low` and `high` that turns about `hertz` times a second."""
    knots = rng.uniform(low, high, int(samples / RATE * hertz) + 3)
    at = np.arange(samples) * (hertz / RATE) + rng.uniform()
    whole = at.astype(np.int64)
    part = at - whole
    part *= part * (3 - 2 * part)
    return knots[whole] + (knots[whole + 1] - knots[whole]) * part


def held(control: Wave, samples: int) -> Wave:
    """A movement drawn once in `COARSE` samples, held for each of them."""
    return np.repeat(control, COARSE)[:samples]


# Noise


def white(rng: np.random.Generator, samples: int) -> Wave:
    return rng.standard_normal(samples, dtype=np.float32)


def pink(rng: np.random.Generator, samples: int) -> Wave:
    """Noise that falls by 3 dB an octave, through Kellet's third-order filter."""
    up = [0.049922035, -0.095993537, 0.050612699, -0.004408786]
    return 5 * lfilter(up, [1, -2.494956002, 2.017265875, -0.522189400], white(rng, samples))


def brown(rng: np.random.Generator, samples: int) -> Wave:
    """Noise that falls by 6 dB an octave above 40 Hz."""
    return lfilter([0.1], [1, -math.exp(-TAU * 40 / RATE)], white(rng, samples))


def twice(make: Wave, other: Wave, width: float = 0.8) -> Wave:
    """Stereo from two likenesses of a sound: 0 has both in the middle, 1 one at each side."""
    near, far = math.cos((1 - width) * math.pi / 4), math.sin((1 - width) * math.pi / 4)
    return np.stack([near * make + far * other, far * make + near * other])


# Filters


@lru_cache(maxsize=512)
def sections(kind: str, edges: tuple[float, ...], order: int) -> Wave:
    """Butterworth sections, with the edges kept where filters are stable."""
    safe = [min(max(edge, 15.0), 0.97 * NYQUIST) for edge in edges]
    return butter(order, safe if len(safe) > 1 else safe[0], btype=kind, fs=RATE, output="sos")


def lowpass(x: Wave, cutoff: float, order: int = 2) -> Wave:
    return sosfilt(sections("lowpass", (cutoff,), order), x)


def highpass(x: Wave, cutoff: float, order: int = 2) -> Wave:
    return sosfilt(sections("highpass", (cutoff,), order), x)


def band(x: Wave, low: float, high: float, order: int = 1) -> Wave:
    return sosfilt(sections("bandpass", (low, high), order), x)


def shelf(x: Wave, pivot: float, decibels: float) -> Wave:
    """A high shelf of the RBJ cookbook with slope 1: so many dB above the pivot, none below."""
    a, w = 10 ** (decibels / 40), TAU * pivot / RATE
    cos, root = math.cos(w), 2 * math.sqrt(a) * math.sin(w) / math.sqrt(2)
    b = [a * (a + 1 + (a - 1) * cos + root), -2 * a * (a - 1 + (a + 1) * cos), a * (a + 1 + (a - 1) * cos - root)]
    d = [a + 1 - (a - 1) * cos + root, 2 * (a - 1 - (a + 1) * cos), a + 1 - (a - 1) * cos - root]
    return lfilter(np.array(b) / d[0], np.array(d) / d[0], x)


def moving(x: Wave, frequency: Wave, q: float, *, shape: str = "lowpass") -> Wave:
    """A resonant low-pass or band-pass of the RBJ cookbook whose frequency moves, in steps of `CONTROL` samples.

    x is [samples] or stereo.
    """
    out, state = np.empty(x.shape), np.zeros((*x.shape[:-1], 2))
    for start in range(0, x.shape[-1], CONTROL):
        w = TAU * min(max(float(frequency[start]), 20.0), 0.45 * RATE) / RATE
        alpha, cos = math.sin(w) / (2 * q), math.cos(w)
        up = [(1 - cos) / 2, 1 - cos, (1 - cos) / 2] if shape == "lowpass" else [alpha, 0.0, -alpha]
        block = slice(start, start + CONTROL)
        out[..., block], state = lfilter(up, [1 + alpha, -2 * cos, 1 - alpha], x[..., block], zi=state)
    return out


# Events in time and space


def place(samples: int, events: Iterable[tuple[float, Wave]]) -> Wave:
    """Sounds at their times, in seconds after `LEAD`; what lies beyond the end is cut off."""
    out = np.zeros(samples)
    for start, wave in events:
        at = round((start + LEAD) * RATE)
        if 0 <= at < samples:
            part = wave[: samples - at]
            out[at : at + len(part)] += part
    return out


def scatter(samples: int, events: Iterable[tuple[float, Wave, float]]) -> Wave:
    """Stereo: sounds at their times and places, from -1 (left) to 1 (right), at equal power."""
    out = np.zeros((2, samples))
    for start, wave, side in events:
        at = round((start + LEAD) * RATE)
        if 0 <= at < samples:
            angle = (side + 1) * math.pi / 4
            part = wave[: samples - at]
            out[0, at : at + len(part)] += math.cos(angle) * part
            out[1, at : at + len(part)] += math.sin(angle) * part
    return out


def every(rng: np.random.Generator, samples: int, interval: float, jitter: float = 0.0) -> list[float]:
    """Times that are `interval` seconds apart, each moved by up to `jitter` of it."""
    total = samples / RATE - LEAD
    starts = np.arange(0, total, interval)
    return [float(start) for start in np.maximum(0, starts + interval * jitter * rng.uniform(-1, 1, len(starts)))]


def randomly(rng: np.random.Generator, samples: int, rate: float) -> list[float]:
    """Times at `rate` a second, independent of each other; never none."""
    total = samples / RATE
    return [float(start) for start in np.sort(rng.uniform(0, total - LEAD, max(1, rng.poisson(rate * total))))]


def impulses(rng: np.random.Generator, samples: int, rate: float, spread: float = 1.0) -> Wave:
    """Single samples at `rate` a second, of random sign and of sizes whose logarithms spread, cut off at two."""
    out = np.zeros(samples)
    number = max(1, rng.poisson(rate * samples / RATE))
    sizes = np.exp(spread * np.minimum(2, rng.standard_normal(number))) * rng.choice((-1.0, 1.0), number)
    np.add.at(out, rng.integers(0, samples, number), sizes)
    return out


def convolve(x: Wave, impulse: Wave) -> Wave:
    """x [..., samples] through an impulse response [..., taps], cut off at x's end."""
    samples = x.shape[-1]
    size = scipy.fft.next_fast_len(samples + impulse.shape[-1], real=True)
    spectrum = scipy.fft.rfft(x.astype(np.float32), size) * scipy.fft.rfft(impulse.astype(np.float32), size)
    return scipy.fft.irfft(spectrum, size)[..., :samples]


@lru_cache(maxsize=16)
def room(seconds: float, number: int) -> Wave:
    """A stereo impulse response of unit energy: noise that falls by 60 dB in `seconds`, its highs in a third."""
    rng = np.random.default_rng((number, count(seconds)))
    samples, wait = count(seconds), count(0.004 + 0.006 * seconds)
    noise = rng.standard_normal((2, samples))
    lows = lowpass(noise, 1800, 1)
    tail = lows * decay(samples, seconds) + 0.5 * (noise - lows) * decay(samples, seconds / 3)
    tail[:, :wait] = 0
    return (tail / np.sqrt(np.square(tail).sum(axis=1, keepdims=True))).astype(np.float32)


def reverberate(stereo: Wave, seconds: float, number: int, wet: float) -> Wave:
    """Stereo in one of the rooms of that size, with so much of the room beside the sound itself."""
    return (1 - 0.5 * wet) * stereo + wet * convolve(stereo, room(seconds, number))


def pan(stereo: Wave, side: float) -> Wave:
    """Stereo folded to the middle and sent to a side, -1 to 1, at equal power."""
    angle = (side + 1) * math.pi / 4
    return np.stack([math.cos(angle), math.sin(angle)])[:, None] * stereo.mean(axis=0)
