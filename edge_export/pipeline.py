"""From a checkpoint to a bundle: one call per arrow, and nothing to see until the bundle is proven.

checkpoint -> tokenizer -> programs -> golden vectors -> verify -> manifest -> rename
"""

import dataclasses
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_export import bundle as write
from edge_export.allocator import freed_memory_given_back
from edge_export.backends import Backend, backend_for
from edge_export.builtin import BUILTIN_CHECKPOINT, BUILTIN_NAME
from edge_export.cache import ProgramCache, ProgramKey, rules_for, source_sha256
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import UsageError, VerificationError
from edge_export.golden import GOLDEN_FILE, GOLDEN_PROMPT, GOLDEN_SEED, record_golden, write_golden
from edge_export.model.config import ModelConfig
from edge_export.progress import Progress
from edge_export.reference import reference_programs, remember_checkpoint
from edge_export.staging import staged_folder
from edge_export.submodules import SUBMODULES, Part, Submodule, programs_for, rewrite
from edge_export.submodules.decoder import audio_layers
from edge_export.targets import Target, target_for
from edge_export.verify import Check, verify
from quantization.layers import OPERATORS, layers_of
from quantization.recipe import Recipe, choose_from
from quantization.recipes import RECIPES, recipe_for
from runtime_py.bundle import Bundle
from runtime_py.generation_spec import GenerationSpec, Interface
from runtime_py.manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    FileSpec,
    GoldenSpec,
    Manifest,
    ProgramSpec,
    TokenizerSpec,
    dump_manifest,
)
from runtime_py.request import Request, default_seconds
from runtime_py.tokenizer import Tokenizer, save_tokenizer

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_KIND = "sentencepiece-unigram"
BUILTIN_LICENSE = "The weights of the built-in model: Apache-2.0, as edge-export itself."
LICENSE = (
    "The weights in this bundle keep the licence of the checkpoint they come from; "
    "Stable Audio Open Small is under the Stability AI Community License."
)


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build. `checkpoint` of None is the built-in one; `backend` of None is the target's own.

    `recipe` is a name or a .json file. `latents` of None are the model's own. Compiled programs are kept in `cache`,
    by default in the user's cache folder, and not at all if `cached` is False.
    """

    out: Path
    target: str
    checkpoint: Path | None = None
    backend: str | None = None
    recipe: str = "int8-dynamic"
    steps: int = 8
    latents: int | None = None
    cache: Path | None = None
    cached: bool = True


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

    def submodules(self, config: ModelConfig) -> dict[str, Submodule]:
        """What becomes a program, by role."""
        return programs_for(config, as_published=self.recipe.as_published)


def export_bundle(request: BuildRequest, progress: Progress, note: Callable[[str], None] = lambda _: None) -> Built:
    """Build, prove and put in place the bundle that `request` describes; `note` gets what a user should know.

    Raises:
        UsageError: an unknown target, backend or recipe, a recipe for other layers, steps or latents out of range.
        CheckpointError, BuildError, MissingDependency: as the stages say.
        VerificationError: a stage is below its threshold.
        OutputError: `out` exists or cannot be written. Whatever is raised, `out` is as it was before.
    """
    source_sha256()  # of the code that was loaded, whatever becomes of its files meanwhile
    choices = resolve(request)
    cache = ProgramCache(request.cache, note) if request.cached else None
    write.sampler_spec(request.steps)
    with staged_folder(request.out) as staging:
        steps = _Steps(progress, total=len(SUBMODULES) + 3)
        steps.next("reading the checkpoint")
        checkpoint = _of_length(open_checkpoint(request.checkpoint or BUILTIN_CHECKPOINT), request.latents)
        for text in checkpoint.notes:
            note(text)
        choices = spell_out(checkpoint, choices)
        submodules = choices.submodules(checkpoint.config)
        steps.total += len(submodules) - len(SUBMODULES)
        tokenizer = checkpoint.tokenizer
        save_tokenizer(tokenizer, staging / TOKENIZER_FILE)
        programs, interfaces = {}, {}
        for name in submodules:
            steps.next(f"compiling the {name}")
            programs[name], interfaces[name] = compile_program(name, checkpoint, choices, cache, staging)
        spec = write.generation_spec(checkpoint.config, submodules, choices.steps, interfaces)
        steps.next("recording golden vectors on the fp32 reference")
        golden = add_golden(spec, checkpoint, choices.recipe, tokenizer, staging)
        notices = write.copy_notices(checkpoint, staging)
        manifest = describe(request, checkpoint, choices, spec, programs, notices, golden, staging)
        steps.next("verifying the bundle")
        checks = tuple(verify(Bundle(folder=staging, manifest=manifest)))
        source = () if request.checkpoint is None else (str(request.checkpoint),)
        refuse_failures(checks, (*source, "--backend", choices.backend_name))
        (staging / MANIFEST_FILE).write_text(dump_manifest(manifest), encoding="utf-8")
        if request.checkpoint is not None:
            remember_checkpoint(checkpoint)
        steps.done()
    return Built(bundle=Bundle(folder=request.out, manifest=manifest), checks=checks)


def resolve(request: BuildRequest) -> Choices:
    """Every name of the request looked up; UsageError lists the choices for one that is unknown."""
    target, recipe = target_for(request.target), recipe_for(request.recipe)
    backend_name = request.backend or target.backend
    backend = backend_for(backend_name)
    check_stages(recipe)
    if recipe.float16 and not backend.FLOAT16:
        raise UsageError(
            f"recipe {recipe.name} computes in float16, which {backend_name} cannot beside int8; use --backend litert"
        )
    return Choices(target=target, backend=backend, backend_name=backend_name, recipe=recipe, steps=request.steps)


def check_stages(recipe: Recipe) -> None:
    """UsageError when `float16` or the thresholds of `recipe` name other submodules than there are."""
    for name in recipe.float16:
        if name not in SUBMODULES:
            raise UsageError(f"recipe {recipe.name}: float16 names {name!r}; {choose_from(name, SUBMODULES)}")
    judged = set(recipe.thresholds)
    if judged - {"run"} != set(SUBMODULES):
        raise UsageError(
            f"recipe {recipe.name}: thresholds are for {', '.join(sorted(judged)) or 'nothing'}; "
            f"name each of {', '.join(SUBMODULES)}, and run if you like"
        )


def spell_out(checkpoint: Checkpoint, choices: Choices) -> Choices:
    """The choices with the recipe's rules by this network's names; a user's own is held against its layers, too.

    Raises:
        UsageError: a rule matches no layer; better told before minutes of work.
    """
    recipe = choices.recipe.spelled_out(audio_layers(checkpoint.config.decoder))
    if RECIPES.get(recipe.name) is not choices.recipe:
        recipe.check_layers(
            (each.stage, OPERATORS[type(layer[0])], path)
            for name, each in choices.submodules(checkpoint.config).items()
            for path, layer in layers_of(load_part(name, checkpoint, choices).module).items()
        )
    return dataclasses.replace(choices, recipe=recipe)


def load_part(name: str, checkpoint: Checkpoint, choices: Choices) -> Part:
    """checkpoint -> submodule -> rewrites."""
    submodule = choices.submodules(checkpoint.config)[name]
    return rewrite(submodule, submodule.load(checkpoint), checkpoint.config, choices.backend_name)


def compile_program(
    name: str, checkpoint: Checkpoint, choices: Choices, cache: ProgramCache | None, folder: Path
) -> tuple[ProgramSpec, Interface]:
    """One program, compiled or out of the cache; says what the manifest must."""
    path = folder / f"{name}{choices.backend.SUFFIX}"
    key = program_key(name, checkpoint, choices).digest()
    compiled = cache.fetch(key, path) if cache else None
    if compiled is None:
        with freed_memory_given_back():
            compiled = choices.backend.compile(load_part(name, checkpoint, choices), choices.recipe, path)
        if cache:
            cache.keep(key, path, compiled)
    return write.program_spec(path, compiled), Interface(inputs=compiled.inputs, outputs=compiled.outputs)


def program_key(name: str, checkpoint: Checkpoint, choices: Choices) -> ProgramKey:
    submodule, recipe = choices.submodules(checkpoint.config)[name], choices.recipe
    return ProgramKey(
        submodule=name,
        backend=choices.backend_name,
        checkpoint_sha256=checkpoint.sha256,
        inputs=submodule.inputs(checkpoint.config),
        outputs=submodule.outputs(checkpoint.config),
        rules=rules_for(recipe, submodule.stage),
        float16=submodule.stage in recipe.float16,
        as_published=recipe.as_published,
        toolchain=write.toolchain(choices.backend),
    )


def _of_length(checkpoint: Checkpoint, latents: int | None) -> Checkpoint:
    """The checkpoint for a clip of `latents`; UsageError when the model's own is shorter."""
    most = checkpoint.config.latent_length
    if latents is None:
        return checkpoint
    if not 1 <= latents <= most:
        raise UsageError(f"latents is {latents}, expected 1 to {most}, which this model has")
    return dataclasses.replace(checkpoint, config=checkpoint.config.shortened(latents))


