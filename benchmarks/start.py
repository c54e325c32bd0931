"""One start of a bundle, in this process: seconds to its first and to its last sound, and the most memory.

    python -m benchmarks.start BUNDLE --seconds 7 --threads 2 --prompt "rain" [--second]

The engine is imported before the clock starts; opening the bundle and hashing what is not known of it come after.
Caches are whatever XDG_CACHE_HOME has. `--second` keeps programs loaded, plays another prompt, and measures the clip
after that. Prints one JSON object.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime_py import load
from runtime_py.engine import engine_for
from runtime_py.generator import Generator
from runtime_py.machine import MEGA, forget_peak_memory, peak_memory_mb
from runtime_py.manifest import load_manifest
from runtime_py.request import Request


@dataclass(frozen=True, kw_only=True)
class Start:
    """seconds, first_sound_seconds: from opening the bundle, or of a second clip from asking for it. load_seconds: of
    all programs. estimated_mb is what the bundle says that it takes beside `baseline_rss_mb`, which the imports took.
    """

    seconds: float
    first_sound_seconds: float
    load_seconds: float
    open_seconds: float
    baseline_rss_mb: float
    peak_rss_mb: float
    estimated_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--second", action="store_true")
    given = parser.parse_args()
    request = Request(prompt=given.prompt, seconds=given.seconds)
    print(json.dumps(asdict(start(given.bundle, request, given.threads, second=given.second))))


def start(bundle: Path, request: Request, threads: int, *, second: bool) -> Start:
    """Open `bundle` and play `request`; with `second` play another prompt first, and keep what it loaded."""
    engine_for(load_manifest(bundle).backend).prepare()
    baseline = peak_memory_mb()
    begun = time.perf_counter()
    with load(bundle, threads=threads, keep_loaded=second) as generator:
        if second:
            generator.generate("another " + request.prompt, seconds=request.seconds)
            forget_peak_memory()
            begun = time.perf_counter()
        return _played(generator, request, begun, baseline, 0.0 if second else generator.open_seconds)


def _played(generator: Generator, request: Request, begun: float, baseline: float, opened: float) -> Start:
    first, loading = 0.0, 0.0
    for event in generator.events(request):
        loading += event.load
        if not first and "audio" in event.tensors:
            first = time.perf_counter() - begun
    return Start(
        seconds=time.perf_counter() - begun,
        first_sound_seconds=first,
        load_seconds=loading,
        open_seconds=opened,
        baseline_rss_mb=baseline,
        peak_rss_mb=peak_memory_mb(),
        estimated_mb=generator.estimate(request).total_bytes / MEGA,
    )


if __name__ == "__main__":
    main()
