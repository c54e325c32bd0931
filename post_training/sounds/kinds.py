"""Every kind of sound: who makes it, what it is called, and which adjectives, tempo or pitch it can have.

To add a kind, write its function beside its likes and add one line here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from post_training.sounds import drums, machines, nature, tonal
from post_training.sounds.attributes import BRIGHTNESS, HITS, LENGTH, LEVEL, PACE, PAN, SPACE, Attributes, Axis

Maker = Callable[[np.random.Generator, Attributes, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`make(rng, attributes, samples)` gives [samples] or [2, samples], at any loudness and in no room.

    `names` are noun phrases, with "a " or "an " where English wants it. `pivot` is the frequency in Hz above which
    "bright" lifts and "dark" lowers. `bpm` is the range of tempi, `notes` the lowest and highest MIDI number.
    """

    make: Maker
    names: tuple[str, ...]
    axes: tuple[Axis, ...]
    pivot: float = 1500
    bpm: tuple[int, int] | None = None
    keyed: bool = False
    notes: tuple[int, int] | None = None


STRUCK = (HITS, BRIGHTNESS, LENGTH, SPACE, PAN)
HIT = (HITS, BRIGHTNESS, SPACE, PAN)
LOOP = (PACE, BRIGHTNESS, SPACE, PAN)
RINGING = (PACE, BRIGHTNESS, LENGTH, SPACE, PAN)
PLAYED = (PACE, BRIGHTNESS, SPACE, PAN)
HELD = (BRIGHTNESS, SPACE, PAN)
WASH = (BRIGHTNESS, LEVEL, PAN)
MOVING = (PACE, BRIGHTNESS, LEVEL, PAN)
CROWD = (*WASH, SPACE)
ROAR = (BRIGHTNESS, LENGTH, LEVEL, PAN)
GROOVE = (PACE, BRIGHTNESS, LENGTH, SPACE, PAN)

