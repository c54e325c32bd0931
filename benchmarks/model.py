"""How well the project's own model plays, and what quantization and the contrastive loss have to do with it.

    python -m benchmarks.model --base BASE --ablation NO_CONTRASTIVE --bundle BUNDLE --prompts 500

BASE and NO_CONTRASTIVE are checkpoints of the same run (`python -m post_training publish --stage flow`, `--stage
arc-no-contrastive`); where the ablation was trained otherwise than the built-in model, --contrastive names what such a
training with the term came to. BUNDLE was built from the built-in checkpoint. Writes results/model.json, the tables and
the picture of docs/model.md, and the page docs/model.html; `python -m benchmarks.show` writes the tables again.

Each part is kept in --work once it was measured, and is not measured again for the same checkpoints and numbers.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.show import MODEL_PAGE, MODEL_PICTURE, MODEL_RESULTS, write_model
from edge_export.builtin import BUILTIN_CHECKPOINT
from edge_export.checkpoint import open_checkpoint
from edge_export.command_line import guarded
from edge_export.errors import UsageError
from post_training.evaluation import EvaluationRequest, check_request, evaluate, evaluation_record, the_sounds
from post_training.evaluation_report import AUDIBLE, plot_rows, write_report

PROGRAM = "python -m benchmarks.model"
STEPS = (1, 2, 4, 8)
BASE_STEPS = (8, 25, 50, 100)
GUIDANCE = (1.0, 4.0)
MODEL, ABLATION, CONTRASTIVE, BASE = "model", "no contrastive term", "contrastive term", "base"


def main() -> None:
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="the flow before ARC")
    parser.add_argument("--ablation", type=Path, required=True, help="ARC without the contrastive term")
    parser.add_argument("--contrastive", type=Path, help="ARC with it, trained like the ablation (the built-in model)")
    parser.add_argument("--bundle", type=Path, required=True, help="of the built-in model")
    parser.add_argument("--prompts", type=int, default=500, help="held-out prompts (%(default)s)")
    parser.add_argument("--diverse", type=int, default=50, help="of them to measure diversity with (%(default)s)")
    parser.add_argument("--base-steps", type=int, nargs="+", default=BASE_STEPS, help="Euler steps (%(default)s)")
    parser.add_argument("--guidance", type=float, nargs="+", default=GUIDANCE, help="of the base (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("build/model"), help="where parts are kept (%(default)s)")
    given = parser.parse_args()
    check(given)
    given.work.mkdir(parents=True, exist_ok=True)
    parts = {name: measured(given.work, name, request) for name, request in requests(given)}
    whole = parts.pop(MODEL)
    results = {MODEL: whole, **{name: parts.pop(name) for name in (ABLATION, CONTRASTIVE) if name in parts}}
    # A base's record has the real clips again, then the rows that were asked for.
    whole["rows"] += [row for record in parts.values() for row in record["rows"][1:]]
    MODEL_RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    plot_rows(MODEL_PICTURE, whole["rows"])
    write_model(results)


def check(given: argparse.Namespace) -> None:
    """UsageError or CheckpointError for what would else be found out after an hour."""
    for _, request in requests(given):
        check_request(request)
    for path in (given.base, given.ablation, *([given.contrastive] if given.contrastive else [])):
        open_checkpoint(path)
    if not (given.bundle / "manifest.json").is_file():
        raise UsageError(f"no bundle at {given.bundle}; first: edge-export build --target android-arm64 --out BUNDLE")


def requests(given: argparse.Namespace) -> Iterator[tuple[str, EvaluationRequest]]:
    """The parts by name: the model itself first, and its bases last, which take the longest."""
    common = EvaluationRequest(prompts=given.prompts, diverse=given.diverse)
    yield MODEL, replace(common, bundle=given.bundle, steps=STEPS, audible=AUDIBLE, autoencoder=True)
    yield ABLATION, replace(common, checkpoint=given.ablation)
    if given.contrastive is not None:
        yield CONTRASTIVE, replace(common, checkpoint=given.contrastive)
    for guidance in given.guidance:
        base = replace(common, base=given.base, steps=(), base_steps=tuple(given.base_steps), guidance=(guidance,))
        yield f"{BASE} {guidance:g}", base


def measured(work: Path, name: str, request: EvaluationRequest) -> dict[str, Any]:
    """The record of an evaluation, from `work` where it was made before."""
    path = work / f"{name.replace(' ', '-')}.json"
    of = fingerprint(request)
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["of"] == of:
            return kept["record"]  # type: ignore[no-any-return]
    evaluation = evaluate(request, the_sounds(), progress(name))
    if request.audible:
        write_report(MODEL_PAGE, evaluation)
    record = evaluation_record(evaluation)
    path.write_text(json.dumps({"of": of, "record": record}), encoding="utf-8")
    return record


def fingerprint(request: EvaluationRequest) -> str:
    """Of the numbers that were asked for and the weights that play."""
    checkpoints = [request.checkpoint or BUILTIN_CHECKPOINT, *([request.base] if request.base else [])]
    weights = [open_checkpoint(path).sha256 for path in checkpoints]
    if request.bundle is not None:
        weights.append(hashlib.sha256((request.bundle / "manifest.json").read_bytes()).hexdigest())
    numbers = {key: value for key, value in asdict(request).items() if not isinstance(value, Path)}
    return hashlib.sha256(json.dumps([numbers, weights]).encode()).hexdigest()


def progress(part: str) -> Callable[[str, int, int], None]:
    """Prints a line for every new piece of work."""
    reported: set[str] = set()

    def report(what: str, done: int, total: int, /) -> None:
        if what not in reported:
            reported.add(what)
            print(f"{part}: {what} of {total}", flush=True)

    return report


if __name__ == "__main__":
    guarded(lambda **_: main(), PROGRAM, extra="train")
