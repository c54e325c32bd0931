"""Holds the record of a run on some device against the truth: the comparison, its table, picture and page."""

from edge_export.compare.comparison import Comparison, compare, heading, refuse_failures

__all__ = ["Comparison", "compare", "heading", "refuse_failures"]
