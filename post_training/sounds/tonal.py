"""Instruments with a pitch, one function for each kind. It knows nothing of captions, loudness or rooms.

A melody stays in its scale, begins and ends on the tonic, and leans on the tonic's chord: so its key can be heard.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from post_training.sounds.attributes import Attributes
from post_training.sounds.synth import (
    COARSE,
    LEAD,
    RATE,
    Wave,
    band,
    count,
    decay,
    every,
    held,
    lowpass,
    moving,
    oscillate,
    place,
    pluck,
    ring,
    saw,
    scatter,
    square,
    swell,
    times,
    twice,
    wander,
    white,
)

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 5, 3, 4)),
}

Instrument = Callable[[np.random.Generator, float, float, float], Wave]  # rng, frequency, seconds, stretch


def hertz(midi: Any) -> Any:
    """The frequency of a MIDI number, or of an array of them."""
    return 440 * 2 ** ((midi - 69) / 12)


def note_frequency(note: str) -> float:
    """The frequency of "C#4"; A4 is 440 Hz."""
    name, octave = re.fullmatch(r"([A-G]#?)(-?\d)", note).groups()  # type: ignore[union-attr]
    return hertz(NAMES.index(name) + 12 * (int(octave) + 1))


def key_of(attributes: Attributes) -> tuple[int, str]:
    """The tonic's pitch class, and the name of the scale."""
    assert attributes.key is not None
    tonic, scale = attributes.key.split(" ")
    return NAMES.index(tonic), scale


def stated(attributes: Attributes) -> float:
    assert attributes.note is not None
    return note_frequency(attributes.note)


def pitch(attributes: Attributes, degree: int, lowest: int) -> int:
    """The MIDI number of a degree of the scale, counted from the first tonic at or above `lowest`."""
    tonic, scale = key_of(attributes)
    octave, step = divmod(degree, 7)
    return lowest + (tonic - lowest) % 12 + 12 * octave + SCALES[scale][step]


def melody(rng: np.random.Generator, samples: int, interval: float) -> list[tuple[float, int, float]]:
    """Notes as (start, degree, seconds): steps and small leaps, the tonic's chord on every fourth."""
    starts = np.arange(0, max(0.1, samples / RATE - LEAD - 0.3 * interval), interval)
    degree, notes = 0, []
    for index, start in enumerate(starts):
        last = index == len(starts) - 1
        if last or index == 0:
            degree = 0 if index == 0 else 7 * round(degree / 7)
        elif index % 4 == 0:
            degree = int(min((-3, 0, 2, 4, 7, 9), key=lambda tone: (abs(tone - degree), rng.uniform())))
        else:
            degree = int(np.clip(degree + rng.choice((-3, -2, -1, -1, 1, 1, 2, 3)), -3, 9))
            if rng.uniform() < 0.12:
                continue  # a rest
        notes.append((float(start), degree, interval))
    return notes


# Instruments: one note each


def string_note(rng: np.random.Generator, frequency: float, seconds: float, stretch: float) -> Wave:
    length = 1.8 * stretch * (220 / frequency) ** 0.3
    return pluck(rng, frequency, count(length), decay=length, softness=rng.uniform(0.2, 0.6))


def piano_note(rng: np.random.Generator, frequency: float, seconds: float, stretch: float) -> Wave:
    """Partials a little sharper than harmonics, the high ones quieter and shorter, and the hammer's knock."""
    partials = np.arange(1, 11)
    frequencies = frequency * partials * np.sqrt(1 + 0.0004 * partials**2)
    decays = 2.4 * stretch * (262 / frequency) ** 0.4 / (0.6 + 0.4 * partials)
    levels = np.exp(-0.32 * partials) * np.abs(np.sin(math.pi * partials / 8.2)) ** 0.3
    out = ring(list(frequencies), list(decays), list(levels), count(decays[0]))
    knock = band(white(rng, count(0.03)), 300, 2500) * decay(count(0.03), 0.03)
    out[: len(knock)] += 0.12 * knock[: len(out)]
    return out


def modes(ratios: tuple[float, ...], decays: tuple[float, ...], levels: tuple[float, ...], click: float) -> Instrument:
    """A bar, a tine or a bell: partials at ratios of the note, decays in seconds at 440 Hz, and a mallet's click."""

    def note(rng: np.random.Generator, frequency: float, seconds: float, stretch: float) -> Wave:
        lengths = [stretch * d * (440 / frequency) ** 0.35 for d in decays]
        out = ring([frequency * ratio for ratio in ratios], lengths, levels, count(1.1 * max(lengths)))
        knock = band(white(rng, count(0.02)), 800, 5000) * decay(count(0.02), 0.015)
        out[: len(knock)] += click * knock[: len(out)]
        return out

    return note


