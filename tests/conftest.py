"""Fixtures that more than one package's tests use."""

from pathlib import Path

import pytest

ORACLE = Path(__file__).parent / "fixtures" / "oracle"


@pytest.fixture(scope="session")
def oracle() -> Path:
    """A checkpoint written by stable-audio-tools 0.0.19, and beside it what that library computes from it."""
    return ORACLE
