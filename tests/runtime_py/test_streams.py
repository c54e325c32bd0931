"""Standard streams that are closed, full, or not read: a note that is lost costs nothing, a result is an error."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime_py.errors import OutputError, ReaderGone
from runtime_py.streams import summary

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from pathlib import Path
from runtime_py.command_line import ENDINGS, begin, ended
begin()
try:
    opened = open(sys.argv[1], "w")
    print("a note", file=sys.stderr)
    print("caf\\u00e9 \\udcff" + "." * 1000)
    sys.stdout.flush()
    raise MemoryError
except ENDINGS as error:
    sys.exit(ended("program", error, install=""))
"""
ENOUGH = "program: error: not enough memory for this; close other programs or take a smaller model\n"
FULL = "program: error: cannot write to standard output: No space left on device; send it elsewhere\n"
CLOSED = "program: error: cannot write to standard output: Bad file descriptor; send it elsewhere\n"


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">/dev/null", 1, ENOUGH),
        (">/dev/null 2>&-", 1, ""),
        (">/dev/null 2>/dev/full", 1, ""),
        ("<&- >&- 2>&-", 6, ""),
        (">&-", 6, CLOSED),
        (">/dev/full", 6, FULL),
        ("| true", 141, ""),
    ],
)
def test_whatever_the_streams_are_there_is_one_line_at_most(tmp_path, redirected, code, said):
    """A file that is opened never takes the place of a stream, and nothing is said when Python ends."""
    script = f'set -o pipefail; "$0" -c "$1" {tmp_path}/opened 2>{tmp_path}/said {redirected}'
    argv = ["bash", "-c", script, sys.executable, PROGRAM]
    done = subprocess.run(argv, cwd=ROOT, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert done.returncode == code
    note = "" if "2>" in redirected else "a note\n"
    assert (tmp_path / "said").read_text() == note + said
    assert (tmp_path / "opened").read_bytes() == b""


def test_a_summary_goes_beside_its_result_and_may_be_lost(tmp_path, capsys, monkeypatch):
    with summary(None):
        print("the result")
    with summary(tmp_path / "x.wav"):
        print("beside a file")
    with summary(None, Path("-")):
        print("beside the result")
    assert capsys.readouterr() == ("the result\nbeside a file\n", "beside the result\n")

    def gone() -> None:
        raise ReaderGone("nobody reads standard output any more")

    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "flush", gone)
        with summary(tmp_path / "x.wav"):
            print("lost")
        with pytest.raises(OutputError), summary(None):
            print("missed")
