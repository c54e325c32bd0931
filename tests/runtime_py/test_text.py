"""Text that is not ours stays on its line."""

from runtime_py.text import from_shell, printable


def test_what_steers_a_terminal_becomes_a_space():
    assert printable("a\x1b[31mb\nc\u202ed\te") == "a [31mb c d e"
    assert printable("Übung 寿司 🎵") == "Übung 寿司 🎵"


def test_bytes_that_are_no_text_are_replaced():
    assert from_shell(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\ufffd"
    assert from_shell("café") == "café"