def add_golden(
    spec: GenerationSpec, checkpoint: Checkpoint, recipe: Recipe, tokenizer: Tokenizer, folder: Path
) -> GoldenSpec:
    """Record the golden vectors of a fixed request on the fp32 reference."""
    request = Request(prompt=GOLDEN_PROMPT, seconds=default_seconds(spec), seed=GOLDEN_SEED).resolved(spec)
    prompt = tokenizer.encode_prompt(request.prompt, spec.conditioning.tokens)
    reference = reference_programs(checkpoint, as_published=recipe.as_published)
    write_golden(record_golden(spec, reference, request, prompt), folder / GOLDEN_FILE)
    return GoldenSpec(**vars(write.file_spec(folder / GOLDEN_FILE)), request=request)


def describe(
    request: BuildRequest,
    checkpoint: Checkpoint,
    choices: Choices,
    spec: GenerationSpec,
    programs: dict[str, ProgramSpec],
    notices: tuple[FileSpec, ...],
    golden: GoldenSpec,
    folder: Path,
) -> Manifest:
    """The manifest of what lies in `folder`."""
    builtin = request.checkpoint is None
    tokenizer = TokenizerSpec(**vars(write.file_spec(folder / TOKENIZER_FILE)), kind=TOKENIZER_KIND)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model=write.model_spec(
            checkpoint,
            name=BUILTIN_NAME if builtin else checkpoint.folder.resolve().name,
            license_note=BUILTIN_LICENSE if builtin else LICENSE,
        ),
        target=write.target_spec(choices.target),
        backend=choices.backend_name,
        recipe=write.recipe_spec(choices.recipe, choices.submodules(checkpoint.config)),
        generation=spec,
        programs=programs,
        tokenizer=tokenizer,
        notices=notices,
        golden=golden,
        toolchain=write.toolchain(choices.backend),
    )


