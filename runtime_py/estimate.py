"""How much memory a generation will take, told before it begins: plain arithmetic on what the manifest says.

It counts what a process grows by that has started and opened nothing, at the worst moment of the generation. It
knows neither files nor engines, and is to be written line by line in every other language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from runtime_py.audio import samples_in
from runtime_py.errors import GenerationError
from runtime_py.generation_spec import STAGES, Interface
from runtime_py.machine import MEGA, memory_available
from runtime_py.manifest import Manifest, MemorySpec
from runtime_py.request import Request

SAMPLE_BYTES = 4
MB = int(MEGA)
LATENTS_KEPT = 4  # noise, latent, velocity and clean of one step


Packed = Literal["each", "once", "mapped"]
"""How weights are packed: for each operation that uses them, as a runtime without a cache does; equal ones once; or
they are kept in a file and mapped."""


@dataclass(frozen=True, kw_only=True)
class ProgramNeeds:
    """A program of the bundle. output_bytes: of its outputs. packed: how its weights are."""

    file_bytes: int
    memory: MemorySpec
    output_bytes: int
    packed: Packed


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes in memory. mapped: pages of files, which the system can take back. private: all else."""

    mapped_bytes: int
    private_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.mapped_bytes + self.private_bytes

    def and_also(self, other: "Estimate") -> "Estimate":
        return Estimate(
            mapped_bytes=self.mapped_bytes + other.mapped_bytes,
            private_bytes=self.private_bytes + other.private_bytes,
        )


NOTHING = Estimate(mapped_bytes=0, private_bytes=0)

# What a runtime takes for itself with the first program, whatever the program is: measured as growth less all that
# is counted below. Mapped are pages of its libraries, which nothing touched before: of ExecuTorch in Python 12 MB of
# libtorch_cpu, 3 of its kernels and 2 of its XNNPACK; of LiteRT 11 MB of its WebGPU accelerator, which it opens even
# where the CPU computes, 2 of itself and 2 of numpy.random. So many where the system maps much at a touch; where it
# maps less, a third of it. Private are the tokenizer, the graphs as the runtime holds them, threads, and what the
# allocator keeps of the programs before.
OVERHEAD = {
    ("python", "executorch"): Estimate(mapped_bytes=17 * MB, private_bytes=4 * MB),
    ("python", "litert"): Estimate(mapped_bytes=15 * MB, private_bytes=6 * MB),
    ("native", "executorch"): Estimate(mapped_bytes=6 * MB, private_bytes=5 * MB),
}


def estimate_request(
    manifest: Manifest, request: Request, *, keep_loaded: bool, runtime: str = "python", packed: Packed = "each"
) -> Estimate:
    """What `request` will take of memory with the bundle's own programs, in "python" or in the "native" runtime.

    packed: how ExecuTorch packs weights; those of LiteRT are mapped, unless it computes in float16.
    """
    audio, latent = manifest.generation.audio, manifest.generation.latent
    chosen: Packed = "mapped" if manifest.backend == "litert" else packed
    return estimate(
        [[_needs(manifest, role, chosen) for role in roles if role in manifest.programs] for roles in STAGES.values()],
        latent_bytes=prod(latent.shape) * SAMPLE_BYTES,
        audio_bytes=samples_in(request.seconds, audio.sample_rate) * audio.channels * SAMPLE_BYTES,
        overhead=OVERHEAD[runtime, manifest.backend],
        keep_loaded=keep_loaded,
    )


def _needs(manifest: Manifest, role: str, packed: Packed) -> ProgramNeeds:
    program = manifest.programs[role]
    return ProgramNeeds(
        file_bytes=program.bytes,
        memory=program.memory,
        output_bytes=_output_bytes(manifest.generation.programs[role]),
        packed=packed if program.memory.kept_bytes else "each",
    )


def _output_bytes(interface: Interface) -> int:
    return sum(prod(tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in interface.outputs)


def estimate(
    stages: Sequence[Sequence[ProgramNeeds]],
    *,
    latent_bytes: int,
    audio_bytes: int,
    overhead: Estimate,
    keep_loaded: bool,
) -> Estimate:
    """Growth at the worst moment of a generation of these `stages`, each with its programs, the last being the decoder.

    latent_bytes: of one latent. audio_bytes: of the seconds asked for. keep_loaded: all programs stay; else those of a
    stage are let go before the next is loaded.
    """
    moments, stay = [], overhead
    for index, programs in enumerate(stages):
        last, held = index == len(stages) - 1, stay
        own = latent_bytes * LATENTS_KEPT + (audio_bytes if last else 0)
        for program in programs:
            own += program.output_bytes
            moments.append(held.and_also(while_loaded(program)))
            held = held.and_also(while_run(program))
            moments.append(held.and_also(Estimate(mapped_bytes=0, private_bytes=own)))
        if keep_loaded:
            stay = held
    # The pieces' sound and the whole that it is joined to.
    moments.append(stay.and_also(Estimate(mapped_bytes=0, private_bytes=2 * audio_bytes)))
    return max(moments, key=lambda moment: moment.total_bytes)


def weights_of(program: ProgramNeeds) -> Estimate:
    """Of packed weights."""
    memory = program.memory
    if program.packed == "mapped":
        return Estimate(mapped_bytes=memory.kept_bytes, private_bytes=0)
    packed = memory.kept_bytes if program.packed == "once" else memory.packed_bytes
    return Estimate(mapped_bytes=0, private_bytes=packed)


def while_loaded(program: ProgramNeeds) -> Estimate:
    """All of the file is read, and its weights are packed beside it, or lie in a file that nothing has read yet."""
    return Estimate(mapped_bytes=program.file_bytes, private_bytes=weights_of(program).private_bytes)


def while_run(program: ProgramNeeds) -> Estimate:
    """Of the file remains what was not packed, such as tables of embeddings: about as much as it is larger."""
    unpacked = max(0, program.file_bytes - program.memory.packed_bytes)
    return weights_of(program).and_also(Estimate(mapped_bytes=unpacked, private_bytes=program.memory.working_bytes))


def refuse_little_memory(needed: Estimate) -> None:
    """Refuse in one line where the system, or the container, says that less is free.

    Raises:
        GenerationError: less memory is free than `needed`.
    """
    available = memory_available()
    if available is not None and available < needed.total_bytes:
        raise GenerationError(
            f"this needs {needed.total_bytes / MEGA:.0f} MB of memory, {available / MEGA:.0f} MB are free; close other "
            "programs, ask for fewer seconds, or go on all the same by force (--force)"
        )
