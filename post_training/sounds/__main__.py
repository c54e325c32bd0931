"""`python -m post_training.sounds --out DIR`: clips as WAV files beside their captions, for people to listen to."""

import argparse
import sys
import time
from pathlib import Path

from edge_export.errors import EdgeExportError, OutputError, UsageError
from post_training.sounds.clip import SECONDS, draw
from post_training.sounds.synth import RATE
from runtime_py.audio import write_wav

CAPTIONS = "captions.txt"


def write_clips(out: Path, *, number: int, seed: int, seconds: float, held_out: bool) -> float:
    """Write the clips of `number` seeds from `seed` on, and a line for each in captions.txt; the seconds drawing took.

    Raises:
        UsageError: a number that cannot be.
        OutputError: the folder or a file cannot be written.
    """
    if number < 1 or seed < 0:
        raise UsageError(f"--count must be 1 or more and --seed 0 or more, not {number} and {seed}")
    spent, lines = 0.0, []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for one in range(seed, seed + number):
            began = time.perf_counter()
            clip = draw(one, seconds=seconds, held_out=held_out)
            spent += time.perf_counter() - began
            write_wav(out / f"{one:06d}.wav", clip.audio, RATE)
            lines.append(f"{one:06d}.wav\t{clip.caption}\n")
        (out / CAPTIONS).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m post_training.sounds", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where WAVs and captions.txt go")
    parser.add_argument("--count", type=int, default=20, metavar="N", help="how many clips; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first clip's; default %(default)s")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each clip; default %(default)s")
    parser.add_argument("--held-out", action="store_true", help="only combinations that are never trained on")
    given = parser.parse_args()
    try:
        spent = write_clips(
            given.out, number=given.count, seed=given.seed, seconds=given.seconds, held_out=given.held_out
        )
    except EdgeExportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{given.count} clips and {CAPTIONS} in {given.out}, drawn in {1000 * spent / given.count:.0f} ms each")


if __name__ == "__main__":
    main()
