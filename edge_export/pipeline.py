"""From a checkpoint to a bundle: one call per arrow, and nothing to see until the bundle is proven.

checkpoint -> golden vectors -> programs -> tokenizer -> manifest -> verify -> rename
"""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_export import bundle as write
from edge_export.backends import Backend, backend_for
from edge_export.builtin import BUILTIN_NAME, builtin_checkpoint
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import VerificationError
from edge_export.golden import GOLDEN_FILE, GOLDEN_PROMPT, GOLDEN_SEED, record_golden, write_golden
from edge_export.progress import Progress
from edge_export.reference import reference_programs, remember_checkpoint
from edge_export.staging import staged_folder
from edge_export.submodules import SUBMODULES, rewrite
from edge_export.targets import Target, target_for
from edge_export.tokenizer_export import read_spiece
from edge_export.verify import Check, verify
from quantization.recipe import Recipe
from quantization.recipes import recipe_for
from runtime_py.bundle import Bundle
from runtime_py.generate import Request, default_seconds
from runtime_py.manifest import (
    MANIFEST_FILE,
    GoldenSpec,
    Manifest,
    ProgramSpec,
    TokenizerSpec,
    dump_manifest,
)
from runtime_py.tokenizer import Tokenizer, save_tokenizer

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_KIND = "sentencepiece-unigram"
BUILTIN_LICENSE = "Random weights made by edge-export: no licence needed."
LICENSE = (
    "The weights in this bundle keep the licence of the checkpoint they come from; "
    "Stable Audio Open Small is under the Stability AI Community License."
)


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build. `checkpoint` of None is the built-in one; `backend` of None is the target's own."""

    out: Path
    target: str
    checkpoint: Path | None = None
    backend: str | None = None
    recipe: str = "int8-dynamic"
    steps: int = 8


