"""Runs a bundle's programs on recorded inputs, so that one stage's error cannot hide in another's.

It knows the tensors of a record or of golden vectors (`runtime_py.golden`), not how near is near enough.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from runtime_py.engine import OpenProgram, Tensors
from runtime_py.errors import GenerationError
from runtime_py.generation_spec import GenerationSpec
from runtime_py.loop import Event, Stage, by_stage, decode, joined


def replay(
    spec: GenerationSpec, open_program: OpenProgram, tensors: Tensors, *, samples: int, window: int | None = None
) -> Iterator[Event]:
    """Give every program the inputs that `tensors` hold.

    The decoder makes `samples` of sound, `window` latents at a time (see `runtime_py.loop.generate`).

    Raises:
        GenerationError: a program failed or returned NaN.
    """
    yield from replay_conditioner(spec, open_program, tensors)
    yield from replay_dit(spec, open_program, tensors)
    yield from decode(spec, open_program, tensors["latent"], samples, window=window)


def replay_conditioner(spec: GenerationSpec, open_program: OpenProgram, tensors: Tensors) -> Iterator[Event]:
    """The conditioner's one event."""
    stage, inputs = Stage("conditioner", open_program), spec.programs["conditioner"].inputs
    yield stage.event(stage.run(**{tensor.name: tensors[tensor.name] for tensor in inputs}))


def replay_dit(spec: GenerationSpec, open_program: OpenProgram, tensors: Tensors) -> Iterator[Event]:
    """An event for each recorded step."""
    conditioning = conditioning_in(spec, tensors)
    dit = Stage("dit", open_program, count=len(tensors["step_latent"]))
    for latent, sigma in zip(tensors["step_latent"], tensors["sigmas"]):
        made = dit.run(latent=latent[None], sigma=np.array([sigma], np.float32), **conditioning)
        if not np.isfinite(made["velocity"]).all():
            raise GenerationError(f"the dit returned NaN or infinity in step {dit.index + 1}; run `edge-export verify`")
        yield dit.event(made)


def conditioning_in(spec: GenerationSpec, tensors: Tensors) -> Tensors:
    """What the conditioner handed to the dit."""
    return {tensor.name: tensors[tensor.name] for tensor in spec.programs["conditioner"].outputs}


def replayed(tensors: Tensors, events: Iterable[Event]) -> Tensors:
    """`tensors`, with what the programs made of them in place of what they held."""
    stages = by_stage(events)
    made = {"step_velocity": np.concatenate([event.tensors["velocity"] for event in stages["dit"]])}
    return {**tensors, **stages["conditioner"][0].tensors, **made, "audio": joined(stages["decoder"])}
