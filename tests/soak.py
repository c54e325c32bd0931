"""Clips by threads that share loaded bundles of both backends, beside children: every sound right, memory flat.

    python -m tests.soak --clips 200

In one process each bundle is loaded once and played by its own threads, while children that were forked before it was
loaded and children that are spawned meanwhile play it too. It ends with 1 where a sound differs from the one played
alone, or where memory grew.
"""

import argparse
import hashlib
import multiprocessing
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import Any

from runtime_py import Generator, Request, load
from runtime_py.machine import MEGA

EXECUTORCH = Path(__file__).parent / "fixtures" / "bundles" / "fp32" / "bundle"
THREADS = 4
REQUESTS = [Request(prompt=prompt, seconds=0.5, seed=seed, steps=2) for prompt in ("rain", "birds") for seed in (1, 2)]
CHILDREN_SHARE = 40  # a child plays one of so many clips
MOST_GROWTH_MB = 8.0  # from when every thread has played, a quarter of the way at least, to the end
Alone = dict[Request, str]


@dataclass(frozen=True, kw_only=True)
class Soaked:
    """clips: played in all. wrong: what differed from the sound alone, or failed. MB of 1e6 bytes, of this process."""

    clips: int
    wrong: tuple[str, ...]
    first_mb: float
    last_mb: float
    seconds: float

    @property
    def good(self) -> bool:
        return not self.wrong and self.last_mb - self.first_mb <= MOST_GROWTH_MB


def soak(bundles: list[Path], clips: int, said: Callable[[str], None]) -> Soaked:
    """Play `clips` clips: of every bundle, some in each of two children, and the rest by THREADS threads."""
    begun, share = time.perf_counter(), max(1, clips // CHILDREN_SHARE)
    forked = [_child(multiprocessing.get_context("fork"), bundle, share) for bundle in bundles]
    alone = [{request: _hash(load(bundle), request) for request in REQUESTS} for bundle in bundles]
    spawned = [_child(multiprocessing.get_context("spawn"), bundle, share) for bundle in bundles]
    by_threads = clips - share * len(forked + spawned)
    wrong: list[str] = []
    first_mb, last_mb = _play_all(bundles, alone, by_threads, wrong, said)
    for kind, children in (("forked", forked), ("spawned", spawned)):
        for bundle, expected, child in zip(bundles, alone, children, strict=True):
            for request, sound in child():
                if sound != expected.get(request):
                    wrong.append(f"a {kind} child, {bundle}: {sound}")
    return Soaked(
        clips=clips, wrong=tuple(wrong), first_mb=first_mb, last_mb=last_mb, seconds=time.perf_counter() - begun
    )


def _play_all(
    bundles: list[Path], alone: list[Alone], clips: int, wrong: list[str], said: Callable[[str], None]
) -> tuple[float, float]:
    """`clips` clips by threads that share a generator of each bundle; MB once warm, and at the end."""
    first_mb, done, counting = 0.0, 0, threading.Lock()
    warm = max(clips // 4, min(clips, 2 * THREADS * len(bundles)))  # every thread has played, and is settled
    generators = [load(bundle) for bundle in bundles]
    todo: list[queue.SimpleQueue[Request]] = [queue.SimpleQueue() for _ in bundles]
    for number in range(clips):
        todo[number % len(bundles)].put(REQUESTS[number // len(bundles) % len(REQUESTS)])

    def play(which: int) -> None:
        nonlocal first_mb, done
        for request in _taken(todo[which]):
            sound = _sound(generators[which], request)
            with counting:
                if sound != alone[which][request]:
                    wrong.append(f"a thread, {bundles[which]}: {sound}")
                done += 1
                if done == warm:
                    first_mb = _memory_mb()
                if done % 20 == 0:
                    said(f"{done} of {clips} clips by threads, {_memory_mb():.0f} MB")

    with ThreadPoolExecutor(THREADS * len(bundles)) as pool:
        list(pool.map(play, [which for which in range(len(bundles)) for _ in range(THREADS)]))
    return first_mb, _memory_mb()


def _taken(todo: "queue.SimpleQueue[Request]") -> Iterator[Request]:
    while True:
        try:
            yield todo.get_nowait()
        except queue.Empty:
            return


def _child(context: ForkContext | SpawnContext, bundle: Path, clips: int) -> Callable[[], list[tuple[Request, str]]]:
    """Start a child that plays `clips`; what is returned waits for its end, and gives what it played."""
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_play_in_child, args=(bundle, clips, writer), daemon=True)
    process.start()
    writer.close()

    def played() -> list[tuple[Request, str]]:
        try:
            made: list[tuple[Request, str]] = reader.recv() if reader.poll(600) else [(REQUESTS[0], "no answer")]
        except EOFError:
            made = [(REQUESTS[0], "ended early")]
        process.join(60)
        return made if process.exitcode == 0 else [(REQUESTS[0], f"ended with {process.exitcode}")]

    return played


def _play_in_child(bundle: Path, clips: int, writer: Any) -> None:
    generator = load(bundle)
    requests = [REQUESTS[number % len(REQUESTS)] for number in range(clips)]
    writer.send([(request, _sound(generator, request)) for request in requests])


def _hash(generator: Generator, request: Request) -> str:
    return hashlib.sha256(generator.generate(request).audio.tobytes()).hexdigest()


def _sound(generator: Generator, request: Request) -> str:
    """The hash of what is played, or what went wrong."""
    try:
        return _hash(generator, request)
    except Exception as error:  # noqa: BLE001  whatever went wrong is the finding
        return f"{type(error).__name__}: {error}"


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / MEGA


def litert_bundle(folder: Path) -> Path:
    """The LiteRT bundle of the smallest checkpoint, built in `folder`."""
    from edge_export.pipeline import BuildRequest, export_bundle
    from edge_export.progress import silent
    from tests.fixtures.make_bundles import LATENTS, SMALLEST, write_checkpoint

    checkpoint, out = folder / "smallest", folder / "litert"
    write_checkpoint(checkpoint, SMALLEST)
    request = BuildRequest(
        out=out,
        target="android-arm64",
        checkpoint=checkpoint,
        backend="litert",
        recipe="fp32",
        steps=4,
        latents=LATENTS,
    )
    export_bundle(request, silent)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--litert", type=Path, help="a LiteRT bundle; by default one is built")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        litert = arguments.litert
        if litert is None:  # in a process of its own: this one is to fork before it loads anything
            build = multiprocessing.get_context("spawn").Process(target=litert_bundle, args=(Path(scratch),))
            build.start()
            build.join()
            litert = Path(scratch, "litert")
        made = soak([EXECUTORCH, litert], arguments.clips, lambda line: sys.stdout.write(f"{line}\n"))
    for line in made.wrong:
        sys.stdout.write(f"WRONG: {line}\n")
    sys.stdout.write(
        f"{made.clips} clips in {made.seconds:.0f} s, {len(made.wrong)} of them wrong; memory {made.first_mb:.0f} MB "
        f"once warm, {made.last_mb:.0f} MB at the end, at most {MOST_GROWTH_MB:.0f} MB more are right\n"
    )
    return 0 if made.good else 1


if __name__ == "__main__":
    sys.exit(main())
