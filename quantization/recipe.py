"""A recipe says what is quantized, as pure data. It knows no backend and imports no toolchain.

Read a rule as: in `submodule`, layers of kind `operator` whose name matches `pattern` get `weights`
and `activations`. The first rule that matches a layer decides; a layer that none matches stays
in float32. `submodule`, `operator` and `pattern` are shell patterns ("*" matches all). The pattern
"@audio" stands for the decoder's layers that give as many channels as the audio has, whatever a model calls them.

| field         | values                                                                            |
|---------------|-----------------------------------------------------------------------------------|
| `operator`    | `linear`, `conv` (transposed ones too), `embedding`                               |
| `weights`     | `float32`; `int8-channel`: symmetric int8, one scale per output channel, or per row of an embedding |
| `activations` | `float32`; `int8-dynamic`: asymmetric int8, scale chosen from each tensor at run time |
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from runtime_py.errors import UsageError

WEIGHTS = ("float32", "int8-channel")
ACTIVATIONS = ("float32", "int8-dynamic")
OPERATORS = ("linear", "conv", "embedding")

AUDIO = "@audio"

INT8_DYNAMIC = ("int8-channel", "int8-dynamic")
INT8_ROWS = ("int8-channel", "float32")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Quantize the operators it matches like this. The defaults match everything and change nothing."""

    submodule: str = "*"
    operator: str = "*"
    pattern: str = "*"
    weights: str = "float32"
    activations: str = "float32"

    def __post_init__(self) -> None:
        for field, value, choices in (
            ("weights", self.weights, WEIGHTS),
            ("activations", self.activations, ACTIVATIONS),
        ):
            if value not in choices:
                raise ValueError(f"{self}: {field} is {value!r}; choose from {', '.join(choices)}")

    def __str__(self) -> str:
        return f"the rule for {self.submodule} {self.operator} {self.pattern}"

    @property
    def formats(self) -> tuple[str, str]:
        """(weights, activations)"""
        return self.weights, self.activations

    def matches(self, submodule: str, operator: str, name: str) -> bool:
        pairs = ((submodule, self.submodule), (operator, self.operator), (name, self.pattern))
        return all(fnmatchcase(text, pattern) for text, pattern in pairs)


FLOAT = Rule()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Rules in order of precedence, and what `verify` holds the result to.

    thresholds: least SNR in dB against the fp32 reference, by stage, on equal inputs.
    float16: submodules that compute in float16 what the rules leave in float.
    as_published: export the network as published, without rewrites and windows, as a baseline to compare with.
    """

    name: str
    summary: str
    rules: tuple[Rule, ...] = ()
    thresholds: dict[str, float]
    float16: tuple[str, ...] = ()
    as_published: bool = False

    def __post_init__(self) -> None:
        for stage, least in self.thresholds.items():
            if not math.isfinite(least):
                raise ValueError(f"thresholds.{stage}: is {least}, expected a finite number of decibels")

    def rule_for(self, submodule: str, operator: str, name: str) -> Rule:
        """The first rule that matches, or FLOAT."""
        return next((rule for rule in self.rules if rule.matches(submodule, operator, name)), FLOAT)

    def spelled_out(self, audio: Sequence[str]) -> "Recipe":
        """The recipe with one rule for each pattern of `audio` in place of one for "@audio"."""
        return replace(
            self,
            rules=tuple(
                replace(rule, pattern=pattern)
                for rule in self.rules
                for pattern in (audio if rule.pattern == AUDIO else (rule.pattern,))
            ),
        )

    def check_layers(self, layers: Iterable[tuple[str, str, str]]) -> None:
        """Hold each rule against the `layers` there are: (submodule, operator, name).

        Raises:
            UsageError: a rule matches none of them, so that the recipe would do less than it says.
        """
        layers = list(layers)
        for rule in self.rules:
            if not any(rule.matches(*layer) for layer in layers):
                raise UsageError(f"recipe {self.name}: {_why_none(rule, layers)}")


def _why_none(rule: Rule, layers: list[tuple[str, str, str]]) -> str:
    """Why `rule` matches none of `layers`: its submodule, its operator, or all three together."""
    for what, pattern, column in (("submodule", rule.submodule, 0), ("operator", rule.operator, 1)):
        names = list(dict.fromkeys(layer[column] for layer in layers))
        if names and not any(fnmatchcase(name, pattern) for name in names):
            return f"{rule}: no {what} is {pattern!r}; {choose_from(pattern, names)}"
    if rule.pattern.startswith("@"):
        return f"no layers are called {rule.pattern!r} together; {AUDIO!r} is the one such name there is"
    wanted = f"{rule.submodule} {rule.operator} {rule.pattern}"
    nearest = get_close_matches(wanted, map(" ".join, layers), n=1, cutoff=0.0)
    return (
        f"no layer is {wanted!r} (submodule, operator, pattern); nearest: "
        f"{', '.join(nearest) or 'none'}; `edge-export sensitivity` lists them all"
    )


def choose_from(wrong: str, names: Iterable[str]) -> str:
    """What to say after "no such name": the nearest of `names` if one is near, and all of them."""
    names = list(names)
    close = get_close_matches(wrong, names, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}choose from {', '.join(names)}"
