"""Ctrl-C reaches a terminal's whole group: workers must not answer it with a traceback of their own."""

import signal
import subprocess
import sys
import threading

import pytest

from post_training.workers import deaf_to_interrupts

ASK = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"


def hears_nothing() -> bool:
    return subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout == "True\n"


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_started_within_never_hears_it_and_the_starter_does_again():
    with deaf_to_interrupts():
        assert hears_nothing()
    assert not hears_nothing() and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_is_not_refused():
    deaf: list[bool] = []

    def start() -> None:
        with deaf_to_interrupts():
            deaf.append(hears_nothing())

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert deaf == [False]
