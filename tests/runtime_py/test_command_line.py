"""How a command ends: the line and the exit code."""

import importlib
import sys
from pathlib import Path

import pytest

from runtime_py.command_line import ended
from runtime_py.errors import ReaderGone


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SystemExit(143), 143, "x: error: terminated; nothing half-written was left behind\n"),
        (KeyboardInterrupt(), 130, "x: error: interrupted; nothing half-written was left behind\n"),
        (ReaderGone("nobody reads it"), 141, ""),
        (SystemExit(None), 0, ""),
        (PermissionError(13, "Permission denied", "there"), 6, "x: error: there: Permission denied\n"),
    ],
)
def test_every_end_has_a_code_and_a_line_at_most(capsys, error, code, line):
    assert ended("x", error, install="") == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_thing", "no_such_thing is not installed, and installed_package needs it"),
        ("import json.no_such_part", "json is installed, but without json.no_such_part, which installed_package needs"),
        (
            "import importlib; importlib.import_module('no_such_thing')",
            "no_such_thing is not installed, and installed_package needs it",
        ),
        ("raise ModuleNotFoundError('no driver')", "no driver is not installed, and installed_package needs it"),
    ],
)
def test_what_an_installed_package_lacks_is_named(tmp_path: Path, monkeypatch, capsys, source, said):
    (tmp_path / "installed_package").mkdir()
    (tmp_path / "installed_package" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "installed_package", raising=False)
    with pytest.raises(ModuleNotFoundError) as raised:
        importlib.import_module("installed_package")
    assert ended("x", raised.value, install="install it with pip") == 8
    assert capsys.readouterr().err == f"x: error: {said}; install it with pip\n"