marimba_note = modes((1.0, 3.93, 9.2), (0.9, 0.25, 0.08), (1.0, 0.3, 0.12), 0.15)
music_box_note = modes((1.0, 2.0, 5.9, 6.3), (2.0, 0.9, 0.5, 0.3), (1.0, 0.15, 0.35, 0.12), 0.1)
bell_note = modes(
    (0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.1, 5.4),
    (6.0, 4.0, 3.0, 2.2, 2.5, 1.5, 1.3, 1.2, 0.8, 0.5),
    (0.35, 1.0, 0.5, 0.3, 0.6, 0.3, 0.25, 0.25, 0.2, 0.12),
    0.2,
)

DRAWBARS = np.array([0.8, 0.9, 0.55, 0.6, 0.0, 0.3, 0.0, 0.35, 0.0, 0.15, 0.0, 0.1])
FLUTE = np.array([1.0, 0.32, 0.16, 0.05, 0.03, 0.015])


def organ_note(rng: np.random.Generator, frequency: float, seconds: float, stretch: float) -> Wave:
    samples = count(seconds)
    return oscillate(frequency / 2, DRAWBARS, samples, rng.uniform()) * swell(samples, 0.01, 0.04)


def flute_note(rng: np.random.Generator, frequency: float, seconds: float, stretch: float) -> Wave:
    """Few harmonics, breath around the pitch, and a vibrato that comes in late."""
    samples = count(1.05 * seconds)
    t = times(samples)
    wave = frequency * (1 + 0.006 * np.sin(2 * math.pi * 5.2 * t) * np.minimum(1, 2 * t))
    breath = 0.5 * band(white(rng, samples), 0.9 * frequency, 4 * frequency)
    return (oscillate(wave, FLUTE, samples) + 0.3 * breath) * swell(samples, 0.07, 0.09)


def brass_note(rng: np.random.Generator, frequency: float, seconds: float, stretch: float) -> Wave:
    """A sawtooth that is brightest while it is loudest, and slides into its pitch."""
    samples = count(seconds)
    t = times(samples)
    slide = frequency * (1 - 0.02 * np.exp(-t / 0.03) + 0.003 * np.sin(2 * math.pi * 5 * t) * np.minimum(1, t))
    shade = swell(samples, 0.12, 0.15) * (0.75 + 0.25 * np.exp(-t / 0.3))
    soft = oscillate(slide, saw(4), samples)
    sharp = oscillate(slide, saw(40) * np.arange(1, 41) ** 0.35, samples)
    return (soft + (sharp - soft) * shade**2) * swell(samples, 0.05, 0.1)


# Kinds that play a melody or one note


