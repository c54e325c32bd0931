"""Clips of synthetic sound with captions."""
