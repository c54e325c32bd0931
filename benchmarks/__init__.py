"""Measurements at the published size: run by hand, results kept as JSON, documents written from them."""
