"""Records golden vectors (`runtime_py.golden`): one request, run on the fp32 reference by the runtime's own loop."""

from pathlib import Path

import numpy as np

from runtime_py.engine import OpenProgram, Tensors
from runtime_py.generation_spec import GenerationSpec
from runtime_py.golden import tensors_of
from runtime_py.loop import condition, decode, denoise
from runtime_py.request import Request
from runtime_py.tokenizer import Prompt

GOLDEN_FILE = "golden.safetensors"
GOLDEN_PROMPT = "warm arpeggios on house beats 120BPM with drums effect"
GOLDEN_SEED = 0


def record_golden(spec: GenerationSpec, reference: OpenProgram, request: Request, prompt: Prompt) -> Tensors:
    """Run `request` on the reference, the whole clip decoded at once, and keep every stage's inputs and outputs."""
    conditioned = condition(reference, request, prompt)
    steps = list(denoise(spec, reference, request, conditioned.tensors))
    latent = steps[-1].tensors["clean"]
    pieces = decode(spec, reference, latent, spec.latent.samples, window=latent.shape[-1])
    return tensors_of(spec, request, prompt, [conditioned, *steps, *pieces])


def write_golden(golden: Tensors, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in golden.items()}, path)