_DRUMS = {
    "kick": Kind(make=drums.kick, names=("a kick drum", "a bass drum"), axes=STRUCK, pivot=150),
    "snare": Kind(make=drums.snare, names=("a snare drum", "a snare"), axes=STRUCK),
    "hi-hat": Kind(make=drums.hi_hat, names=("a hi-hat", "a hi-hat cymbal"), axes=STRUCK, pivot=8000),
    "tom": Kind(make=drums.tom, names=("a tom drum", "a tom-tom"), axes=STRUCK, pivot=250),
    "clap": Kind(make=drums.clap, names=("a hand clap", "a drum machine clap"), axes=STRUCK, pivot=1800),
    "crash": Kind(make=drums.crash, names=("a crash cymbal", "a cymbal crash"), axes=STRUCK, pivot=6000),
    "house": Kind(make=drums.house_loop, names=("a house drum loop", "a house beat"), axes=LOOP, bpm=(112, 132)),
    "techno": Kind(make=drums.techno_loop, names=("a techno drum loop", "a techno beat"), axes=LOOP, bpm=(122, 150)),
    "breakbeat": Kind(
        make=drums.breakbeat_loop, names=("a breakbeat drum loop", "a breakbeat"), axes=LOOP, bpm=(120, 174)
    ),
    "hip hop": Kind(make=drums.hip_hop_loop, names=("a hip hop drum loop", "a hip hop beat"), axes=LOOP, bpm=(72, 104)),
}
_TONAL = {
    "bass line": Kind(
        make=tonal.bass_line,
        names=("a bass line", "a synth bass"),
        axes=GROOVE,
        pivot=200,
        bpm=(84, 140),
        keyed=True,
    ),
    "acid bass": Kind(
        make=tonal.acid_bass,
        names=("an acid bass line", "a 303 line"),
        axes=LOOP,
        pivot=600,
        bpm=(110, 144),
        keyed=True,
    ),
    "arpeggio": Kind(
        make=tonal.arpeggio, names=("arpeggios", "a synth arpeggio"), axes=GROOVE, pivot=900, bpm=(80, 140), keyed=True
    ),
    "plucked string": Kind(
        make=tonal.plucked, names=("a plucked string melody", "an acoustic guitar melody"), axes=RINGING, keyed=True
    ),
    "piano": Kind(make=tonal.piano, names=("a piano melody", "piano music"), axes=RINGING, pivot=900, keyed=True),
    "music box": Kind(
        make=tonal.music_box, names=("a music box", "a musical box"), axes=RINGING, pivot=2500, keyed=True
    ),
    "marimba": Kind(make=tonal.marimba, names=("a marimba melody", "a marimba"), axes=RINGING, pivot=800, keyed=True),
    "flute": Kind(make=tonal.flute, names=("a flute melody", "a flute solo"), axes=PLAYED, keyed=True),
    "organ": Kind(make=tonal.organ, names=("organ chords", "an organ"), axes=PLAYED, pivot=800, keyed=True),
    "pad": Kind(make=tonal.pad, names=("pad chords", "a synth pad"), axes=HELD, pivot=600, keyed=True),
    "strings": Kind(make=tonal.ensemble, names=("string chords", "orchestral strings"), axes=PLAYED, keyed=True),
    "choir": Kind(make=tonal.choir, names=("a choir", "choir voices"), axes=HELD, pivot=1000, keyed=True),
    "bell": Kind(make=tonal.bell, names=("a bell", "a church bell"), axes=STRUCK, notes=(60, 76)),
    "brass": Kind(make=tonal.brass, names=("brass notes", "a brass section"), axes=RINGING, notes=(50, 70)),
}
_NATURE = {
    "rain": Kind(make=nature.rain, names=("rain", "rain falling"), axes=WASH, pivot=3000),
    "wind": Kind(make=nature.wind, names=("wind", "wind blowing"), axes=WASH, pivot=600),
    "waves": Kind(make=nature.waves, names=("ocean waves", "waves on a beach"), axes=MOVING, pivot=1000),
    "thunder": Kind(make=nature.thunder, names=("thunder", "a thunderclap"), axes=ROAR, pivot=200),
    "fire": Kind(make=nature.fire, names=("a crackling fire", "fire crackling"), axes=WASH, pivot=1500),
    "stream": Kind(make=nature.stream, names=("a stream", "a babbling brook"), axes=WASH, pivot=1500),
    "drops": Kind(make=nature.drops, names=("water drops", "dripping water"), axes=PLAYED),
    "birds": Kind(make=nature.birds, names=("birds singing", "birdsong"), axes=PLAYED, pivot=5500),
    "crickets": Kind(make=nature.crickets, names=("crickets", "crickets chirping"), axes=WASH, pivot=6000),
    "frog": Kind(make=nature.frog, names=("a frog", "a frog croaking"), axes=RINGING, pivot=900),
    "dog": Kind(make=nature.dog, names=("a dog bark", "a dog barking"), axes=HIT, pivot=1200),
    "gulls": Kind(make=nature.gulls, names=("seagulls", "seagulls crying"), axes=PLAYED, pivot=2500),
    "bees": Kind(make=nature.bees, names=("bees buzzing", "buzzing bees"), axes=WASH, pivot=1000),
    "heartbeat": Kind(make=nature.heartbeat, names=("a heartbeat", "a beating heart"), axes=MOVING, pivot=120),
    "footsteps": Kind(make=nature.footsteps, names=("footsteps", "someone walking"), axes=PLAYED),
    "knocking": Kind(make=nature.knocking, names=("a knock on a door", "a door knock"), axes=HIT, pivot=600),
    "applause": Kind(make=nature.applause, names=("applause", "an audience clapping"), axes=CROWD, pivot=1800),
}
_MACHINES = {
    "sweep up": Kind(make=machines.sweep_up, names=("a rising sweep", "an up sweep"), axes=STRUCK, pivot=1200),
    "sweep down": Kind(make=machines.sweep_down, names=("a falling sweep", "a down sweep"), axes=STRUCK, pivot=1200),
    "noise burst": Kind(
        make=machines.noise_burst, names=("a noise burst", "a white noise burst"), axes=STRUCK, pivot=4000
    ),
    "laser": Kind(make=machines.laser, names=("a laser", "a laser shot"), axes=STRUCK),
    "explosion": Kind(make=machines.explosion, names=("an explosion", "a blast"), axes=ROAR, pivot=300),
    "vinyl": Kind(make=machines.vinyl, names=("vinyl crackle", "crackle of a record"), axes=WASH, pivot=2500),
    "alarm": Kind(make=machines.alarm, names=("an alarm", "an alarm clock beeping"), axes=PLAYED, pivot=4000),
    "siren": Kind(make=machines.siren, names=("a siren", "a wailing siren"), axes=PLAYED),
    "telephone": Kind(make=machines.telephone, names=("a telephone", "a ringing phone"), axes=PLAYED, pivot=2000),
    "beeps": Kind(make=machines.beeps, names=("computer beeps", "a computer beeping"), axes=PLAYED),
    "clock": Kind(make=machines.clock, names=("a clock ticking", "a ticking clock"), axes=PLAYED, pivot=3000),
    "typing": Kind(make=machines.typing, names=("typing on a keyboard", "keyboard typing"), axes=PLAYED, pivot=2500),
    "glass": Kind(make=machines.glass, names=("a glass ping", "a glass being struck"), axes=STRUCK, pivot=4000),
    "engine": Kind(make=machines.engine, names=("an engine idling", "an idling engine"), axes=MOVING, pivot=400),
    "helicopter": Kind(make=machines.helicopter, names=("a helicopter", "helicopter blades"), axes=MOVING, pivot=600),
    "train": Kind(make=machines.train, names=("a train", "a train passing over tracks"), axes=MOVING, pivot=600),
    "vacuum": Kind(make=machines.vacuum, names=("a vacuum cleaner", "a vacuum cleaner running"), axes=WASH, pivot=1500),
    "saw": Kind(make=machines.saw_cutting, names=("a handsaw", "sawing wood"), axes=PLAYED, pivot=2000),
}

KINDS = MappingProxyType({**_DRUMS, **_TONAL, **_NATURE, **_MACHINES})
