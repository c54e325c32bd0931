"""Holds the record of a device's run, or its WAV, against the truth: the comparison, its table, picture and page."""

from edge_export.compare.comparison import Comparison, compare, heading, refuse_failures
from edge_export.compare.wav import WavComparison, compare_wav, refuse_other_sound

__all__ = ["Comparison", "WavComparison", "compare", "compare_wav", "heading", "refuse_failures", "refuse_other_sound"]
