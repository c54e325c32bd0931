"""How long a GPU takes for one clip: 8 steps and decoding, in half precision, compiled and captured as one graph.

    edge-export new-checkpoint build/published --size published
    python -m benchmarks.gpu --checkpoint build/published --record

The paper (arXiv 2505.08175) reports 75 ms on an H100. What is played is held against the float32 network of the same
noise. Prints one JSON object; --record writes it to results/gpu.json, and the table of docs/published-size.md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.show import GPU_RESULTS, write_gpu
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.command_line import guarded
from edge_export.tokenizer_export import read_spiece
from post_training.half import HalfNetwork
from runtime_py.metrics import snr_db

PROGRAM = "python -m benchmarks.gpu"
PROMPT = "warm arpeggios on house beats 120BPM"


def main() -> None:
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--plain", action="store_true", help="neither compiled nor captured")
    parser.add_argument("--record", action="store_true", help="write the results and the docs' table")
    given = parser.parse_args()
    checkpoint, device = open_checkpoint(given.checkpoint), torch.device(given.device)
    results = measure(checkpoint, device, given.steps, given.rounds, plain=given.plain)
    print(json.dumps(results, indent=2))
    if given.record:
        GPU_RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        write_gpu(results)


def measure(checkpoint: Checkpoint, device: torch.device, steps: int, rounds: int, *, plain: bool) -> dict[str, Any]:
    """Milliseconds of one clip over `rounds` runs, in turns in half precision and in float32, and the SNR in dB."""
    torch.backends.cudnn.benchmark = True
    config, half = checkpoint.config, torch.float16 if device.type == "cuda" else torch.bfloat16
    networks = {
        "half": HalfNetwork(checkpoint, device, steps=steps, dtype=half, compiled=not plain, captured=not plain),
        "float32": HalfNetwork(checkpoint, device, steps=steps, dtype=torch.float32, compiled=False, captured=False),
    }
    encoded = read_spiece(checkpoint.spiece).encode_prompt(PROMPT, config.conditioner.tokens)
    ids, mask = torch.from_numpy(encoded.ids)[None], torch.from_numpy(encoded.mask)[None]
    seconds = torch.tensor([min(config.conditioner.seconds_max, 11.0)])
    cond = networks["half"].condition(ids, mask, seconds)
    noise = torch.randn(networks["half"].noise_shape, generator=torch.Generator().manual_seed(0)).to(device)
    made = {name: network.play(*cond, noise).cpu().numpy().copy() for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds):
        for name, network in networks.items():
            times[name].append(clock(partial(network.play, *cond, noise), device))
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "steps": steps,
        "audio_seconds": made["half"].shape[-1] / config.sample_rate,
        "compiled": not plain,
        "snr_db": snr_db(made["float32"], made["half"]),
        **{f"{name}_ms": statistics.median(taken) for name, taken in times.items()},
        "runs_ms": times,
    }


def clock(play: Callable[[], Tensor], device: torch.device) -> float:
    """Milliseconds of one call, until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    play()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    guarded(lambda **_: main(), PROGRAM, extra="train")
