"""`edge-export inspect`: what a manifest says."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from edge_export.commands.options import BundleArgument, JsonOption
from edge_export.console import show_json, show_tables

if TYPE_CHECKING:
    from rich.table import Table

    from runtime_py.generation_spec import GenerationSpec, Interface
    from runtime_py.manifest import Manifest


def inspect(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Show a bundle's programs: sizes, inputs and outputs, how much is delegated and what is not."""
    from edge_export.report import program_table
    from runtime_py.bundle import open_bundle

    manifest = open_bundle(bundle).manifest
    if as_json:
        show_json(asdict(manifest))
        return
    tensors = (tensor_table(role, interface) for role, interface in manifest.generation.programs.items())
    show_tables(fact_table(manifest), program_table(manifest), *tensors)


def fact_table(manifest: "Manifest") -> "Table":
    """What the manifest says of the whole bundle."""
    from edge_export.report import table
    from runtime_py.machine import MEGA
    from runtime_py.request import shown_limit

    made = table("bundle", "fact", "value")
    model, spec, golden = manifest.model, manifest.generation, manifest.golden.request
    parameters = ", ".join(f"{name} {count / MEGA:.1f} M" for name, count in model.parameters.items())
    thresholds = ", ".join(f"{stage} {threshold:g} dB" for stage, threshold in manifest.recipe.thresholds.items())
    total = sum(file.bytes for file in manifest.files) / MEGA
    for fact, value in (
        ("model", f"{model.name} ({model.model_type}, {model.diffusion_objective})"),
        ("parameters", parameters),
        ("checkpoint sha256", model.checkpoint_sha256),
        ("licence", model.license),
        ("notices", ", ".join(notice.file for notice in manifest.notices) or "none"),
        ("target", f"{manifest.target.name}; CPU features: {' '.join(manifest.target.cpu_features) or 'any'}"),
        ("backend", manifest.backend),
        ("recipe", f"{manifest.recipe.name}; least SNR: {thresholds}"),
        ("audio", f"{spec.audio.sample_rate} Hz, {spec.audio.channels} channels"),
        ("longest clip", f"{shown_limit(spec.seconds_limit)} s"),
        ("latent", f"{' x '.join(map(str, spec.latent.shape))}, hop {spec.latent.hop} samples"),
        ("decoded", _decoded(spec)),
        ("sampler", f"{spec.sampler.kind}, {spec.sampler.steps} steps"),
        ("golden", f"{golden.prompt!r}, {golden.seconds:.3f} s, seed {golden.seed}, {golden.steps} steps"),
        ("size", f"{total:.1f} MB"),
        ("memory", _memory(manifest)),
        ("toolchain", ", ".join(f"{name} {version}" for name, version in manifest.toolchain.items())),
    ):
        made.add_row(fact, value)
    return made


def _decoded(spec: "GenerationSpec") -> str:
    """How much the decoder takes at a time, and its tail where it has one."""
    made = f"{spec.window} latents at a time, {spec.latent.margin} of margin where it is cut"
    if spec.features is None:
        return made
    margin = f"{spec.features.margin} of margin"
    return f"{made}; then {spec.tile} of {spec.window * spec.features.rate} features at a time, {margin}"


def _memory(manifest: "Manifest") -> str:
    """What a clip of the usual length takes, with one program loaded at a time."""
    from runtime_py.estimate import estimate_request
    from runtime_py.machine import MEGA
    from runtime_py.request import Request, default_seconds

    request = Request(prompt="", seconds=default_seconds(manifest.generation))
    needed = estimate_request(manifest, request, keep_loaded=False)
    private, mapped = needed.private_bytes / MEGA, needed.mapped_bytes / MEGA
    return f"{private + mapped:.0f} MB for {request.seconds:.1f} s: {private:.0f} private, {mapped:.0f} of mapped files"


def tensor_table(role: str, interface: "Interface") -> "Table":
    from edge_export.report import table

    made = table(f"{role}: inputs and outputs", "", "position", "name", "dtype", "shape", right=("position",))
    for side in ("inputs", "outputs"):
        for tensor in getattr(interface, side):
            shape = " x ".join(map(str, tensor.shape))
            made.add_row(side[:-1], str(tensor.position), tensor.name, tensor.dtype, shape)
    return made
