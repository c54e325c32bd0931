"""How every command line of the project ends: one clear line and an exit code for whatever went wrong.

It knows no commands.
"""

import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from edge_export.errors import EdgeExportError, MissingDependency, OutputError

INTERRUPTED, TERMINATED = 130, 143
NOTHING_LEFT = "nothing half-written was left behind"


def guarded(app: Callable[..., Any], program: str, *, extra: str = "all", left: str = NOTHING_LEFT) -> None:
    """Run `app`, a Typer or what is called like one, under the name `program`.

    extra: what to install when a module is missing. left: what a signal leaves behind, for the last line.
    """
    signal.signal(signal.SIGTERM, _terminate)
    endings = {INTERRUPTED: f"interrupted; {left}", TERMINATED: f"terminated; {left}"}
    try:
        code = app(prog_name=program, standalone_mode=False)  # else Typer prints errors in a box of its own
    except EdgeExportError as error:
        _fail(program, str(error), error.exit_code)
    except typer.TyperException as error:
        _refuse_usage(program, error)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as leaving:
        code = leaving.code
    except OSError as error:
        _fail(program, f"{error.filename or 'the system'}: {error.strerror or error}", OutputError.exit_code)
    except ModuleNotFoundError as error:
        advice = f"{error.name} is not installed: pip install 'edge-export[{extra}]'"
        _fail(program, advice, MissingDependency.exit_code)
    except MemoryError:
        advice = "not enough memory for this; close other programs or take a smaller model"
        _fail(program, advice, EdgeExportError.exit_code)
    if code in endings:  # what Typer returns may be such a code too
        _fail(program, endings[code], code)
    if code:
        sys.exit(code if isinstance(code, int) else str(code))


def _fail(program: str, message: str, code: int) -> None:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _refuse_usage(program: str, error: typer.TyperException) -> None:
    """What the parser has to say of the arguments, in one line; nothing when it has shown the help already."""
    message = error.format_message().strip()
    if not message:
        sys.exit(error.exit_code)
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else program
    _fail(program, f"{message[0].lower()}{message[1:].rstrip('.')}; try '{command} --help'", error.exit_code)


def _terminate(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: at a second signal it still cleans up
    sys.exit(TERMINATED)  # unwinds, so that temporary folders go
