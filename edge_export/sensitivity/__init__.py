"""Which layers suffer in int8: each alone is measured, what all do together predicted; table and picture."""

from edge_export.sensitivity.layer_error import MARGIN_DB, LayerError, suggest
from edge_export.sensitivity.measure import measure_layers

__all__ = ["MARGIN_DB", "LayerError", "measure_layers", "suggest"]
