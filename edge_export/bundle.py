"""Writes the parts of a bundle that are not programs, and says what the manifest must say of them.

Reading a bundle is `runtime_py.bundle`'s business.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_export import __version__
from edge_export.backends import Backend, Compiled
from edge_export.checkpoint import Checkpoint
from edge_export.model.receptive_field import decoder_margin
from edge_export.targets import Target
from quantization.recipe import Recipe
from runtime_py.bundle import sha256_of
from runtime_py.manifest import (
    AudioSpec,
    ConditioningSpec,
    FileSpec,
    LatentSpec,
    ModelSpec,
    ProgramSpec,
    RecipeSpec,
    RuleSpec,
    SamplerSpec,
    TargetSpec,
)
from runtime_py.sampler import LOGSNR, sigmas

ALWAYS = ("torch", "numpy")


def file_spec(path: Path) -> FileSpec:
    return FileSpec(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)


def program_spec(name: str, path: Path, compiled: Compiled) -> ProgramSpec:
    return ProgramSpec(
        **vars(file_spec(path)), name=name, inputs=compiled.inputs, outputs=compiled.outputs, graph=compiled.graph
    )


def model_spec(checkpoint: Checkpoint, name: str, license_note: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        model_type=checkpoint.config.model_type,
        diffusion_objective=checkpoint.config.diffusion_objective,
        checkpoint_sha256=checkpoint.sha256,
        parameters=checkpoint.parameters(),
        license=license_note,
    )


def target_spec(target: Target) -> TargetSpec:
    return TargetSpec(name=target.name, cpu_features=target.cpu_features)


def recipe_spec(recipe: Recipe) -> RecipeSpec:
    rules = tuple(RuleSpec(**vars(rule)) for rule in recipe.rules)
    return RecipeSpec(
        name=recipe.name,
        rules=rules,
        thresholds=dict(recipe.thresholds),
        float16=recipe.float16,
        straight=recipe.straight,
    )


def conditioning_spec(checkpoint: Checkpoint) -> ConditioningSpec:
    conditioner = checkpoint.config.conditioner
    return ConditioningSpec(
        tokens=conditioner.tokens, seconds_min=conditioner.seconds_min, seconds_max=conditioner.seconds_max
    )


def latent_spec(checkpoint: Checkpoint) -> LatentSpec:
    decoder = checkpoint.config.decoder
    return LatentSpec(shape=checkpoint.config.latent_shape, hop=decoder.hop, margin=decoder_margin(decoder))


def audio_spec(checkpoint: Checkpoint) -> AudioSpec:
    config = checkpoint.config
    return AudioSpec(sample_rate=config.sample_rate, channels=config.decoder.audio_channels)


def sampler_spec(steps: int) -> SamplerSpec:
    return SamplerSpec(kind="pingpong", sigmas=tuple(float(sigma) for sigma in sigmas(steps)), logsnr=LOGSNR)


def toolchain(backend: Backend) -> dict[str, str]:
    """Versions of all that decides what comes out of a build."""
    return {"edge-export": __version__} | {name: _version(name) for name in (*ALWAYS, *backend.PACKAGES)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
