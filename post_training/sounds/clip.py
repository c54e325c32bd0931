"""A clip from a seed: attributes are drawn, the sound is made, placed and levelled, and a caption says what it is.

The same seed gives the same clip, bit for bit, on the same machine and with the same versions of numpy and scipy.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from edge_export.errors import UsageError
from post_training.sounds.attributes import AXES, BRIGHTNESS, LEVEL, PAN, SPACE, Attributes
from post_training.sounds.captions import caption
from post_training.sounds.kinds import KINDS, Kind
from post_training.sounds.synth import count, pan, reverberate, shelf
from post_training.sounds.tonal import NAMES, SCALES

SECONDS = 7.43
LONGEST = 60.0
HELD_OUT_OF = 10  # one combination of a kind and its adjectives in so many is never trained on
ADJECTIVES = (0.2, 0.4, 0.3, 0.1)  # the chance of none, one, two, three

LOUDNESS = 0.12  # the RMS of the active parts
LEVELS = {"quiet": 0.3, "loud": 1.5}
PEAK = 0.95
OVERLOAD = 2.0  # how far above full scale a peak may be before it is rounded off
FRAME = 2048
ACTIVE = 10 ** (-30 / 20)  # of the loudest frame

TILT = 15.0  # decibels that "bright" adds above a kind's pivot and "dark" takes away
ROOMS = 4  # of each size
FADE_IN, FADE_OUT = 0.003, 0.04


@dataclass(frozen=True, kw_only=True)
class Clip:
    audio: np.ndarray  # float32 [2, samples] at 44.1 kHz, within -0.95..0.95, silent at both ends
    caption: str
    attributes: Attributes


def is_held_out(kind: str, adjectives: tuple[str, ...]) -> bool:
    """Whether this combination is kept for evaluation: by its hash. A kind alone never is."""
    name = "/".join([kind, *sorted(adjectives)])
    return bool(adjectives) and hashlib.sha256(name.encode()).digest()[0] % HELD_OUT_OF == 0


def draw_tempo(rng: np.random.Generator, kind: Kind, adjectives: tuple[str, ...]) -> float | None:
    """A whole number of beats per minute: "slow" is in the kind's lowest third, "fast" in its highest."""
    if kind.bpm is None:
        return None
    low, high = kind.bpm
    third = (high - low) // 3
    if "slow" in adjectives:
        high = low + third
    if "fast" in adjectives:
        low = high - third
    return float(rng.integers(low, high + 1))


def draw_adjectives(rng: np.random.Generator, kind: Kind) -> tuple[str, ...]:
    """One word each from some of the kind's axes, in the order of all axes."""
    number = min(int(rng.choice(len(ADJECTIVES), p=ADJECTIVES)), len(kind.axes))
    axes = [kind.axes[index] for index in rng.permutation(len(kind.axes))[:number]]
    words = {axis[int(rng.integers(len(axis)))] for axis in axes}
    return tuple(word for axis in AXES for word in axis if word in words)


def draw_attributes(rng: np.random.Generator, *, held_out: bool = False) -> Attributes:
    """A kind, adjectives that go with it, and its tempo, key or note; only held-out combinations, or none of them."""
    while True:
        name = list(KINDS)[int(rng.integers(len(KINDS)))]
        kind = KINDS[name]
        adjectives = draw_adjectives(rng, kind)
        if is_held_out(name, adjectives) == held_out:
            break
    key = f"{NAMES[rng.integers(12)]} {list(SCALES)[rng.integers(2)]}" if kind.keyed else None
    midi = int(rng.integers(kind.notes[0], kind.notes[1] + 1)) if kind.notes else None
    note = f"{NAMES[midi % 12]}{midi // 12 - 1}" if midi is not None else None
    return Attributes(kind=name, adjectives=adjectives, bpm=draw_tempo(rng, kind, adjectives), key=key, note=note)


