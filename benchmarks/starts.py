"""How bundles begin: very cold, cold and warm, ours and the public recipe's in turns. It writes nothing down.

Very cold: a fresh process that finds neither receipt nor packed weights. Cold: the next fresh process, which finds what
that one left. Warm: the second clip of a process that keeps its programs. The system has the files in memory each time.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VERY_COLD, COLD, WARM = KINDS = ("very cold", "cold", "warm")
SAID = re.compile(r"opened in ([0-9.]+) s, first audio after ([0-9.]+) s")

Record = dict[str, Any]
Play = Callable[[Path, Path, str], Record]
"""(bundle, folder of caches, kind) -> the figures of one start."""


def in_turns(bundles: Mapping[str, Path], play: Play, rounds: int, kinds: tuple[str, ...] = KINDS) -> Record:
    """By name of bundle and kind, the figures of every round; every other round the bundles are turned around."""
    made: Record = {name: {kind: [] for kind in kinds} for name in bundles}
    for index in range(rounds):
        for name in list(bundles)[:: 1 if index % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory(prefix="edge-export-caches-") as caches:
                for kind in kinds:
                    made[name][kind].append(play(bundles[name], Path(caches), kind))
    return made


def python_start(prompt: str, seconds: float, threads: int) -> Play:
    """Plays by `benchmarks.start`; `process_seconds` are the interpreter's and imports' too."""
    options = ["--prompt", prompt, "--seconds", str(seconds), "--threads", str(threads)]
    return partial(_python_start, options)


def _python_start(options: list[str], bundle: Path, caches: Path, kind: str) -> Record:
    words = [sys.executable, "-m", "benchmarks.start", str(bundle), *options, *["--second"] * (kind == WARM)]
    begun = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, env=_environment(caches), stdout=subprocess.PIPE, check=True)
    return {**json.loads(done.stdout), "process_seconds": time.perf_counter() - begun}


def native_start(prompt: str, seconds: float, threads: int, runner: Path | None = None) -> Play:
    """Plays by edge-run, compiled here if no `runner` is given; it plays one clip, and so is never warm."""
    if runner is None:
        from edge_export.device.build import RUNNER, build_runner

        runner = build_runner("host").folder / RUNNER
    options = [f"--prompt={prompt}", f"--seconds={seconds}", f"--threads={threads}"]
    return partial(_native_start, runner, options)


def _native_start(runner: Path, options: list[str], bundle: Path, caches: Path, kind: str) -> Record:
    """`seconds` reach from the process's start until the WAV is written; the record, which costs time, comes after."""
    with tempfile.TemporaryDirectory(prefix="edge-export-native-") as made:
        out, record = Path(made, "x.wav"), Path(made, "run.json")
        words = [str(runner), f"--bundle={bundle}", *options, f"--out={out}", f"--record={record}"]
        begun = time.time()
        done = subprocess.run(
            words, env=_environment(caches), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
        )
        ended, written = time.time(), out.stat().st_mtime
        stages = json.loads(record.read_text(encoding="utf-8"))["stages"]
    said = SAID.search(done.stdout)
    if said is None:
        raise SystemExit(f"edge-run no longer says when its first audio came: {done.stdout!r}")
    opened, first = map(float, said.groups())
    return {
        "seconds": written - begun,
        "first_sound_seconds": opened + first,
        "load_seconds": sum(stage["load"] for stage in stages),
        "open_seconds": opened,
        "peak_rss_mb": max(stage["peak_rss_mb"] for stage in stages),
        "process_seconds": ended - begun,
    }


def _environment(caches: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(caches)}


def middle(starts: list[Record], figure: str) -> float:
    return statistics.median(start[figure] for start in starts)


def ratio(ours: list[Record], theirs: list[Record], figure: str = "seconds") -> float:
    """How many times as long theirs take: the median over the pairs."""
    return statistics.median(their[figure] / our[figure] for our, their in zip(ours, theirs, strict=True))
