"""What the commands show: rich tables for people, plain records for machines. It prints nothing."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from edge_export.targets import Target
from edge_export.verify import Check
from quantization.recipe import Recipe
from runtime_py.audio import WavReport
from runtime_py.bundle import Bundle
from runtime_py.generate import Generation, Request, step_sigmas
from runtime_py.manifest import Manifest, ProgramSpec
from runtime_py.record import STAGES, Device
from runtime_py.text import printable
from runtime_py.tokenizer import Prompt

if TYPE_CHECKING:
    from edge_export.compare import Comparison
    from edge_export.pipeline import Built

MEGA = 1e6


def table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; columns named in `right` are aligned to the right."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def program_table(manifest: Manifest) -> Table:
    made = table("programs", "program", "file", "MB", "delegates", "delegated", "outside", right=("MB",))
    for program in manifest.programs:
        graph = program.graph
        outside = sum(graph.undelegated.values())
        total = graph.delegated + outside
        share = f"{graph.delegated} of {total} ops ({graph.delegated / total:.0%})" if total else "none"
        names = ", ".join(f"{count} {name}" for name, count in graph.undelegated.items()) or "nothing"
        made.add_row(program.name, program.file, f"{program.bytes / MEGA:.1f}", str(graph.delegates), share, names)
    return made


def tensor_table(program: ProgramSpec) -> Table:
    made = table(f"{program.name}: inputs and outputs", "", "position", "name", "dtype", "shape", right=("position",))
    for side in ("inputs", "outputs"):
        for tensor in getattr(program, side):
            shape = " x ".join(map(str, tensor.shape))
            made.add_row(side[:-1], str(tensor.position), tensor.name, tensor.dtype, shape)
    return made


def fact_table(manifest: Manifest) -> Table:
    """What the manifest says of the whole bundle."""
    made = table("bundle", "fact", "value")
    model, golden = manifest.model, manifest.golden
    parameters = ", ".join(f"{name} {count / MEGA:.1f} M" for name, count in model.parameters.items())
    thresholds = ", ".join(f"{stage} {threshold:g} dB" for stage, threshold in manifest.recipe.thresholds.items())
    total = sum(file.bytes for file in manifest.files) / MEGA
    for fact, value in (
        ("model", f"{model.name} ({model.model_type}, {model.diffusion_objective})"),
        ("parameters", parameters),
        ("checkpoint sha256", model.checkpoint_sha256),
        ("licence", model.license),
        ("target", f"{manifest.target.name}; CPU features: {' '.join(manifest.target.cpu_features) or 'any'}"),
        ("backend", manifest.backend),
        ("recipe", f"{manifest.recipe.name}; least SNR: {thresholds}"),
        ("audio", f"{manifest.audio.sample_rate} Hz, {manifest.audio.channels} channels"),
        ("longest clip", f"{manifest.seconds_limit:.3f} s"),
        ("latent", f"{' x '.join(map(str, manifest.latent.shape))}, hop {manifest.latent.hop} samples"),
        ("decoded", f"{manifest.window} latents at a time, {manifest.latent.margin} of margin where it is cut"),
        ("sampler", f"{manifest.sampler.kind}, {manifest.sampler.steps} steps"),
        ("golden", f"{golden.prompt!r}, {golden.seconds:.3f} s, seed {golden.seed}, {golden.steps} steps"),
        ("size", f"{total:.1f} MB"),
        ("toolchain", ", ".join(f"{name} {version}" for name, version in manifest.toolchain.items())),
    ):
        made.add_row(fact, value)
    return made


def check_table(checks: Iterable[Check], title: str = "against the fp32 reference, on equal inputs") -> Table:
    numbers = ("SNR dB", "max error", "log-mel dB", "needs dB")
    made = table(title, "stage", "tensor", *numbers, "", right=numbers)
    for check in checks:
        made.add_row(
            check.stage,
            check.tensor,
            snr_text(check.snr_db),
            f"{check.max_error:.1e}",
            "" if check.log_mel_db is None else f"{check.log_mel_db:.2f}",
            "" if check.threshold_db is None else f"{check.threshold_db:g}",
            {"ok": "[green]ok[/green]", "FAIL": "[bold red]FAIL[/bold red]"}.get(verdict(check), ""),
        )
    return made


def verdict(check: Check) -> str:
    """ok or FAIL; nothing of what a program made that nobody judges."""
    shown_only = check.threshold_db is None and check.stage in (*STAGES, "run") and check.snr_db < math.inf
    return "FAIL" if not check.passed else "" if shown_only else "ok"


def time_table(generation: Generation) -> Table:
    numbers = ("load ms", "runs", "per run ms", "total ms")
    made = table("time", "stage", *numbers, right=numbers)
    for stage, time in generation.times.items():
        per_run = sum(time.runs) / len(time.runs)
        values = (f"{time.load * 1e3:.0f}", str(len(time.runs)), f"{per_run * 1e3:.1f}", f"{time.total * 1e3:.0f}")
        made.add_row(stage, *values)
    made.add_row("all", "", "", "", f"{sum(time.total for time in generation.times.values()) * 1e3:.0f}")
    return made


def target_table(targets: Iterable[Target]) -> Table:
    made = table("targets", "target", "for", "backend by default", "least CPU features", "packaging")
    for target in targets:
        features = " ".join(target.cpu_features) or "any"
        made.add_row(target.name, target.summary, target.backend, features, target.packaging)
    return made


def recipe_table(recipes: Iterable[Recipe]) -> Table:
    made = table("recipes", "recipe", "what it does", "least SNR against fp32")
    for recipe in recipes:
        thresholds = ", ".join(f"{stage} {threshold:g} dB" for stage, threshold in recipe.thresholds.items())
        made.add_row(recipe.name, recipe.summary, thresholds)
    return made


def check_record(check: Check) -> dict[str, Any]:
    """JSON has no infinity: an SNR of equal tensors is null, and `equal` says so."""
    record = asdict(check)
    record["equal"] = check.snr_db == math.inf
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }


def verify_record(bundle: Bundle, checks: Iterable[Check]) -> dict[str, Any]:
    records = [check_record(check) for check in checks]
    return {
        "bundle": str(bundle.folder),
        "backend": bundle.manifest.backend,
        "recipe": bundle.manifest.recipe.name,
        "passed": all(record["passed"] for record in records),
        "checks": records,
    }


def build_record(built: "Built") -> dict[str, Any]:
    files = {file.file: file.bytes for file in built.bundle.manifest.files}
    return {"files": files, **verify_record(built.bundle, built.checks)}


def run_record(
    manifest: Manifest, request: Request, prompt: Prompt, made: Generation, wav: WavReport, engine: str | None
) -> dict[str, Any]:
    return {
        "out": str(wav.path),
        "engine": engine or manifest.backend,
        "recipe": manifest.recipe.name,
        "prompt": request.prompt,
        "tokens": prompt.tokens,
        "tokens_dropped": prompt.dropped,
        "tokens_unknown": prompt.unknown,
        "seconds": request.seconds,
        "seed": request.seed,
        "sigmas": step_sigmas(manifest, request.steps).tolist(),
        "sample_rate": manifest.audio.sample_rate,
        "channels": wav.channels,
        "samples": wav.samples,
        "peak": wav.peak,
        "clipped": wav.clipped,
        "seconds_first_audio": made.first_audio,
        "times": {stage: {"load": time.load, "runs": list(time.runs)} for stage, time in made.times.items()},
    }


def comparison_record(comparison: "Comparison", source: str) -> dict[str, Any]:
    """What `compare --json` prints of one record."""
    facts = comparison.record.facts
    first_step, failing = comparison.first_differing, comparison.first_failing
    return {
        "record": source,
        "bundle": str(comparison.bundle.folder),
        "against": comparison.against,
        "passed": comparison.passed,
        "margin_db": _finite(comparison.margin),
        "device": asdict(facts.device),
        "runtime": asdict(facts.runtime),
        "recipe": facts.bundle.recipe,
        "request": asdict(facts.request),
        "inputs": facts.inputs,
        "checks": [check_record(check) for check in comparison.checks],
        "steps_snr_db": [_finite(value) for value in comparison.steps],
        "drift_snr_db": [_finite(value) for value in comparison.drift],
        "first_differing_step": first_step,
        "first_failing_step": failing,
        "stages": [asdict(stage) for stage in facts.stages],
    }


def matrix_table(comparisons: Iterable[tuple[str, "Comparison"]]) -> Table:
    """One line for each record, in the order given."""
    numbers = ("clip s", "seed", "steps", "margin dB", "took s", "MB")
    columns = ("record", "device", "bundle", "prompt", *numbers)
    made = table("records, the furthest off first; margin: from the nearest threshold", *columns, "", right=numbers)
    for source, comparison in comparisons:
        facts = comparison.record.facts
        verdict = "[green]ok[/green]" if comparison.passed else "[bold red]FAIL[/bold red]"
        made.add_row(
            escape(Path(source).name),
            escape(shown(named_device(facts.device))),
            escape(shown(f"{facts.bundle.backend} {facts.bundle.recipe}")),
            escape(shown(facts.request.prompt)),
            f"{facts.request.seconds:g}",
            str(facts.request.seed),
            str(facts.request.steps),
            margin_text(comparison.margin),
            f"{sum(stage.load + stage.run for stage in facts.stages):.2f}",
            f"{max((stage.peak_rss_mb for stage in facts.stages), default=0):.0f}",
            verdict,
        )
    return made


def named_device(device: Device) -> str:
    """What to call a device: its label, or the best there is."""
    return device.label or device.cpu or device.machine


def shown(text: str, most: int = 60) -> str:
    """A stranger's text as one printable line of bearable length."""
    return shorten(printable(text), most, placeholder=" ...")


def snr_text(snr_db: float) -> str:
    """dB, or in words where tensors are equal or hold no number."""
    return {math.inf: "equal", -math.inf: "none"}.get(snr_db, f"{snr_db:.1f}")


def margin_text(margin: float) -> str:
    """dB above the nearest threshold, in words where that is no number."""
    return {math.inf: "equal", -math.inf: "broken"}.get(margin, f"{margin:+.1f}")


def _finite(value: float) -> float | None:
    """JSON has no infinity: equal tensors have an SNR of null."""
    return value if math.isfinite(value) else None
