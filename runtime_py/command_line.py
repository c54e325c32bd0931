"""How every command line of the project begins and ends: sound streams, one clear line, an exit code.

It knows no commands.
"""

import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from traceback import walk_tb

from runtime_py.errors import EdgeExportError, MissingDependency, OutputError, ReaderGone, first_line
from runtime_py.streams import open_streams

INTERRUPTED, TERMINATED = 130, 143
NOTHING_LEFT = "nothing half-written was left behind"
ENDINGS = (EdgeExportError, KeyboardInterrupt, SystemExit, OSError, ModuleNotFoundError, MemoryError)
"""What may end a command; anything else is a defect of ours, with its traceback."""


def begin() -> None:
    """To be called before anything else: streams that hold, and a SIGTERM that cleans up."""
    open_streams()
    signal.signal(signal.SIGTERM, _terminate)


def ended(program: str, error: BaseException, *, install: str, left: str = NOTHING_LEFT) -> int:
    """The exit code for what ended a command, one of ENDINGS, whose line is printed.

    install: how a missing package is brought. left: what a signal leaves behind.
    """
    match error:
        case ReaderGone():
            return refused(program, "", error.exit_code)
        case EdgeExportError():
            return refused(program, str(error), error.exit_code)
        case KeyboardInterrupt() | SystemExit(code=130):
            return refused(program, f"interrupted; {left}", INTERRUPTED)
        case SystemExit(code=143):
            return refused(program, f"terminated; {left}", TERMINATED)
        case SystemExit(code=int() | None as code):
            return refused(program, "", code or 0)
        case OSError():
            said = f"{error.filename or 'the system'}: {error.strerror or error}"
            return refused(program, said, OutputError.exit_code)
        case ModuleNotFoundError():
            return refused(program, f"{_missing(error)}; {install}", MissingDependency.exit_code)
        case MemoryError():
            said = "not enough memory for this; close other programs or take a smaller model"
            return refused(program, said, EdgeExportError.exit_code)
    raise error


def refused(program: str, message: str, code: int) -> int:
    """Print the line, if there is one, after all that was printed before it; the exit code comes back."""
    with suppress(OutputError):
        sys.stdout.flush()
    if message:
        print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _missing(error: ModuleNotFoundError) -> str:
    """What is missing, and who asked for it: often a package that is itself installed."""
    name = error.name or first_line(error)
    names = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    asker = next((asked for asked in reversed(names) if asked != "importlib"), "this")
    package = name.partition(".")[0]
    if package != name and find_spec(package) is not None:
        return f"{package} is installed, but without {name}, which {asker} needs"
    return f"{name} is not installed, and {asker} needs it"


def _terminate(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: at a second signal it still cleans up
    sys.exit(TERMINATED)  # unwinds, so that temporary folders go
