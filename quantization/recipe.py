"""A recipe says what is quantized, as pure data. It knows no backend and imports no toolchain.

Read a rule as: in `submodule`, operators of kind `operator` whose name matches `pattern` get `weights`
and `activations`. The first rule that matches an operator decides; an operator that none matches stays
in float32. `submodule`, `operator` and `pattern` are shell patterns ("*" matches all).

| field         | values                                                                            |
|---------------|-----------------------------------------------------------------------------------|
| `weights`     | `float32`; `int8-channel`: symmetric int8, one scale per output channel            |
| `activations` | `float32`; `int8-dynamic`: asymmetric int8, scale chosen from each tensor at run time |
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

WEIGHTS = ("float32", "int8-channel")
ACTIVATIONS = ("float32", "int8-dynamic")
OPERATORS = ("linear", "conv")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Quantize the operators it matches like this. The defaults match everything and change nothing."""

    submodule: str = "*"
    operator: str = "*"
    pattern: str = "*"
    weights: str = "float32"
    activations: str = "float32"

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS or self.activations not in ACTIVATIONS:
            raise ValueError(f"weights are one of {WEIGHTS} and activations one of {ACTIVATIONS}, not {self}")

    def matches(self, submodule: str, operator: str, name: str) -> bool:
        pairs = ((submodule, self.submodule), (operator, self.operator), (name, self.pattern))
        return all(fnmatchcase(text, pattern) for text, pattern in pairs)


FLOAT = Rule()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Rules in order of precedence, and what `verify` holds the result to.

    thresholds: least SNR in dB against the fp32 reference, by stage, on equal inputs.
    """

    name: str
    summary: str
    rules: tuple[Rule, ...]
    thresholds: dict[str, float]

    def rule_for(self, submodule: str, operator: str, name: str) -> Rule:
        """The first rule that matches, or FLOAT."""
        return next((rule for rule in self.rules if rule.matches(submodule, operator, name)), FLOAT)
