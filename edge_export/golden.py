"""Golden vectors: what the fp32 reference makes of one request, stage by stage, for every runtime to replay.

Recorded by running the reference through the runtime's own loop. Kept as safetensors: names, dtypes,
shapes, little-endian numbers, nothing that can run.

| tensor            | shape                           | what                                        |
|-------------------|---------------------------------|---------------------------------------------|
| `input_ids`       | int32 [1, tokens]               | the tokenizer's                             |
| `prompt_mask`     | float32 [1, tokens]             | 1 for tokens of the prompt                  |
| `seconds`         | float32 [1]                     |                                             |
| conditioning      | as the conditioner's outputs    | by their names                              |
| `noise`           | float32 [steps, channels, length] | draw 0 starts; draw i+1 re-noises after step i |
| `sigmas`          | float32 [steps + 1]             |                                             |
| `step_latent`     | float32 [steps, channels, length] | what enters each dit step                 |
| `step_velocity`   | float32 [steps, channels, length] | what the dit makes of it                  |
| `latent`          | float32 [1, channels, length]   | the clean latent, the decoder's input       |
| `audio`           | float32 [audio channels, samples] | the whole clip                            |
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime_py import golden
from runtime_py.bundle import Bundle
from runtime_py.engine import Tensors
from runtime_py.generate import OpenProgram, Request, condition, decode, denoise
from runtime_py.manifest import Manifest
from runtime_py.record import tensors_of
from runtime_py.tokenizer import Prompt

GOLDEN_FILE = "golden.safetensors"
GOLDEN_PROMPT = "warm arpeggios on house beats 120BPM with drums effect"
GOLDEN_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The vectors, by the names above."""

    tensors: Tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]


def record_golden(manifest: Manifest, reference: OpenProgram, request: Request, prompt: Prompt) -> Golden:
    """Run `request` on the reference, the whole clip decoded at once, and keep every stage's inputs and outputs."""
    conditioned = condition(reference, request, prompt)
    steps = list(denoise(manifest, reference, request, conditioned.tensors))
    latent = steps[-1].tensors["clean"]
    pieces = decode(manifest, reference, latent, manifest.latent.samples, window=latent.shape[-1])
    return Golden(tensors=tensors_of(manifest, request, prompt, [conditioned, *steps, *pieces]))


def write_golden(golden: Golden, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in golden.tensors.items()}, path)


def read_golden(bundle: Bundle) -> Golden:
    """The bundle's golden vectors, held against the manifest's shapes.

    Raises:
        BundleError: left out, no safetensors file, or not the tensors that this bundle's programs take and make.
    """
    return Golden(tensors=golden.read_golden(bundle))