def refuse_failures(checks: tuple[Check, ...], source: tuple[str, ...]) -> None:
    """Raise one VerificationError that names every failed check, and the command that says what to do about it.

    `source` is what that command, `edge-export sensitivity`, is to look at: its first arguments.
    """
    failed = [check for check in checks if not check.passed]
    if failed:
        found = "; ".join(
            f"{check.stage} {check.tensor} at {check.snr_db:.1f} dB"
            + (f" (needs {check.threshold_db:g})" if check.threshold_db is not None else "")
            for check in failed
        )
        raise VerificationError(f"too far from the reference: {found}; {_advice(failed, source)}")


def _advice(failed: list[Check], source: tuple[str, ...]) -> str:
    """What to run next, ready to be pasted: for all submodules that failed, and the most that any of them needs."""
    needs = {check.stage: check.threshold_db for check in failed if check.stage in SUBMODULES and check.threshold_db}
    whether = "`edge-export build --recipe fp32` says whether int8 is at fault at all"
    if not needs:
        return whether
    stages = (argument for stage in needs for argument in ("--submodule", stage))
    command = shlex.join(("edge-export", "sensitivity", *source, *stages, "--need", f"{max(needs.values()):g}"))
    return f"`{command}` says which layers to keep in float, {whether.replace(' says', '')}"


class _Steps:
    """Counts the pieces of work for whoever shows progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self.total, self._done = progress, total, 0

    def next(self, what: str) -> None:
        self._progress(what, self._done, self.total)
        self._done += 1

    def done(self) -> None:
        self._progress("done", self.total, self.total)