@dataclass(frozen=True, kw_only=True)
class Built:
    """The bundle, in its final place, and the proof it passed."""

    bundle: Bundle
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A request with every name resolved."""

    target: Target
    backend: Backend
    backend_name: str
    recipe: Recipe
    steps: int


def export_bundle(request: BuildRequest, heard: Progress) -> Built:
    """Build, prove and put in place the bundle that `request` describes.

    Raises:
        UsageError: an unknown target, backend or recipe, or steps out of range.
        CheckpointError, BuildError, MissingDependency: as the stages say.
        VerificationError: a stage is below its threshold.
        OutputError: `out` exists or cannot be written. Whatever is raised, `out` is as it was before.
    """
    choices = resolve(request)
    write.sampler_spec(request.steps)
    with ExitStack() as stack:
        folder = stack.enter_context(_source(request.checkpoint))
        staging = stack.enter_context(staged_folder(request.out))
        steps = _Steps(heard, total=len(SUBMODULES) + 3)
        steps.next("reading the checkpoint")
        checkpoint = open_checkpoint(folder)
        tokenizer = read_spiece(checkpoint.spiece)
        save_tokenizer(tokenizer, staging / TOKENIZER_FILE)
        programs = []
        for name in SUBMODULES:
            steps.next(f"compiling the {name}")
            programs.append(compile_program(name, checkpoint, choices, staging))
        draft = draft_manifest(request, checkpoint, choices, tuple(programs), staging)
        steps.next("recording golden vectors on the fp32 reference")
        manifest = add_golden(draft, checkpoint, tokenizer, staging)
        steps.next("verifying the bundle")
        checks = tuple(verify(Bundle(folder=staging, manifest=manifest)))
        refuse_failures(checks)
        (staging / MANIFEST_FILE).write_text(dump_manifest(manifest), encoding="utf-8")
        if request.checkpoint is not None:
            remember_checkpoint(checkpoint)
        steps.done()
    return Built(bundle=Bundle(folder=request.out, manifest=manifest), checks=checks)


def resolve(request: BuildRequest) -> Choices:
    """Every name of the request looked up; UsageError lists the choices for one that is unknown."""
    target = target_for(request.target)
    backend_name = request.backend or target.backend
    return Choices(
        target=target,
        backend=backend_for(backend_name),
        backend_name=backend_name,
        recipe=recipe_for(request.recipe),
        steps=request.steps,
    )


def compile_program(name: str, checkpoint: Checkpoint, choices: Choices, folder: Path) -> ProgramSpec:
    """checkpoint -> submodule -> rewrites -> backend: writes one program, says what the manifest must."""
    submodule, config = SUBMODULES[name], checkpoint.config
    part = rewrite(submodule, submodule.load(checkpoint), config, choices.backend_name)
    path = folder / f"{name}{choices.backend.SUFFIX}"
    return write.program_spec(name, path, choices.backend.compile(part, choices.recipe, path))


def draft_manifest(
    request: BuildRequest, checkpoint: Checkpoint, choices: Choices, programs: tuple[ProgramSpec, ...], folder: Path
) -> Manifest:
    """Everything but the golden vectors, which are recorded by running what is described here."""
    builtin = request.checkpoint is None
    tokenizer = TokenizerSpec(**vars(write.file_spec(folder / TOKENIZER_FILE)), kind=TOKENIZER_KIND)
    return Manifest(
        schema_version=1,
        model=write.model_spec(
            checkpoint,
            name=BUILTIN_NAME if builtin else checkpoint.folder.resolve().name,
            license_note=BUILTIN_LICENSE if builtin else LICENSE,
        ),
        target=write.target_spec(choices.target),
        backend=choices.backend_name,
        recipe=write.recipe_spec(choices.recipe),
        conditioning=write.conditioning_spec(checkpoint),
        latent=write.latent_spec(checkpoint),
        audio=write.audio_spec(checkpoint),
        sampler=write.sampler_spec(choices.steps),
        programs=programs,
        tokenizer=tokenizer,
        golden=NO_GOLDEN,
        toolchain=write.toolchain(choices.backend),
    )


NO_GOLDEN = GoldenSpec(file=GOLDEN_FILE, sha256="", bytes=0, prompt="", seconds=0.0, seed=0, steps=0)


def add_golden(draft: Manifest, checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path) -> Manifest:
    """Record the golden vectors of a fixed request on the fp32 reference."""
    request = Request(prompt=GOLDEN_PROMPT, seconds=default_seconds(draft), seed=GOLDEN_SEED)
    prompt = tokenizer.encode_prompt(request.prompt, draft.conditioning.tokens)
    golden = record_golden(draft, reference_programs(checkpoint), request, prompt)
    write_golden(golden, folder / GOLDEN_FILE)
    spec = GoldenSpec(
        **vars(write.file_spec(folder / GOLDEN_FILE)),
        prompt=request.prompt,
        seconds=request.seconds,
        seed=request.seed,
        steps=draft.sampler.steps,
    )
    return dataclasses.replace(draft, golden=spec)


def refuse_failures(checks: tuple[Check, ...]) -> None:
    """Raise one VerificationError that names every failed check."""
    failed = [check for check in checks if not check.passed]
    if failed:
        found = "; ".join(
            f"{check.stage} {check.tensor} at {check.snr_db:.1f} dB"
            + (f" (needs {check.threshold_db:g})" if check.threshold_db is not None else "")
            for check in failed
        )
        raise VerificationError(f"too far from the reference: {found}; try --recipe fp32 to find the stage at fault")


@contextmanager
def _source(checkpoint: Path | None) -> Iterator[Path]:
    if checkpoint is not None:
        yield checkpoint
        return
    with builtin_checkpoint() as folder:
        yield folder


class _Steps:
    """Counts the pieces of work for whoever shows progress."""

    def __init__(self, heard: Progress, total: int) -> None:
        self._heard, self._total, self._done = heard, total, 0

    def next(self, what: str) -> None:
        self._heard(what, self._done, self._total)
        self._done += 1

    def done(self) -> None:
        self._heard("done", self._total, self._total)
