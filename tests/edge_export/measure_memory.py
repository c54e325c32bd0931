"""What a generation takes of memory, measured in a process of its own, beside the estimate.

    python -m tests.edge_export.measure_memory BUNDLE SECONDS [--keep] [--runner edge-run]

The process is watched from outside, for it may hold Python's lock while a program runs.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import IO

from runtime_py.estimate import Estimate, estimate_request
from runtime_py.manifest import MemorySpec, load_manifest
from runtime_py.request import Request

PROMPT = "warm arpeggios on house beats"
READY, DONE = "ready", "done"
PAUSE = 0.0002
# Does all that a generation does; what it imports first is what a process has imported that opened nothing.
WORKER = f"""
import sys
from runtime_py.bundle import open_bundle
from runtime_py.engine import bundle_programs
from runtime_py.generator import Generator
folder, seconds, keep = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "keep"
bundle = open_bundle(folder)
programs = bundle_programs(bundle, threads=2)
print({READY!r}, flush=True)
sys.stdin.readline()
clip = Generator(bundle, programs, keep_loaded=keep).generate({PROMPT!r}, seconds=seconds)
print({DONE!r}, flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A process's memory in bytes: pages of files, all else, and the most of both together so far."""

    mapped: int
    private: int
    peak: int


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How much a process grew: `total` to its peak, mapped and private at the largest that was seen.

    libraries: how much of it are pages of shared libraries. A system maps a few at a touch, or hundreds: two that play
    the same bundle differ by 12 MB here.
    """

    total: int
    mapped: int
    private: int
    libraries: int = 0


def measured(bundle: Path, seconds: float, *, keep_loaded: bool = False) -> Growth:
    """A generation in Python, less what the process held once its imports were made."""
    command = [sys.executable, "-c", WORKER, str(bundle), str(seconds), "keep" if keep_loaded else "drop"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline().strip() == READY
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # forgets the peak of the imports
        before, libraries = resident(process.pid), of_libraries(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        seen = list(_until_it_answers(process.pid, process.stdout))
        assert process.stdout.readline().strip() == DONE
        seen.append(resident(process.pid))
        libraries = of_libraries(process.pid) - libraries
        process.stdin.write("\n")
    return replace(_growth(before, seen), libraries=libraries)


def measured_native(runner: Path, bundle: Path, seconds: float, out: Path) -> Growth:
    """A generation of edge-run, less what it held when it found no bundle."""
    rest = ["--prompt", PROMPT, "--seconds", str(seconds), "--threads", "2", "--out", str(out)]
    # It ends within a millisecond or two: of many runs some are seen whole.
    empty = chain.from_iterable(_watch([str(runner), "--bundle", str(out.parent), *rest]) for _ in range(30))
    return _growth(max(empty, key=lambda each: each.peak), _watch([str(runner), "--bundle", str(bundle), *rest]))


def estimated(bundle: Path, seconds: float, *, runtime: str = "python", keep_loaded: bool = False) -> Estimate:
    """What is told before."""
    request = Request(prompt=PROMPT, seconds=seconds)
    return estimate_request(load_manifest(bundle), request, keep_loaded=keep_loaded, runtime=runtime)


def memory_of(program: Path, *, float16: bool = False) -> MemorySpec:
    """What a compile says of the program that it wrote, found in the file."""
    if program.suffix == ".tflite":
        from edge_export.backends.memory_litert import model_memory
        from runtime_py.engines.litert import open_model

        return model_memory(open_model(program), float16=float16)
    from executorch.exir._serialize._program import deserialize_pte_binary

    from edge_export.backends.memory_executorch import delegates_memory

    file = deserialize_pte_binary(program.read_bytes()).program
    (plan,) = file.execution_plan
    data = [bytes(file.backend_delegate_data[delegate.processed.index].data) for delegate in plan.delegates]
    return delegates_memory(data, sum(plan.non_const_buffer_sizes))


def resident(pid: int) -> Resident:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    size = {name: int(fields[name].split()[0]) * 1024 for name in ("RssFile", "RssShmem", "RssAnon", "VmHWM")}
    return Resident(mapped=size["RssFile"] + size["RssShmem"], private=size["RssAnon"], peak=size["VmHWM"])


def of_libraries(pid: int) -> int:
    """Bytes in memory of the shared libraries that a process has mapped."""
    total, counted = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024 if counted else 0
        elif "-" in line.split()[0]:  # the addresses of the next mapping, and its file
            counted = ".so" in line.rpartition("/")[2]
    return total


def _until_it_answers(pid: int, answers: IO[str]) -> Iterator[Resident]:
    while not select([answers], [], [], PAUSE)[0]:
        yield resident(pid)


def _watch(command: Sequence[str]) -> list[Resident]:
    seen = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                seen.append(resident(process.pid))
            except (KeyError, ProcessLookupError, FileNotFoundError):  # it is just ending
                break
            time.sleep(PAUSE)
    return seen


def _growth(before: Resident, seen: Sequence[Resident]) -> Growth:
    largest = max(seen, key=lambda each: each.mapped + each.private)
    return Growth(
        total=max(each.peak for each in seen) - before.mapped - before.private,
        mapped=largest.mapped - before.mapped,
        private=largest.private - before.private,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--runner", type=Path)
    chosen = parser.parse_args()
    runtime = "native" if chosen.runner else "python"
    told = estimated(chosen.bundle, chosen.seconds, runtime=runtime, keep_loaded=chosen.keep)
    if chosen.runner:
        with TemporaryDirectory() as folder:
            found = measured_native(chosen.runner, chosen.bundle, chosen.seconds, Path(folder) / "x.wav")
    else:
        found = measured(chosen.bundle, chosen.seconds, keep_loaded=chosen.keep)
    rows = ((told.total_bytes, found.total), (told.mapped_bytes, found.mapped), (told.private_bytes, found.private))
    numbers = chain.from_iterable((tell / 1e6, find / 1e6, 100 * (tell / find - 1)) for tell, find in rows)
    row = "{:6.1f} of {:6.1f} ({:+4.0f} %)"
    print(chosen.bundle.name, " | ".join([row] * 3).format(*numbers))


if __name__ == "__main__":
    main()
