"""Builds and plays a checkpoint of the published size on both backends, and writes down what it took.

    make bench

Every command runs in a process of its own, as a user would run it; its time and peak memory go to
`benchmarks/results/published-build.json`, and the table in `docs/published-size.md` is written from that file.
A command that was measured before is not run again: delete the JSON to start over.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "published-build.json"
DOCUMENT = ROOT / "docs" / "published-size.md"
BEGIN, END = "<!-- written by benchmarks/published.py: begin -->", "<!-- end -->"
PACKAGES = ("torch", "executorch", "litert-torch", "litert-quantizer", "ai-edge-litert")
PROMPT = "warm arpeggios on house beats 120BPM with drums effect"
BACKENDS = ("executorch", "litert")
RECIPES = ("int8-dynamic",)
MEGA = 1e6


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One command: how long it took, its peak memory, and the size of what it made."""

    command: str
    seconds: float
    peak_rss_mb: float
    output_mb: float


def measure(arguments: list[str], shown: str, output: Path) -> Measured:
    """Run `edge-export ARGUMENTS` in a fresh process; its failure is ours."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "edge_export", *arguments], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"failed: {shown}")
    return Measured(
        command=shown, seconds=seconds, peak_rss_mb=usage.ru_maxrss * 1024 / MEGA, output_mb=size_mb(output)
    )


def size_mb(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / MEGA


def commands(work: Path) -> dict[str, tuple[list[str], str, Path]]:
    """Name -> (arguments, what a user would type, what it makes), in the order to run them."""
    checkpoint = work / "checkpoint"
    made: dict[str, tuple[list[str], str, Path]] = {
        "new-checkpoint": (
            ["new-checkpoint", str(checkpoint), "--size", "published"],
            "new-checkpoint P --size published",
            checkpoint,
        )
    }
    for backend in BACKENDS:
        for recipe in RECIPES:
            name, bundle = f"{backend}-{recipe}", work / f"{backend}-{recipe}"
            choice = ["--backend", backend, "--recipe", recipe]
            made[f"build-{name}"] = (
                ["build", "--target", "android-arm64", "--checkpoint", str(checkpoint), *choice, "--out", str(bundle)],
                f"build --checkpoint P {' '.join(choice)}",
                bundle,
            )
            wav = work / f"{name}.wav"
            made[f"run-{name}"] = (
                ["run", str(bundle), "--prompt", PROMPT, "--seconds", "7", "--out", str(wav)],
                f"run --seconds 7 ({backend}, {recipe})",
                wav,
            )
    return made


def machine() -> dict[str, str]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {"cpu": cpu, "cores": str(os.cpu_count())} | {name: version(name) for name in PACKAGES}


def write_document(results: dict) -> None:
    """Replace the part of the document between the marks by a table of `results`."""
    versions = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    rows = [
        f"| `edge-export {row['command']}` | {row['seconds']:.0f} | {row['peak_rss_mb']:.0f} | {row['output_mb']:.0f} |"
        for row in results["commands"].values()
    ]
    table = [
        "| command | seconds | peak memory, MB | makes, MB |",
        "|---|---:|---:|---:|",
        *rows,
        "",
        f"On: {versions}.",
    ]
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n" + "\n".join(table) + f"\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder with 10 GB to spare")
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"machine": machine(), "commands": {}}
    for name, (arguments, shown, output) in commands(work).items():
        if name not in results["commands"] or not output.exists():
            results["commands"][name] = asdict(measure(arguments, shown, output))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_document(results)


if __name__ == "__main__":
    main()