def active_rms(audio: np.ndarray) -> float:
    """The RMS over the frames that are within 30 dB of the loudest: what is heard, without the silence between."""
    frames = audio.shape[1] // FRAME
    if frames == 0:
        return float(np.sqrt(np.square(audio).mean()))
    powers = np.einsum("cfs,cfs->f", *2 * [audio[:, : frames * FRAME].reshape(2, frames, FRAME)]) / (2 * FRAME)
    return float(np.sqrt(powers[powers >= ACTIVE**2 * powers.max()].mean()))


def level(audio: np.ndarray, relative: float) -> np.ndarray:
    """At the usual RMS or as near to it as peaks allow, times `relative`; peaks are rounded off at `PEAK`."""
    rms, peak = active_rms(audio), float(np.abs(audio).max())
    if peak == 0:
        return audio
    gain = relative * min(LOUDNESS / rms, OVERLOAD / peak)
    louder = audio * np.float32(gain)
    return PEAK * np.tanh(louder / PEAK) if peak * gain > 0.7 * PEAK else louder


def fade(audio: np.ndarray) -> np.ndarray:
    """From silence and to silence, on raised cosines, so that nothing clicks at the ends."""
    first, last = count(FADE_IN), count(FADE_OUT)
    audio[:, :first] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(first) / first)
    audio[:, -last:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, last + 1) / last)
    return audio


def tilt(audio: np.ndarray, pivot: float, word: str | None) -> np.ndarray:
    return shelf(audio, pivot, TILT if word == "bright" else -TILT) if word else audio


def in_a_room(rng: np.random.Generator, audio: np.ndarray, word: str | None, rooms: bool) -> np.ndarray:
    """In a hall if it is reverberant, in no room if it is dry, else in a small one."""
    number, wet = int(rng.integers(ROOMS)), rng.uniform(0.12, 0.25)
    if word == "reverberant":
        return reverberate(audio, 2.6, number, 0.75)
    return reverberate(audio, 0.3, number, wet) if rooms and word is None else audio


def to_a_side(rng: np.random.Generator, audio: np.ndarray, word: str | None) -> np.ndarray:
    side = rng.uniform(0.65, 0.95)
    return pan(audio, -side if word == "left" else side) if word else audio


def render(attributes: Attributes, seed: int, *, seconds: float = SECONDS) -> np.ndarray:
    """The sound of these attributes: float32 [2, samples].

    Raises:
        UsageError: an unknown kind, an adjective that is not one of its own, or a length that cannot be made.
    """
    kind = KINDS.get(attributes.kind)
    if kind is None:
        raise UsageError(f"no kind of sound is called {attributes.kind!r}; there are: {', '.join(KINDS)}")
    strange = [word for word in attributes.adjectives if not any(word in axis for axis in kind.axes)]
    if strange:
        raise UsageError(f"{attributes.kind} cannot be {strange[0]!r}; it can be: {', '.join(sum(kind.axes, ()))}")
    if not (math.isfinite(seconds) and 1 <= seconds <= LONGEST):
        raise UsageError(f"a clip lasts from 1 to {LONGEST:g} seconds, not {seconds:g}")
    making, placing = (np.random.default_rng((seed, part)) for part in (1, 2))
    made = kind.make(making, attributes, count(seconds)).astype(np.float32)
    stereo = made if made.ndim == 2 else np.stack([made, made])
    stereo = tilt(stereo, kind.pivot, attributes.on(BRIGHTNESS))
    stereo = in_a_room(placing, stereo, attributes.on(SPACE), SPACE in kind.axes)
    stereo = to_a_side(placing, stereo, attributes.on(PAN))
    return fade(level(stereo, LEVELS.get(attributes.on(LEVEL) or "", 1.0))).astype(np.float32)


def draw(seed: int, *, seconds: float = SECONDS, held_out: bool = False) -> Clip:
    """The clip of this seed, 0 or more; with `held_out`, one of the combinations that are otherwise never drawn."""
    attributes = draw_attributes(np.random.default_rng((seed, 0)), held_out=held_out)
    words = caption(attributes, np.random.default_rng((seed, 3)))
    return Clip(audio=render(attributes, seed, seconds=seconds), caption=words, attributes=attributes)
