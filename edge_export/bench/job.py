"""What a bench asks of one process, and what comes back. It neither measures nor shows."""

from dataclasses import dataclass

from runtime_py.request import Request

OUT_OF_MEMORY = "MemoryError"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to play. Whoever asks has opened `bundle`, so that its receipt is known.

    `reference` plays the fp32 network the bundle was made from, found in `checkpoint` or where it lay at the build.
    Each program is run again after the measured generation until `repeats` runs of it are steady. `rehearse` imports
    the engine and finds the weights, and measures nothing.
    """

    bundle: str
    reference: bool
    checkpoint: str | None
    request: Request
    threads: int | None
    repeats: int
    rehearse: bool = False


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """Seconds of one stage: loading its program, its runs in the generation, and those repeated afterwards.

    `repeats` were made warm: the program was opened anew and run once before them.
    """

    load: float
    runs: tuple[float, ...]
    repeats: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One generation in a fresh process, whose imports are not in its times.

    `seconds_total` reaches from opening the bundle to the last sample, `seconds_first_audio` to the first;
    `seconds_open` is the part of both that opens it: manifest, receipt, tokenizer. Both
    memory figures are peaks, in MB of 1e6 bytes: `baseline_rss_mb` once everything is imported, `peak_rss_mb` at
    the last sample.
    """

    stages: dict[str, StageRun]
    audio_seconds: float
    seconds_open: float
    seconds_total: float
    seconds_first_audio: float
    baseline_rss_mb: float
    peak_rss_mb: float
