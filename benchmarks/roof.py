"""How near the stages come to the roof: their operations a second beside those of one bare int8 linear.

    python -m benchmarks.roof BUNDLE --checkpoint DIR --threads 2

The linear is compiled and run by the same library as the bundle. All programs are loaded at once and run in turns,
so that each ratio holds on a noisy machine. Prints one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge_export.backends import backend_for
from edge_export.bench.worker import noise
from edge_export.checkpoint import open_checkpoint
from edge_export.submodules import SUBMODULES, Part, Port
from edge_export.submodules.submodule import Named
from quantization.recipes import recipe_for
from runtime_py.bundle import open_bundle
from runtime_py.engine import OpenProgram, Program, bundle_programs, engine_for
from runtime_py.generation_spec import GenerationSpec, Interface
from runtime_py.windows import windows

SHAPES = ((256, 1024, 4096), (1024, 1024, 1024), (1024, 2048, 2048))  # rows, inputs, outputs
STAGES = ("dit", "decoder")
GIGA = 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    print(json.dumps(measure(given.bundle, given.checkpoint, given.threads, given.rounds), indent=2))


def measure(bundle: Path, checkpoint: Path, threads: int, rounds: int) -> dict:
    """Medians over `rounds`: GOP/s of the best linear and of each stage, and the stages' fractions of that roof."""
    opened = open_bundle(bundle)
    backend, operations = opened.manifest.backend, count_operations(checkpoint)
    open_program = bundle_programs(opened, threads=threads)
    with tempfile.TemporaryDirectory() as scratch:
        todo = {
            f"linear {shape}": (bare_linear(backend, shape, Path(scratch), threads), 2 * float(np.prod(shape)))
            for shape in SHAPES
        }
        spec = opened.manifest.generation
        todo |= {stage: (stage_runner(open_program, spec, stage), operations[stage]) for stage in STAGES}
        seen: dict[str, list[float]] = {name: [] for name in todo}
        for run, _ in todo.values():
            run()
        for _ in range(rounds):
            for name, (run, count) in todo.items():
                seen[name].append(count / timed(run) / GIGA)
    roof = max((name for name in todo if name not in STAGES), key=lambda name: statistics.median(seen[name]))
    fractions = {
        stage: statistics.median(mine / best for mine, best in zip(seen[stage], seen[roof])) for stage in STAGES
    }
    return {
        "backend": backend,
        "threads": threads,
        "roof": roof,
        "operations": operations,
        "gops": {name: statistics.median(values) for name, values in seen.items()},
        "fraction": fractions,
    }


def count_operations(checkpoint: Path) -> dict[str, float]:
    """Multiplications and additions of one run of each stage, as the published network makes them: no tile twice."""
    opened = open_checkpoint(checkpoint)
    counted = {}
    for stage in STAGES:
        submodule = SUBMODULES[stage]
        inputs = (torch.zeros(port.shape) for port in submodule.inputs(opened.config))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            submodule.load(opened)(*inputs)
        counted[stage] = float(counter.get_total_flops())
    return counted


def bare_linear(backend: str, shape: tuple[int, int, int], folder: Path, threads: int) -> Callable[[], object]:
    """A program of one int8 linear on [1, rows, inputs], ready to run."""
    rows, inputs, outputs = shape
    module = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
    part = Part(
        name="linear",
        module=Named(module, ("x",)).eval(),
        inputs=(Port(name="x", dtype="float32", shape=(1, rows, inputs)),),
        outputs=(Port(name="y", dtype="float32", shape=(1, rows, outputs)),),
    )
    compiler = backend_for(backend)
    path = folder / f"{rows}-{inputs}-{outputs}{compiler.SUFFIX}"
    compiled = compiler.compile(part, recipe_for("int8-dynamic"), path)
    interface = Interface(inputs=compiled.inputs, outputs=compiled.outputs)
    return runner(engine_for(backend).load(path, part.name, interface, threads=threads), interface)


def stage_runner(open_program: OpenProgram, spec: GenerationSpec, stage: str) -> Callable[[], object]:
    """One run of a stage; of a decoder that has a tail, the tail on all tiles of a window."""
    run = runner(open_program(stage), spec.programs[stage])
    if stage != "decoder" or spec.features is None:
        return run
    tail = runner(open_program("decoder_tail"), spec.programs["decoder_tail"])
    features = spec.window * spec.features.rate
    tiles = len(list(windows(features, spec.tile, spec.features.margin, needed=features)))
    return lambda: [run(), *(tail() for _ in range(tiles))]


def runner(program: Program, interface: Interface) -> Callable[[], object]:
    inputs = noise({tensor.name: (np.dtype(tensor.dtype), tensor.shape) for tensor in interface.inputs})
    return lambda: program.run(inputs)


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
