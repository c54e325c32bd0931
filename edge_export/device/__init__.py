"""Devices: what they lack, what travels to them, and a bundle played on one. It knows nothing of sound."""
