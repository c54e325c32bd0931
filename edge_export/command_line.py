"""How every command line of this side ends: what the parser refuses, and all else as `runtime_py.command_line` has it.

It knows no commands.
"""

import sys
from collections.abc import Callable
from typing import Any

import typer

from runtime_py.command_line import ENDINGS, NOTHING_LEFT, begin, ended, refused


def guarded(app: Callable[..., Any], program: str, *, extra: str = "all", left: str = NOTHING_LEFT) -> None:
    """Run `app`, a Typer or what is called like one, under the name `program`.

    extra: what to install when a module is missing. left: what a signal leaves behind, for the last line.
    """
    begin()
    try:
        code = app(prog_name=program, standalone_mode=False)  # else Typer prints errors in a box of its own
        sys.stdout.flush()
        sys.exit(code)
    except typer.TyperException as error:
        code = _refused_usage(program, error)
    except typer.Abort:
        code = ended(program, KeyboardInterrupt(), install="", left=left)
    except ENDINGS as error:
        code = ended(program, error, install=f"pip install 'edge-export[{extra}]'", left=left)
    if code:
        sys.exit(code)


def _refused_usage(program: str, error: typer.TyperException) -> int:
    """What the parser has to say of the arguments, in one line; nothing when it has shown the help already."""
    message = error.format_message().strip()
    if message:
        context: typer.Context | None = getattr(error, "ctx", None)
        command = context.command_path if context else program
        message = f"{message[0].lower()}{message[1:].rstrip('.')}; try '{command} --help'"
    return refused(program, message, error.exit_code)
