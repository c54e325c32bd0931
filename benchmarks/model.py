"""How well the project's own model plays, and what quantization and the contrastive loss have to do with it.

    python -m benchmarks.model --base BASE --ablation NO_CONTRASTIVE --bundle BUNDLE --prompts 500

BASE and NO_CONTRASTIVE are checkpoints of the same run (`python -m post_training publish --stage flow`, `--stage
arc-no-contrastive`), BUNDLE was built from the built-in checkpoint. Writes results/model.json, the tables and the
picture of docs/model.md, and the page docs/model.html; `python -m benchmarks.show` writes the tables again.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.show import MODEL_PAGE, MODEL_PICTURE, MODEL_RESULTS, write_model
from post_training.evaluation import Evaluation, EvaluationRequest, evaluate, evaluation_record, the_sounds
from post_training.evaluation_report import HEARD, plot_evaluation, write_report

STEPS = (1, 2, 4, 8)
BASE_STEPS = (8, 25, 50, 100)
GUIDANCE = (1.0, 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--ablation", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--diverse", type=int, default=50)
    given = parser.parse_args()
    request = EvaluationRequest(
        base=given.base,
        bundle=given.bundle,
        prompts=given.prompts,
        diverse=given.diverse,
        steps=STEPS,
        base_steps=BASE_STEPS,
        guidance=GUIDANCE,
        heard=HEARD,
        autoencoder=True,
    )
    whole = evaluate(request, the_sounds(), progress())
    ablation = evaluate(
        EvaluationRequest(checkpoint=given.ablation, prompts=given.prompts, diverse=given.diverse),
        the_sounds(),
        progress(),
    )
    save(whole, ablation)


def save(whole: Evaluation, ablation: Evaluation) -> None:
    """Everything that the docs show."""
    results = {"model": evaluation_record(whole), "no contrastive term": evaluation_record(ablation)}
    MODEL_RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_report(MODEL_PAGE, whole)
    plot_evaluation(MODEL_PICTURE, whole)
    write_model(results)


def progress() -> Callable[[str, int, int], None]:
    """Says a line for every new piece of work."""
    said: set[str] = set()

    def heard(what: str, done: int, total: int, /) -> None:
        if what not in said:
            said.add(what)
            print(f"{what}: {total}", flush=True)

    return heard


if __name__ == "__main__":
    main()
