"""Golden vectors: what the fp32 reference makes of one request, stage by stage, for every runtime to replay.

The record of a run (`runtime_py.record`) holds the same tensors under the same names. Kept as safetensors: names,
dtypes, shapes, little-endian numbers, nothing that can run. It does not know how near is near enough.

| tensor            | shape                             | what                                           |
|-------------------|-----------------------------------|------------------------------------------------|
| `input_ids`       | int32 [1, tokens]                 | the tokenizer's                                |
| `prompt_mask`     | float32 [1, tokens]               | 1 for tokens of the prompt                     |
| `seconds`         | float32 [1]                       |                                                |
| conditioning      | as the conditioner's outputs      | by their names                                 |
| `noise`           | float32 [steps, channels, length] | draw 0 starts; draw i+1 re-noises after step i |
| `sigmas`          | float32 [steps + 1]               |                                                |
| `step_latent`     | float32 [steps, channels, length] | what enters each dit step                      |
| `step_velocity`   | float32 [steps, channels, length] | what the dit makes of it                       |
| `latent`          | float32 [1, channels, length]     | the clean latent, the decoder's input          |
| `audio`           | float32 [audio channels, samples] | the whole clip; in a record the seconds asked for |
"""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from runtime_py.bundle import Bundle
from runtime_py.engine import Tensors
from runtime_py.errors import BundleError
from runtime_py.generation_spec import GenerationSpec, Layout
from runtime_py.loop import Event, by_stage, joined, latent_noise
from runtime_py.request import Request
from runtime_py.safetensors import read_safetensors
from runtime_py.tokenizer import Prompt


def layout(spec: GenerationSpec, *, steps: int, samples: int) -> Layout:
    """dtype and shape of every tensor of a run of so many steps and samples."""
    conditioner, latent = spec.programs["conditioner"], spec.latent.shape
    made = {tensor.name: (tensor.dtype, tensor.shape) for tensor in (*conditioner.inputs, *conditioner.outputs)}
    made |= dict.fromkeys(("noise", "step_latent", "step_velocity"), ("float32", (steps, *latent)))
    made |= {"sigmas": ("float32", (steps + 1,)), "latent": ("float32", (1, *latent))}
    return made | {"audio": ("float32", (spec.audio.channels, samples))}


def golden_layout(bundle: Bundle) -> Layout:
    """dtype and shape of a bundle's golden vectors: those of its golden request, the whole clip decoded."""
    spec, request = bundle.manifest.generation, bundle.manifest.golden.request.resolved(bundle.manifest.generation)
    assert request.steps is not None
    return layout(spec, steps=request.steps, samples=spec.latent.samples)


def tensors_of(spec: GenerationSpec, request: Request, prompt: Prompt, events: Iterable[Event]) -> Tensors:
    """What the events of one generation took and made."""
    sigmas = spec.sampler.schedule(request.steps)
    stages = by_stage(events)
    steps = [event.tensors for event in stages["dit"]]
    return {
        "input_ids": prompt.ids[None],
        "prompt_mask": prompt.mask[None],
        "seconds": np.array([request.seconds], np.float32),
        "sigmas": sigmas,
        "noise": np.concatenate(list(islice(latent_noise(spec, request.seed), len(sigmas) - 1))),
        **stages["conditioner"][0].tensors,
        "step_latent": np.concatenate([step["latent"] for step in steps]),
        "step_velocity": np.concatenate([step["velocity"] for step in steps]),
        "latent": steps[-1]["clean"],
        "audio": joined(stages["decoder"]),
    }


def read_golden(bundle: Bundle) -> Tensors:
    """The bundle's golden vectors, held against the manifest's shapes.

    Raises:
        BundleError: left out, no safetensors file, or not the tensors that this bundle's programs take and make.
    """
    path = bundle.path(bundle.manifest.golden)
    if not path.exists():
        raise BundleError(f"{path} was left out of this bundle, so nothing can be proven; copy it from the build")
    tensors = read_safetensors(path)
    expected = golden_layout(bundle)
    found = {name: (array.dtype.name, array.shape) for name, array in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            is_now, wanted = _text(found.get(name), "missing"), _text(expected.get(name), "nothing of that name")
            raise BundleError(f"{path}: {name[:60]} is {is_now}, expected {wanted}; rebuild the bundle")
    return tensors


def _text(tensor: tuple[str, tuple[int, ...]] | None, absent: str) -> str:
    return absent if tensor is None else f"{tensor[0]}{list(tensor[1])}"
