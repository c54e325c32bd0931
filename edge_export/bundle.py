"""Writes the parts of a bundle that are not programs, and says what the manifest must say of them.

Reading a bundle is `runtime_py.bundle`'s business.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from edge_export import __version__
from edge_export.backends import Backend, Compiled
from edge_export.checkpoint import Checkpoint
from edge_export.errors import CheckpointError
from edge_export.model.config import ModelConfig
from edge_export.model.decoder_parts import decoder_cut
from edge_export.model.receptive_field import decoder_margin
from edge_export.submodules import Port, Submodule
from edge_export.targets import Target
from quantization.recipe import Recipe
from runtime_py.bundle import sha256_of
from runtime_py.generation_spec import (
    AudioSpec,
    ConditioningSpec,
    FeaturesSpec,
    GenerationSpec,
    Interface,
    LatentSpec,
    SamplerSpec,
    TensorSpec,
)
from runtime_py.manifest import FILE_NAME, FileSpec, ModelSpec, ProgramSpec, RecipeSpec, RuleSpec, TargetSpec
from runtime_py.sampler import SAMPLERS

NOTICE = re.compile(r"(licen[cs]e|notice|copying)([.-].*)?", re.IGNORECASE)
MAX_NOTICE_BYTES = 1 << 20
ALWAYS = ("torch", "numpy")


def file_spec(path: Path) -> FileSpec:
    return FileSpec(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)


def program_spec(path: Path, compiled: Compiled) -> ProgramSpec:
    return ProgramSpec(**vars(file_spec(path)), graph=compiled.graph, memory=compiled.memory)


def copy_notices(checkpoint: Checkpoint, folder: Path) -> tuple[FileSpec, ...]:
    """Copy the licence and notice files that lie in a checkpoint into `folder`, so that apps can show them.

    Those beside the text encoder get its folder's name in front.

    Raises:
        CheckpointError: one is too large to be a notice.
    """
    t5 = checkpoint.folder / checkpoint.config.conditioner.t5_folder
    found = {path.name: path for path in _notices(checkpoint.folder)}
    found |= {f"{t5.name}-{path.name}": path for path in _notices(t5)}
    for name, path in found.items():
        if path.stat().st_size > MAX_NOTICE_BYTES:
            raise CheckpointError(f"{path} is over {MAX_NOTICE_BYTES >> 20} MiB, too large for a notice; replace it")
        shutil.copyfile(path, folder / name)
    return tuple(file_spec(folder / name) for name in sorted(found))


def _notices(folder: Path) -> Iterator[Path]:
    named = (path for path in folder.iterdir() if NOTICE.fullmatch(path.name) and FILE_NAME.fullmatch(path.name))
    return (path for path in named if path.is_file())


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


def recipe_spec(recipe: Recipe, submodules: Mapping[str, Submodule]) -> RecipeSpec:
    """What the manifest says of `recipe`, as it was applied to `submodules`."""
    rules = tuple(RuleSpec(**vars(rule)) for rule in recipe.rules)
    return RecipeSpec(
        name=recipe.name,
        rules=rules,
        thresholds=dict(recipe.thresholds),
        float16=tuple(name for name, each in submodules.items() if each.stage in recipe.float16),
        as_published=recipe.as_published,
    )


def generation_spec(
    config: ModelConfig,
    submodules: Mapping[str, Submodule],
    steps: int,
    compiled: Mapping[str, Interface] = MappingProxyType({}),
) -> GenerationSpec:
    """What the loop needs to know of a network cut into `submodules`.

    compiled: the interfaces of programs; of parts that are none, positions are the order of the submodule's ports.

    Raises:
        UsageError: steps out of range.
    """
    conditioner, decoder = config.conditioner, config.decoder
    interfaces = {name: compiled.get(name) or _interface(each, config) for name, each in submodules.items()}
    return GenerationSpec(
        conditioning=ConditioningSpec(
            tokens=conditioner.tokens, seconds_min=conditioner.seconds_min, seconds_max=conditioner.seconds_max
        ),
        latent=LatentSpec(shape=config.latent_shape, hop=decoder.hop, margin=decoder_margin(decoder)),
        audio=AudioSpec(sample_rate=config.sample_rate, channels=decoder.audio_channels),
        sampler=sampler_spec(steps),
        programs=interfaces,
        features=_features(config) if "decoder_tail" in submodules else None,
    )


def _features(config: ModelConfig) -> FeaturesSpec:
    cut = decoder_cut(config)
    assert cut is not None
    return FeaturesSpec(rate=cut.rate, margin=cut.margin)


def sampler_spec(steps: int, kind: str = "pingpong") -> SamplerSpec:
    """A sampler with the published parameters; UsageError when `steps` are out of range."""
    sampler = SAMPLERS[kind]
    parameters = dict(sampler.defaults)
    return SamplerSpec(kind=kind, parameters=parameters, sigmas=tuple(sampler.sigmas(steps, parameters).tolist()))


def _interface(submodule: Submodule, config: ModelConfig) -> Interface:
    return Interface(inputs=_tensors(submodule.inputs(config)), outputs=_tensors(submodule.outputs(config)))


def _tensors(ports: tuple[Port, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=port.name, position=position, dtype=port.dtype, shape=port.shape)
        for position, port in enumerate(ports)
    )


def toolchain(backend: Backend) -> dict[str, str]:
    """Versions of all that decides what comes out of a build."""
    return {"edge-export": __version__} | {name: _version(name) for name in (*ALWAYS, *backend.PACKAGES)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
