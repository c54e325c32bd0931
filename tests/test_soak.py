"""The soak's short form: it forks before anything is loaded, and so is a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import soak
from tests.soak import Soaked

ROOT = Path(__file__).parents[1]


@pytest.mark.build
def test_threads_and_children_play_what_is_played_alone_and_memory_is_flat(built):
    command = [sys.executable, "-m", "tests.soak", "--clips=24", f"--litert={built('litert', 'int8-dynamic')}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^24 clips in \d+ s, 0 of them wrong; memory \d+ MB", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "good"),
    [({}, True), ({"wrong": ("a thread",)}, False), ({"last_mb": 101 + soak.MOST_GROWTH_MB}, False)],
    ids=["as it was", "a wrong sound", "grown"],
)
def test_a_soak_is_good_when_no_sound_is_wrong_and_memory_is_flat(changes, good):
    measured = {"clips": 9, "wrong": (), "first_mb": 100.0, "last_mb": 100.0, "seconds": 1.0, **changes}
    assert Soaked(**measured).good == good
