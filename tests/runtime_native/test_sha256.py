"""Every way to hash that a CPU has gives SHA-256, whatever the length; an instruction set that is there is used."""

import hashlib
import random
from pathlib import Path

import pytest

LENGTHS = (*range(200), *(size + more for size in (256, 512, 4096, 1 << 20) for more in (-1, 0, 1)), 3_000_001)
"""Around the ends of a block of 64 and of its padding, and around the pieces that a file is read in."""


def expected_ways(where: str) -> list[str]:
    if where == "edge_replay_on_arm":
        return ["arm", "portable"]  # the emulator's CPU has all that Arm has
    info = Path("/proc/cpuinfo").read_text()
    return ["x86", "portable"] if "sha_ni" in info else ["arm", "portable"] if " sha2 " in info else ["portable"]


@pytest.mark.parametrize("where", ["edge_replay", "edge_replay_on_arm"])
def test_all_ways_agree_with_another_implementation(request, where, tmp_path):
    dice, files = random.Random(1), []
    for length in LENGTHS:
        files.append(tmp_path / str(length))
        files[-1].write_bytes(dice.randbytes(length))
    done = request.getfixturevalue(where)("sha256", *files)
    assert (done.returncode, done.stderr) == (0, "")
    ways = expected_ways(where)
    lines = [line.split()[:2] for line in done.stdout.splitlines()]
    assert lines == [[way, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files for way in ways]
