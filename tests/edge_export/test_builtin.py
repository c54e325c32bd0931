"""The built-in checkpoint is the same in every process, and goes with it."""

import subprocess
import sys
from pathlib import Path

from edge_export.builtin import builtin_checkpoint, is_builtin
from edge_export.checkpoint import open_checkpoint

ELSEWHERE = """
from edge_export.builtin import builtin_checkpoint
from edge_export.checkpoint import open_checkpoint
print(builtin_checkpoint(), open_checkpoint(builtin_checkpoint()).sha256)
"""


def test_it_is_made_once_and_known_again(tmp_path):
    folder = builtin_checkpoint()
    assert builtin_checkpoint() == folder and is_builtin(folder) and not is_builtin(tmp_path)


def test_another_process_makes_the_same_and_leaves_nothing():
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True)
    folder, sha256 = done.stdout.split()
    assert sha256 == open_checkpoint(builtin_checkpoint()).sha256
    assert not Path(folder).exists() and not Path(folder).parent.exists()
