"""Captioned clips of synthetic sound, 44.1 kHz stereo, drawn from a seed: free of any licence, and without end."""

from post_training.sounds.attributes import Attributes
from post_training.sounds.captions import caption
from post_training.sounds.clip import SECONDS, Clip, draw, draw_attributes, is_held_out, render
from post_training.sounds.kinds import KINDS, Kind
from post_training.sounds.synth import RATE

__all__ = [
    "KINDS",
    "RATE",
    "SECONDS",
    "Attributes",
    "Clip",
    "Kind",
    "caption",
    "draw",
    "draw_attributes",
    "is_held_out",
    "render",
]
