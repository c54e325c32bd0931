"""An evaluation in words: a row's figures as cells, and what a table does not say as lines. It prints nothing."""

from post_training.evaluation import SHARES, Evaluation, Row, difference

COLUMNS = ("adherence", "Frechet", "diversity", "tempo", "key", "note", "adjectives", "s a clip")


def cells(row: Row) -> tuple[str, ...]:
    """The figures of a row as they are shown, in the order of the table."""
    return (
        _percent(row.adherence),
        f"{row.frechet:.2f}",
        "" if row.diversity is None else f"{row.diversity:.3f}",
        *(_percent(row.shares[share]) for share in SHARES),
        "" if row.seconds is None else f"{row.seconds:.2f}",
    )


def remarks(evaluation: Evaluation) -> list[str]:
    """What the table does not say, a line each."""
    real = len(evaluation.cases) + evaluation.references
    lines = [
        f"The judge is right on {evaluation.classifier_accuracy:.1%} of {real} real held-out clips; the "
        f"Frechet distance is to {evaluation.references} of them."
    ]
    weakest = sorted(evaluation.judged.by_kind.items(), key=lambda item: item[1])[:8]
    lost = [f"{kind} {share:.0%}" for kind, share in weakest if share < 1]
    if lost:
        lines.append(f"Weakest kinds at {evaluation.judged.label}: {', '.join(lost)}.")
    if evaluation.autoencoder is not None:
        lines.append(
            f"Real clips, encoded and decoded, are off by {evaluation.autoencoder.log_mel_db:.2f} dB of log-mel level; "
            f"their SI-SDR is {evaluation.autoencoder.si_sdr_db:.1f} dB."
        )
    if evaluation.bundle is not None:
        cost = difference(evaluation.bundle, evaluation.judged)
        growth = cost["frechet_growth"]
        lines.append(
            f"The bundle loses {100 * (cost['adherence_lost'] or 0):.1f} points of adherence against fp32; its Frechet "
            f"distance is {'not comparable' if growth is None else f'{growth:+.1%}'}."
        )
    return lines


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
