"""Commands started here: their lines as they come, and their end whatever happens to us.

It knows nothing of devices.
"""

import os
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

KEPT_LINES = 20
GRACE = 3.0  # seconds between asking a command to end and ending it
READ_BYTES = 1 << 16
LONGEST_LINE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a command ended. `out` and `err`: the last lines of each stream."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line that says something, for a message."""
        lines = [line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"it ended with {self.code} and said nothing"


def capture(argv: list[str], *, timeout: float | None, environment: dict[str, str] | None = None) -> Output:
    """Run a command to its end and keep its output; subprocess.TimeoutExpired after `timeout` seconds."""
    with started(argv, environment=environment) as process:
        out, err = process.communicate(timeout=timeout)
    return Output(code=process.returncode, out=_text(out), err=_text(err))


def follow(
    argv: list[str],
    on_line: Callable[[str], None],
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Output:
    """Run a command to its end; `on_line` gets each line of its standard error as it comes."""
    with started(argv, folder=folder, environment=environment) as process:
        out, err = _read(process, on_line)
        process.wait()
    return Output(code=process.returncode, out="\n".join(out), err="\n".join(err))


def log_to(argv: list[str], log: Path, *, folder: Path | None = None, environment: dict[str, str] | None = None) -> int:
    """Run a command to its end with all its output added to the file `log`; returns its exit code."""
    with log.open("ab") as sink, started(argv, folder=folder, environment=environment, sink=sink) as process:
        process.wait()
    return process.returncode


@contextmanager
def started(
    argv: list[str],
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    sink: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, so that Ctrl-C reaches us alone; on leaving, all of it has ended."""
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=None if environment is None else {**os.environ, **environment},
        stdin=subprocess.DEVNULL,  # adb would eat ours
        stdout=subprocess.PIPE if sink is None else sink,
        stderr=subprocess.PIPE if sink is None else subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def signal_name(code: int) -> str:
    """What ended a command that says -9 or, by way of a shell, 137: the signal's name, or the bare number."""
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return


def _read(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> tuple[deque[str], deque[str]]:
    """Both streams to their ends, the last KEPT_LINES of each."""
    kept: dict[str, deque[str]] = {name: deque(maxlen=KEPT_LINES) for name in ("out", "err")}
    rest = {"out": b"", "err": b""}
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "out")  # type: ignore[arg-type]
        selector.register(process.stderr, selectors.EVENT_READ, "err")  # type: ignore[arg-type]
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, READ_BYTES)
                *lines, rest[key.data] = (rest[key.data] + (data or b"\n")).split(b"\n")
                rest[key.data] = rest[key.data][-LONGEST_LINE:]
                for line in filter(None, map(_line, lines)):
                    kept[key.data].append(line)
                    if key.data == "err":
                        on_line(line)
                if not data:
                    selector.unregister(key.fileobj)
    return kept["out"], kept["err"]


def _line(data: bytes) -> str:
    return _text(data).strip("\r\n ")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
