"""What all runtimes are held to is what this one makes and refuses today."""

import json

import pytest

from tests.fixtures import make_broken, make_vectors
from tests.fixtures.make_vectors import FOLDER, text_of

FILES = make_vectors.FILES | make_broken.FILES
LEAST = 17  # broken files of a kind


@pytest.mark.parametrize("name", FILES)
def test_the_committed_vectors_are_those_of_today(name):
    """Otherwise: python -m tests.fixtures.make_vectors, or make_broken."""
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text_of(FILES[name]())


@pytest.mark.parametrize("name", make_broken.FILES)
def test_every_case_says_why_it_is_refused(name):
    cases = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    assert len(cases) >= LEAST
    assert all(("error" in case) != ("begins" in case) and (case.get("error") or case["begins"]) for case in cases)
