"""Making a model worth exporting: the sounds it learns from, and how it learns."""
