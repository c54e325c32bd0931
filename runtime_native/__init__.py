"""The runtime in C++17: its sources, found wherever the package is installed. Python builds it, and imports nothing."""

from pathlib import Path

SOURCES = Path(__file__).parent