def playing(note: Instrument, lowest: int, interval: float, harmony: float = 0.0) -> Callable[..., Wave]:
    """A kind that plays a melody in the stated key; with `harmony`, so often a second note two degrees below."""

    def make(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
        beat = interval / attributes.rate * rng.uniform(0.85, 1.2)
        made: dict[int, Wave] = {}
        events: list[tuple[float, Wave, float]] = []
        for start, degree, seconds in melody(rng, samples, beat):
            for tone in (degree, degree - 2) if rng.uniform() < harmony else (degree,):
                if tone not in made:
                    made[tone] = note(rng, hertz(pitch(attributes, tone, lowest)), seconds, attributes.stretch)
                events.append((start, rng.uniform(0.75, 1) * made[tone], 0.05 * (tone - 3)))
        return scatter(samples, events)

    return make


plucked = playing(string_note, 50, 0.42)
piano = playing(piano_note, 57, 0.5, harmony=0.3)
music_box = playing(music_box_note, 74, 0.4, harmony=0.2)
marimba = playing(marimba_note, 57, 0.32)
flute = playing(flute_note, 67, 0.6)


def bell(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    struck = bell_note(rng, stated(attributes), 0, attributes.stretch)
    starts = [0.0] if attributes.single else every(rng, samples, 1.8 / attributes.rate * rng.uniform(0.85, 1.15), 0.01)
    return place(samples, [(start, rng.uniform(0.8, 1) * struck) for start in starts])


def brass(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """One note, blown again and again."""
    interval = 1.3 / attributes.rate * rng.uniform(0.85, 1.2)
    length = interval * {"short": 0.3, "long": 0.95}.get(attributes.on(("short", "long")) or "", 0.7)
    players = [brass_note(rng, stated(attributes) * detune, length, 1.0) for detune in (0.998, 1.0, 1.003)]
    places = list(zip(players, (-0.6, 0.0, 0.6)))
    return scatter(samples, [(start, x, side) for start in every(rng, samples, interval) for x, side in places])


# Kinds that hold chords


def chord(attributes: Attributes, degree: int, lowest: int) -> list[int]:
    return [pitch(attributes, degree + third, lowest) for third in (0, 2, 4)]


def progression(rng: np.random.Generator, attributes: Attributes) -> tuple[int, ...]:
    choices = PROGRESSIONS[key_of(attributes)[1]]
    return choices[rng.integers(len(choices))]


def chords(rng: np.random.Generator, attributes: Attributes, samples: int, seconds: float, lowest: int) -> Wave:
    """The MIDI numbers of three voices, chord after chord: [chords, 3]."""
    degrees = progression(rng, attributes)
    number = math.ceil(samples / RATE / seconds)
    return np.array([chord(attributes, degrees[index % 4], lowest) for index in range(number)])


def organ(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    seconds = 1.9 / attributes.rate * rng.uniform(0.85, 1.2)
    voices = chords(rng, attributes, samples, seconds, 55)
    events = [(i * seconds, organ_note(rng, hertz(midi), seconds, 1)) for i, row in enumerate(voices) for midi in row]
    dry = place(samples, events)
    return dry * (1 + 0.18 * np.sin(2 * math.pi * 6.1 * times(samples)))  # a rotating speaker's tremolo


def sung(
    rng: np.random.Generator,
    voice: Wave,
    seconds: float,
    samples: int,
    *,
    slide: float,
    vibrato: float,
    drifts: float,
) -> Wave:
    """A voice's frequency at each sample: its notes of `seconds` each, slides between them, and two kinds of unrest."""
    coarse = samples // COARSE + 1
    at = np.arange(coarse) * (COARSE / RATE / seconds)
    index = np.minimum(at.astype(np.int64), len(voice) - 1)
    before = np.maximum(index - 1, 0)
    part = np.minimum(1, (at - index) * seconds / slide)
    unrest = vibrato * np.sin(at * seconds * 2 * math.pi * rng.uniform(4.6, 6.2) + rng.uniform(0, 6))
    drift = wander(rng, coarse, 3 * COARSE, -drifts, drifts)
    return held(hertz(voice[before] + (voice[index] - voice[before]) * part + unrest + drift), samples)


def pad(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Slow chords of detuned sawtooths, through a low-pass that opens and closes."""
    seconds = 3.7 * rng.uniform(0.85, 1.3)
    voices = chords(rng, attributes, samples, seconds, 50).T
    stereo = np.zeros((2, samples))
    for side, detune in zip(stereo, (-0.05, 0.05)):
        for voice in voices + detune * rng.uniform(0.6, 1.3):
            line = sung(rng, voice, seconds, samples, slide=0.3, vibrato=0, drifts=0.03)
            side += oscillate(line, saw(60), samples, rng.uniform())
    left, right = moving(stereo, wander(rng, samples, 0.35, 500, 2200), 0.9)
    return twice(left, right) * swell(samples, 1.2, 1.0)


def ensemble(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Bowed strings: sawtooths with a vibrato of their own each, swelling with every chord."""
    seconds = 2.4 / attributes.rate * rng.uniform(0.85, 1.2)
    stereo = np.zeros((2, samples))
    for voice in chords(rng, attributes, samples, seconds, 53).T:
        for side in stereo:
            tuned = voice + rng.uniform(-0.05, 0.05)
            line = sung(rng, tuned, seconds, samples, slide=0.06, vibrato=0.12, drifts=0.06)
            side += oscillate(line, saw(40), samples, rng.uniform())
    bowing = 0.55 + 0.45 * np.abs(np.sin(times(samples) * math.pi / seconds))
    left, right = band(stereo, 180, 4200) * bowing
    return twice(left, right) * swell(samples, 0.3, 0.6)


VOWELS = {"ah": (730, 1090, 2440), "oh": (500, 850, 2500), "oo": (330, 800, 2240), "eh": (530, 1840, 2480)}


def choir(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """A chord of breathy sawtooth voices of uneven pitch, through a vowel's formants."""
    seconds = 3.2 * rng.uniform(0.85, 1.3)
    formants = list(VOWELS.values())[rng.integers(len(VOWELS))]
    stereo = np.stack([0.06 * white(rng, samples), 0.06 * white(rng, samples)])
    for voice in chords(rng, attributes, samples, seconds, 50).T:
        for side in stereo:
            line = sung(rng, voice, seconds, samples, slide=0.15, vibrato=0.1, drifts=0.12)
            side += oscillate(line, saw(30), samples, rng.uniform())
    vowel = sum(level * band(stereo, f - w, f + w) for f, w, level in zip(formants, (70, 90, 130), (1, 0.7, 0.4)))
    left, right = vowel + 0.04 * stereo
    return twice(left, right) * swell(samples, 0.6, 0.8)


# Kinds in time with the stated beats per minute


def step_seconds(attributes: Attributes, parts: int) -> float:
    assert attributes.bpm is not None
    return 60 / attributes.bpm / parts


def arpeggio(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """The notes of a chord in turn, four to a beat, another chord each bar, on a plucked sawtooth or square."""
    step = step_seconds(attributes, 4)
    degrees = progression(rng, attributes)
    shapes = ((0, 2, 4, 7), (7, 4, 2, 0), (0, 4, 2, 7), (0, 2, 4, 7, 9, 7, 4, 2), (0, 7, 4, 9))
    shape = shapes[rng.integers(len(shapes))]
    harmonics = (saw(60), square(60))[rng.integers(2)]
    length = count(0.35 * attributes.stretch)
    made: dict[int, Wave] = {}
    events: list[tuple[float, Wave, float]] = []
    for index in range(math.ceil((samples / RATE - LEAD) / step)):
        degree = degrees[index // 16 % 4] + shape[index % len(shape)]
        if degree not in made:
            frequency = hertz(pitch(attributes, degree, 52))
            sharp, soft = oscillate(frequency, harmonics, length), oscillate(frequency, harmonics[:3], length)
            shaped = soft * decay(length, 0.35 * attributes.stretch) + (sharp - soft) * decay(length, 0.15)
            made[degree] = shaped * swell(length, 0.003, 0.01)
        accent = 1.0 if index % 4 == 0 else 0.7
        events.append((index * step, accent * made[degree], 0.5 * math.sin(index * 1.3)))
    return scatter(samples, events)


def bass_line(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Eighths on the chord's root, with octaves and passing notes, rounded by a low-pass."""
    step = step_seconds(attributes, 2)
    degrees = progression(rng, attributes)
    pattern = rng.choice((0, 0, 0, 7, 4, -1, -99), 8)
    pattern[0] = 0
    length = count(step * {"short": 0.45, "long": 1.0}.get(attributes.on(("short", "long")) or "", 0.85))
    envelope = swell(length, 0.006, 0.03) * (0.5 + 0.5 * decay(length, 0.6))
    events: list[tuple[float, Wave]] = []
    for index in range(math.ceil((samples / RATE - LEAD) / step)):
        if pattern[index % 8] > -99:
            frequency = hertz(pitch(attributes, int(degrees[index // 8 % 4] % 7 + pattern[index % 8]), 28))
            events.append((index * step, oscillate(frequency, saw(30), length) * envelope))
    return lowpass(place(samples, events), rng.uniform(350, 900))


def acid_bass(rng: np.random.Generator, attributes: Attributes, samples: int) -> Wave:
    """Sixteenths of a sawtooth, some sliding and some accented, through a resonant low-pass that snaps and wanders."""
    step = step_seconds(attributes, 4)
    notes = np.array([pitch(attributes, int(d), 38) for d in rng.choice((0, 0, 0, 7, 2, 4, 6, -7), 16)])
    notes[0] = pitch(attributes, 0, 38)
    on, accent, slides = rng.uniform(size=16) < 0.8, rng.uniform(size=16) < 0.3, rng.uniform(size=16) < 0.25
    on[0] = True
    at = np.maximum(0, times(samples) - LEAD) / step
    index = at.astype(np.int64) % 16
    part = (at - np.floor(at)) * step
    before = (index - 1) % 16
    line = np.where(
        slides[index], notes[before] + (notes[index] - notes[before]) * np.minimum(1, part / 0.06), notes[index]
    )
    gate = on[index] * np.minimum(1, part / 0.004) * np.clip((step - part) / 0.012, 0, 1)
    cutoff = wander(rng, samples, 0.3, 300, 900) + (1200 + 1800 * accent[index]) * np.exp(-part / 0.07)
    tone = oscillate(440 * 2 ** ((line - 69) / 12), (saw(80), square(80))[rng.integers(2)], samples)
    return np.tanh(1.5 * moving(tone * gate * (0.7 + 0.3 * accent[index]), cutoff, 7))
