"""Builds, proves and plays a checkpoint of the published size, beside the public recipe, and writes down what it took.

    make bench

Every figure goes to `measured.json` in the work folder as soon as it is there, and what was measured before is not
measured again: delete that file to start over. At the end `benchmarks/results/published.json` gets them as those of
this machine, beside other machines' that it holds; the tables and the picture are written from it alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machines import machine_name, read, save, with_machine
from benchmarks.show import RESULTS, write_documents
from benchmarks.starts import COLD, VERY_COLD, WARM, in_turns, middle, native_start, python_start, ratio
from edge_export.bench.environment import environment
from edge_export.bench.measure import BenchRequest, measure
from edge_export.bench.show import bench_record
from edge_export.progress import silent
from runtime_py.manifest import load_manifest

ROOT = Path(__file__).parent.parent
BACKENDS = ("litert", "executorch")
OURS, PUBLIC = "int8-dynamic", "int8-dit"
BUILT_IN = "built-in"
THREADS = 2
SHORT = 7.0
PROMPT = "warm arpeggios on house beats 120BPM"
MEGA = 1e6
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder with 12 GB to spare")
    parser.add_argument("--runs", type=int, default=3, help="generations of each side of a comparison")
    parser.add_argument("--size", default="published", help="tiny: go through everything in minutes, with --results")
    parser.add_argument("--results", type=Path, default=RESULTS, help="another file than that of the docs")
    given = parser.parse_args()
    if given.size != "published" and given.results == RESULTS:
        parser.error("--size is for trying it: name a file of your own as --results")
    given.work.mkdir(parents=True, exist_ok=True)
    raw = measure_all(given.work.resolve(), given.runs, given.size)
    results = with_machine(read(given.results), {**summary(raw), "machine": asdict(environment()), "raw": raw})
    save(given.results, results)
    if given.results == RESULTS:
        write_documents(results)


def measure_all(work: Path, runs: int, size: str) -> Record:
    """Everything in `plan`, but for what `work` holds of this machine already."""
    measured = work / "measured.json"
    machine = asdict(environment())
    before = read(measured)
    raw: Record = before["raw"] if before and machine_name(before["machine"]) == machine_name(machine) else {}
    for name, make in plan(work, runs, size).items():
        if name not in raw:
            print(name, file=sys.stderr, flush=True)
            raw[name] = make()
            save(measured, {"machine": machine, "raw": raw})
    return raw


def plan(work: Path, runs: int, size: str) -> dict[str, Callable[[], Record]]:
    """What to measure, by name, in order; what one makes in `work` the next ones use."""
    checkpoint = work / "checkpoint"
    todo: dict[str, Callable[[], Record]] = {
        "new-checkpoint": partial(command, ["new-checkpoint", str(checkpoint), "--size", size], checkpoint)
    }
    for backend in BACKENDS:
        for recipe in (OURS, PUBLIC):
            todo[f"build {backend} {recipe}"] = partial(build, work, checkpoint, backend, recipe)
            todo[f"verify {backend} {recipe}"] = partial(verify, work / f"{backend}-{recipe}")
    built_in = work / BUILT_IN
    todo[f"build {BUILT_IN}"] = partial(command, build_words("executorch", OURS, built_in), built_in)
    both = {backend: {recipe: work / f"{backend}-{recipe}" for recipe in (OURS, PUBLIC)} for backend in BACKENDS}
    for backend in BACKENDS:
        ours, public = both[backend].values()
        todo[f"7 s {backend}"] = partial(compare_speed, ours, str(public), SHORT, runs, None)
        todo[f"whole clip {backend}"] = partial(compare_speed, ours, str(public), None, runs, None)
        todo[f"roof {backend}"] = partial(roof, ours, checkpoint)
        todo[f"starts {backend}"] = partial(starts, both[backend], python_start, runs, (VERY_COLD, COLD, WARM))
    todo["starts executorch native"] = partial(starts, both["executorch"], native_start, runs, (VERY_COLD, COLD))
    todo[f"starts {BUILT_IN} native"] = partial(starts, {OURS: built_in}, native_start, runs, (VERY_COLD, COLD))
    todo["whole clip eager"] = partial(compare_speed, both["litert"][OURS], "reference", None, runs, checkpoint)
    return todo


def starts(bundles: dict[str, Path], starting: Callable[..., Any], runs: int, kinds: tuple[str, ...]) -> Record:
    """How a clip of 7 s begins, by bundle and kind of start."""
    play = starting(PROMPT, min(short(bundle) for bundle in bundles.values()), THREADS)
    return in_turns(bundles, play, runs, kinds)


def short(bundle: Path) -> float:
    """7 s, or what the model makes where that is less."""
    return min(SHORT, load_manifest(bundle).generation.seconds_limit)


def build_words(backend: str, recipe: str, out: Path) -> list[str]:
    choices = ["--backend", backend, "--recipe", recipe, "--no-cache"]
    return ["build", "--target", "android-arm64", *choices, "--out", str(out)]


def build(work: Path, checkpoint: Path, backend: str, recipe: str) -> Record:
    out = work / f"{backend}-{recipe}"
    record = command([*build_words(backend, recipe, out), "--checkpoint", str(checkpoint)], out)
    return {**record, "golden_mb": load_manifest(out).golden.bytes / MEGA}


def command(arguments: list[str], made: Path) -> Record:
    """Run `edge-export ARGUMENTS` in a fresh process, as a user would: seconds, peak memory, and MB of what it made.

    Peak memory is that of the largest process: what the command starts counts too.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "edge_export", *arguments], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"failed: edge-export {' '.join(arguments)}")
    files = [file for file in made.rglob("*") if file.is_file()]
    return {
        "seconds": seconds,
        "peak_rss_mb": usage.ru_maxrss * 1024 / MEGA,
        "made_mb": sum(file.stat().st_size for file in files) / MEGA,
    }


