"""One job in a fresh process, `edge_export.bench.worker`: its answer, or in one line how it ended without one."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge_export import errors
from edge_export.bench.figures import figures
from edge_export.bench.job import OUT_OF_MEMORY, Job, Run
from edge_export.errors import GenerationError
from runtime_py import strict_json
from runtime_py.schema import SchemaError, read_as

WORKER = "edge_export.bench.worker"
REMEDY = "close other programs, ask for fewer --seconds, or bench a smaller bundle"


def play_job(job: Job, what: str) -> Any:
    """The worker's answer to `job`, from a fresh process that does not outlive this call, nor its temporary files."""
    with TemporaryDirectory(prefix="edge-export-") as scratch:
        # What the process imports is what this one would: its own search path, and no other folder's files.
        paths = os.pathsep.join(str(Path(entry or Path.cwd()).absolute()) for entry in sys.path)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "TMPDIR": scratch},
        ) as process:
            try:
                answer, stderr = process.communicate(json.dumps(asdict(job)).encode())
            except BaseException:  # Ctrl-C too
                process.kill()
                process.wait()
                raise
    if process.returncode != 0:
        raise GenerationError(f"{what}: {_end(process.returncode, stderr)}")
    return _answer(answer, what)


def _end(code: int, stderr: bytes) -> str:
    """How a process ended that did not answer, in one line."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{why}; {REMEDY}"
    lines = stderr.decode(errors="replace").strip().splitlines()
    last = lines[-1].strip()[:200] if lines else f"exit code {code}"
    return f"its process failed ({last}); {REMEDY}, or try `edge-export verify`"


def _answer(answer: bytes, what: str) -> Any:
    """The answer's "run"; an error in it is raised as the class it was there."""
    try:
        document = strict_json.parse(answer.decode())
        if "error" not in document:
            return document["run"]
        kind, message = document["error"]["kind"], document["error"]["message"]
    except (ValueError, KeyError, TypeError) as error:
        raise GenerationError(f"{what}: its process gave no answer; try `edge-export verify`") from error
    if kind == OUT_OF_MEMORY:
        raise GenerationError(f"{what}: memory ran out; {REMEDY}")
    raised = getattr(errors, kind) if kind in errors.__all__ else GenerationError
    raise raised(f"{what}: {message}")


def run_from(document: Any, what: str) -> Run:
    """A Run from the worker's JSON; GenerationError when a figure is missing, or is not above 0 where it must be."""
    try:
        run = read_as(Run, document)
        sound = bool(run.stages) and all(math.isfinite(value) and value >= 0 for value in figures(run).values())
    except (SchemaError, IndexError, ZeroDivisionError) as error:
        raise GenerationError(f"{what}: its process gave no sound answer ({error}); try it again") from error
    if not sound:
        raise GenerationError(f"{what}: its process measured what cannot be; try it again")
    return run
