"""What to generate, and what a model can be asked for. It does not know how anything is computed."""

import math
import secrets
from dataclasses import dataclass, replace

import numpy as np

from runtime_py.audio import samples_in
from runtime_py.errors import UsageError
from runtime_py.generation_spec import GenerationSpec
from runtime_py.random import MAX_SEED, TorchRandom

MAX_PROMPT_CHARACTERS = 100_000
DEFAULT_SECONDS = 7.0
RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One clip. `steps` of None means the bundle's own; where a request is kept, it is a number."""

    prompt: str
    seconds: float
    seed: int = 0
    steps: int | None = None

    def resolved(self, spec: GenerationSpec) -> "Request":
        """The same request with nothing left open and in plain numbers, as it is kept."""
        steps = spec.sampler.steps if self.steps is None else int(self.steps)
        return replace(self, seconds=float(self.seconds), seed=int(self.seed), steps=steps)


def default_seconds(spec: GenerationSpec) -> float:
    """7 seconds, or the model's whole clip where that is shorter."""
    return min(DEFAULT_SECONDS, spec.seconds_limit)


def shown_limit(seconds: float) -> str:
    """The most seconds in milliseconds, rounded down: a number that is accepted."""
    whole = math.floor(seconds * 1000)
    return f"{(whole - (whole / 1000 > seconds)) / 1000:.3f}"


def read_seed(word: str) -> tuple[int, str | None]:
    """A seed as a command line has it: a number, or `random`, which draws one; and then a note that says which.

    Raises:
        UsageError: it is neither.
    """
    if word == RANDOM:
        seed = secrets.randbelow(MAX_SEED + 1)
        return seed, f"seed {seed} was drawn: --seed {seed} gives this sound again"
    try:
        return int(word), None
    except ValueError:
        raise UsageError(f"seed is {word!r:.60}, expected a whole number, or {RANDOM}") from None


def check_request(request: Request, spec: GenerationSpec) -> None:
    """Refuse what the model cannot do, before anything is loaded.

    Raises:
        UsageError: an empty or absurdly long prompt; seconds, steps or a seed out of range, or no numbers; no request.
    """
    if not isinstance(request, Request):
        raise UsageError(f"{request!r} is no request; make one with `generator.request(prompt, ...)`")
    _check_types(request)
    if not request.prompt.strip():
        raise UsageError('the prompt is empty; say what to play, such as "warm arpeggios on house beats"')
    if len(request.prompt) > MAX_PROMPT_CHARACTERS:
        raise UsageError(
            f"the prompt has {len(request.prompt)} characters; the model reads {spec.conditioning.tokens} tokens: "
            f"shorten it below {MAX_PROMPT_CHARACTERS} characters"
        )
    limit, shown = spec.seconds_limit, shown_limit(spec.seconds_limit)
    if not math.isfinite(request.seconds) or request.seconds <= 0:
        raise UsageError(f"seconds is {request.seconds:g}, expected a number above 0 and up to {shown}")
    if request.seconds > limit:
        brief = f"{request.seconds:g}"
        asked = brief if float(brief) > limit else repr(float(request.seconds))
        raise UsageError(f"seconds is {asked}, this model makes at most {shown}; ask for less")
    if samples_in(request.seconds, spec.audio.sample_rate) < 1:
        raise UsageError(f"seconds is {request.seconds:g}, less than one sample; ask for more")
    spec.sampler.schedule(request.steps)
    TorchRandom(request.seed)


def _check_types(request: Request) -> None:
    """Python would take much for a number, and say odd things of the rest."""
    kinds = {"prompt": (str,), "seconds": (int, float), "seed": (int,), "steps": (int, type(None))}
    names = {"prompt": "text", "seconds": "a number", "seed": "a whole number", "steps": "a whole number"}
    for name, expected in kinds.items():
        value = getattr(request, name)
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool) or not isinstance(plain, expected):
            raise UsageError(f"{name} is {value!r:.60}, expected {names[name]}")