def verify(bundle: Path) -> Record:
    """What `edge-export verify` says; a check that fails is a result too."""
    verifying = [sys.executable, "-m", "edge_export", "verify", str(bundle), "--json"]
    finished = subprocess.run(verifying, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    record: Record = json.loads(finished.stdout)
    programs = load_manifest(bundle).programs
    record["undelegated"] = {role: program.graph.undelegated for role, program in programs.items()}
    record["delegates"] = {role: program.graph.delegates for role, program in programs.items()}
    return record


def compare_speed(bundle: Path, against: str, seconds: float | None, runs: int, checkpoint: Path | None) -> Record:
    """Seconds of None are the whole clip's, and no more are asked for than it has."""
    limit = load_manifest(bundle).generation.seconds_limit
    seconds = limit if seconds is None else min(seconds, limit)
    request = BenchRequest(
        bundle=bundle, against=against, seconds=seconds, threads=THREADS, runs=runs, checkpoint=checkpoint
    )
    return bench_record(measure(request, silent))


def roof(bundle: Path, checkpoint: Path) -> Record:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.roof", str(bundle), "--checkpoint", str(checkpoint)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    record: Record = json.loads(finished.stdout)
    return record


def summary(raw: Record) -> Record:
    """The figures that goals are set for. Where one figure stands for both backends it is the worse of the two."""
    builds = {backend: raw[f"build {backend} {OURS}"] for backend in BACKENDS}
    native, built_in = raw["starts executorch native"], raw[f"starts {BUILT_IN} native"]
    return {
        "cold": cold(raw),
        "warm": {f"ratio_7s_{backend}": start_ratio(raw[f"starts {backend}"], WARM) for backend in BACKENDS},
        "peak_rss_mb": {
            "litert": middle(raw["starts litert"][OURS][COLD], "peak_rss_mb"),
            "executorch_native": middle(native[OURS][COLD], "peak_rss_mb"),
            "built_in_native": middle(built_in[OURS][COLD], "peak_rss_mb"),
        },
        "estimate_off": {backend: estimate_off(raw[f"starts {backend}"]) for backend in BACKENDS},
        "roof_fraction": raw["roof litert"]["fraction"],
        "roof_fraction_executorch": raw["roof executorch"]["fraction"],
        "build": {
            backend: {figure: build[figure] for figure in ("seconds", "peak_rss_mb")}
            for backend, build in builds.items()
        },
        "speedup": speedup(raw),
        "bundle_mb": max(each["made_mb"] - each["golden_mb"] for each in builds.values()),
        "golden_mb": max(each["golden_mb"] for each in builds.values()),
        **fidelity(raw),
    }


def estimate_off(starts: Record) -> float:
    """How far the memory told before is from what a process grew by, as a share of that; of all starts the worst."""
    made = [each for kinds in starts.values() for each in kinds.values()]
    offs = [middle(each, "estimated_mb") / growth(each) - 1 for each in made]
    return max(offs, key=abs)


def growth(made: list[Record]) -> float:
    """MB above what the process had with its imports alone."""
    return middle(made, "peak_rss_mb") - middle(made, "baseline_rss_mb")


def cold(raw: Record) -> Record:
    """Of fresh processes that find packed weights and receipt: seconds, and times as fast as the public recipe."""
    native = raw["starts executorch native"]
    return {
        "load_seconds_executorch_native": middle(native[OURS][COLD], "load_seconds"),
        "first_sound_seconds_litert": middle(raw["starts litert"][OURS][COLD], "first_sound_seconds"),
        "first_sound_seconds_executorch_native": middle(native[OURS][COLD], "first_sound_seconds"),
        **{f"ratio_7s_{backend}": start_ratio(raw[f"starts {backend}"], COLD) for backend in BACKENDS},
        "ratio_7s_executorch_native": start_ratio(native, COLD),
    }


def speedup(raw: Record) -> Record:
    return {
        "clip_12s_vs_eager": bench_ratio(raw["whole clip eager"], "seconds_total"),
        "decoder_256_litert": decoding_ratio(raw["whole clip litert"]),
        "decoder_256_executorch": decoding_ratio(raw["whole clip executorch"]),
        "dit_step_executorch": bench_ratio(raw["whole clip executorch"], "dit_steady_seconds"),
        "dit_step_litert": bench_ratio(raw["whole clip litert"], "dit_steady_seconds"),
    }


def fidelity(raw: Record) -> Record:
    checks = {backend: raw[f"verify {backend} {OURS}"]["checks"] for backend in BACKENDS}
    return {
        "snr_db": {
            backend: {
                stage: min(c["snr_db"] for c in found if c["stage"] == stage)
                for stage in ("conditioner", "dit", "decoder")
            }
            for backend, found in checks.items()
        },
        "log_mel_db": {
            backend: next(c["log_mel_db"] for c in found if c["stage"] == "decoder")
            for backend, found in checks.items()
        },
    }


def start_ratio(record: Record, kind: str) -> float:
    return ratio(record[OURS][kind], record[PUBLIC][kind])


def bench_ratio(record: Record, quantity: str) -> float:
    found: float = record["ratios"][quantity]["median"]
    return found


def decoding_ratio(record: Record) -> float:
    """B / A of all runs of the decoder for the whole clip, loading left out: the median over the pairs."""
    pairs = zip(record["a"]["runs"], record["b"]["runs"])
    return statistics.median(decoding(b) / decoding(a) for a, b in pairs)


def decoding(run: Record) -> float:
    return sum(run["stages"]["decoder"]["runs"])


if __name__ == "__main__":
    main()
