"""Builds, proves and plays a checkpoint of the published size, beside the public recipe, and writes down what it took.

    make bench

Every figure goes to `benchmarks/results/published.json` as soon as it is measured, and what was measured before is
not measured again: delete the file to start over. The tables and the picture are written from that file alone.
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

from benchmarks.show import RESULTS, write_documents
from edge_export.bench.environment import environment
from edge_export.bench.measure import BenchRequest, measure
from edge_export.bench.show import bench_record
from edge_export.progress import silent
from runtime_py.manifest import load_manifest

ROOT = Path(__file__).parent.parent
BACKENDS = ("litert", "executorch")
OURS, PUBLIC = "int8-dynamic", "int8-dit"
THREADS = 2
SHORT = 7.0
PROMPT = "warm arpeggios on house beats 120BPM"
MEGA = 1e6

Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder with 12 GB to spare")
    parser.add_argument("--runs", type=int, default=3, help="generations of each side of a comparison")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    raw = results.get("raw", {})
    for name, make in plan(given.work.resolve(), given.runs).items():
        if name not in raw:
            print(name, file=sys.stderr, flush=True)
            raw[name] = make()
            save({"machine": asdict(environment()), "raw": raw})
    results = {**summary(raw), "machine": asdict(environment()), "raw": raw}
    save(results)
    write_documents(results)


def plan(work: Path, runs: int) -> dict[str, Callable[[], Record]]:
    """What to measure, by name, in order; what one makes in `work` the next ones use."""
    checkpoint = work / "checkpoint"
    todo: dict[str, Callable[[], Record]] = {
        "new-checkpoint": partial(command, ["new-checkpoint", str(checkpoint), "--size", "published"], checkpoint)
    }
    for backend in BACKENDS:
        for recipe in (OURS, PUBLIC):
            todo[f"build {backend} {recipe}"] = partial(build, work, checkpoint, backend, recipe)
            todo[f"verify {backend} {recipe}"] = partial(verify, work / f"{backend}-{recipe}")
    for backend in BACKENDS:
        ours, public = (work / f"{backend}-{recipe}" for recipe in (OURS, PUBLIC))
        todo[f"7 s {backend}"] = partial(compare_speed, ours, str(public), SHORT, runs, None)
        todo[f"whole clip {backend}"] = partial(compare_speed, ours, str(public), None, runs, None)
        todo[f"roof {backend}"] = partial(roof, ours, checkpoint)
    native = {recipe: work / f"executorch-{recipe}" for recipe in (OURS, PUBLIC)}
    todo["7 s native executorch"] = partial(play_native, native, runs)
    ours = work / f"litert-{OURS}"
    todo["whole clip eager"] = partial(compare_speed, ours, "reference", None, runs, checkpoint)
    return todo


def build(work: Path, checkpoint: Path, backend: str, recipe: str) -> Record:
    out = work / f"{backend}-{recipe}"
    choices = ["--backend", backend, "--recipe", recipe, "--no-cache"]
    record = command(
        ["build", "--target", "android-arm64", "--checkpoint", str(checkpoint), *choices, "--out", str(out)], out
    )
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
    """Seconds of None are the whole clip's."""
    seconds = load_manifest(bundle).generation.seconds_limit if seconds is None else seconds
    request = BenchRequest(
        bundle=bundle, against=against, seconds=seconds, threads=THREADS, runs=runs, checkpoint=checkpoint
    )
    return bench_record(measure(request, silent))


def play_native(bundles: dict[str, Path], runs: int) -> Record:
    """The native runner on this machine, the bundles in turns: by recipe, seconds and peak memory of every run."""
    options = ["--on", "host", "--threads", str(THREADS), "--seconds", str(SHORT), "--prompt", PROMPT, "--json"]
    made: Record = {recipe: {"seconds": [], "peak_rss_mb": []} for recipe in bundles}
    for _ in range(runs):
        for recipe, bundle in bundles.items():
            finished = subprocess.run(
                [sys.executable, "-m", "edge_export", "device", "run", str(bundle), *options],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            stages = json.loads(finished.stdout)["stages"]
            made[recipe]["seconds"].append(sum(stage["load"] + stage["run"] for stage in stages))
            made[recipe]["peak_rss_mb"].append(max(stage["peak_rss_mb"] for stage in stages))
    return made


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
    builds = [raw[f"build {backend} {OURS}"] for backend in BACKENDS]
    peaks = {backend: raw[f"7 s {backend}"]["a"]["quantities"]["peak_rss_mb"]["median"] for backend in BACKENDS}
    return {
        "speedup": {
            "clip_7s_litert": ratio(raw["7 s litert"], "seconds_total"),
            "clip_7s_executorch": ratio(raw["7 s executorch"], "seconds_total"),
            "clip_12s_vs_eager": ratio(raw["whole clip eager"], "seconds_total"),
            "decoder_256_litert": decoding_ratio(raw["whole clip litert"]),
            "decoder_256_executorch": decoding_ratio(raw["whole clip executorch"]),
            "dit_step_executorch": ratio(raw["whole clip executorch"], "dit_steady_seconds"),
            "dit_step_litert": ratio(raw["whole clip litert"], "dit_steady_seconds"),
        },
        "roof_fraction": raw["roof litert"]["fraction"],
        "roof_fraction_executorch": raw["roof executorch"]["fraction"],
        "peak_rss_mb": peaks["litert"],
        "peak_rss_mb_executorch": peaks["executorch"],
        "peak_rss_mb_executorch_native": statistics.median(raw["7 s native executorch"][OURS]["peak_rss_mb"]),
        "bundle_mb": max(each["made_mb"] - each["golden_mb"] for each in builds),
        "golden_mb": max(each["golden_mb"] for each in builds),
        "build_seconds": max(each["seconds"] for each in builds),
        "build_peak_rss_mb": max(each["peak_rss_mb"] for each in builds),
        "snr_db": {
            backend: {
                stage: min(c["snr_db"] for c in raw[f"verify {backend} {OURS}"]["checks"] if c["stage"] == stage)
                for stage in ("conditioner", "dit", "decoder")
            }
            for backend in BACKENDS
        },
        "log_mel_db": {
            backend: next(c["log_mel_db"] for c in raw[f"verify {backend} {OURS}"]["checks"] if c["stage"] == "decoder")
            for backend in BACKENDS
        },
    }


def ratio(record: Record, quantity: str) -> float:
    found: float = record["ratios"][quantity]["median"]
    return found


def decoding_ratio(record: Record) -> float:
    """B / A of all runs of the decoder for the whole clip, loading left out: the median over the pairs."""
    pairs = zip(record["a"]["runs"], record["b"]["runs"])
    return statistics.median(decoding(b) / decoding(a) for a, b in pairs)


def decoding(run: Record) -> float:
    return sum(run["stages"]["decoder"]["runs"])


def save(results: Record) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(portable(results), indent=2) + "\n", encoding="utf-8")


def portable(value: Any) -> Any:
    """`value` with bundles by their folders' names: where they lay says nothing on another machine."""
    if isinstance(value, list):
        return [portable(each) for each in value]
    if isinstance(value, dict):
        return {key: Path(each).name if key == "bundle" else portable(each) for key, each in value.items()}
    return value


if __name__ == "__main__":
    main()
