"""Where the command line's outputs go, and how it ends, on whatever streams it is given; with the tiny bundle."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_export import cli, console
from edge_export.command_line import guarded
from runtime_py.record import read_record
from tests.fixtures.make_bundles import FOLDER

BUNDLE = FOLDER / "int8-dynamic" / "bundle"
ROOT = Path(__file__).parents[2]
FULL = "edge-export: error: cannot write to standard output: No space left on device; send it elsewhere\n"
PLAY = ("run", BUNDLE, "--prompt", "rain", "--seconds", "0.1", "--threads", "1")


def test_the_sound_alone_goes_to_standard_output(capfdbinary, monkeypatch, tmp_path):
    record = tmp_path / "run.json"
    monkeypatch.setattr(sys, "argv", list(map(str, ("edge-export", *PLAY, "--out", "-", "--record", record))))
    monkeypatch.chdir(tmp_path)
    cli.main()
    out, err = capfdbinary.readouterr()
    assert (len(out), out[:4]) == (read_record(record).wav.bytes, b"RIFF")
    assert hashlib.sha256(out).hexdigest() == read_record(record).wav.sha256
    assert b"Wrote -: 0.100 s" in err and b"decoder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--out", "-", "--json"), 2, "--json and - would both go to standard output"),
        (("--out", "x.wav", "--record", "/dev/stdout", "--json"), 2, "--json and /dev/stdout would both go"),
        (("--out", "-", "--record", "-"), 2, "- and - are one file; name two files"),
        (("--out", "-", "--record", "stdout"), 2, "- and stdout are one file"),
        (("--out", "-", "--count", "2"), 2, "- takes one clip; name a file, or leave --count out"),
        (("--out", "/dev/null", "--count", "2"), 2, "/dev/null takes one clip"),
        (("--out", "x.wav", "--record", "same"), 2, "x.wav and same are one file"),
        (("--out", "inside"), 6, "inside lies inside the bundle"),
        (("--out", "x.wav", "--plot", "-"), 6, "cannot write the picture -: its ending is none of"),
        (("--out", "no/such/x.wav"), 6, "there is no folder"),
    ],
)
def test_outputs_that_would_spoil_something_are_refused(edge_export, tmp_path, monkeypatch, options, code, message):
    for link, target in (("stdout", "/proc/self/fd/1"), ("same", "x.wav"), ("inside", BUNDLE / "dit.pte")):
        (tmp_path / link).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    result = edge_export(*PLAY, *options)
    assert (result.code, result.out) == (code, "")
    assert message in result.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "same", "stdout"]


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">/dev/full", 6, FULL),
        ("<&- >&- 2>&-", 6, ""),
        ("| true", 141, ""),
    ],
)
def test_a_table_that_cannot_be_written_is_an_error_of_one_line(tmp_path, redirected, code, said):
    script = f'set -o pipefail; "$@" 2>{tmp_path}/said {redirected}'
    argv = ["bash", "-c", script, "bash", sys.executable, "-m", "edge_export", "inspect", str(BUNDLE)]
    assert subprocess.run(argv, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == code
    assert (tmp_path / "said").read_text() == said


def test_json_is_json_in_any_encoding(capsys, monkeypatch):
    for encoding, shown in (("utf-8", '"café"\n'), ("ascii", '"caf\\u00e9"\n')):
        monkeypatch.setattr(type(sys.stdout), "encoding", encoding, raising=False)
        console.show_json("café")
        assert capsys.readouterr().out == shown


def test_a_signal_ends_with_a_line_and_its_code(capsys):
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as leaving:
            guarded(lambda **_: os.kill(os.getpid(), signal.SIGTERM), "some-command", left="go on later")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert leaving.value.code == 143
    assert capsys.readouterr().err == "some-command: error: terminated; go on later\n"
