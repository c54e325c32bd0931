"""Parsed JSON or TOML as frozen dataclasses, strictly: an unknown key, a missing one or a wrong type is refused with
its place in the document.

It knows no file and no contract: who reads one turns a SchemaError into an error of its own.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

MAX_WHOLE_FLOAT = 1 << 53
SCALARS = (bool, int, float, str)

Kind = TypeVar("Kind")


class SchemaError(ValueError):
    """`problem` is what is wrong with the value at `path`; an empty path is the document itself."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def require(condition: bool, path: str, problem: str) -> None:
    if not condition:
        raise SchemaError(path, problem)


def read_as(kind: type[Kind], value: object, path: str = "", *, defaults: bool = False) -> Kind:
    """`value`, the part of a parsed document at `path`, as `kind`.

    kind: a dataclass, tuple[X, ...], tuple[X, Y], dict[str, X], Literal, X | None, bool, int, float (finite) or str.
    A dataclass may check itself: by a method `validate(path)` that raises SchemaError, or in `__post_init__`, whose
    ValueError becomes one. defaults: keys whose fields have a default may be left out.

    Raises:
        SchemaError: it is none.
    """
    made: Kind = _read(kind, value, path, defaults)
    return made


def _read(kind: Any, value: Any, path: str, defaults: bool) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, path, defaults)
    if origin is tuple:
        return _read_tuple(arguments, value, path, defaults)
    if origin is dict:
        require(isinstance(value, dict), path, f"expected an object, found {_name(value)}")
        return {key: _read(arguments[1], item, _join(path, key), defaults) for key, item in value.items()}
    if origin is typing.Literal:
        known = any(type(value) is type(choice) and value == choice for choice in arguments)
        require(known, path, f"is {value!r}, expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (types.UnionType, typing.Union) and arguments[1:] == (types.NoneType,):
        return None if value is None else _read(arguments[0], value, path, defaults)
    return _read_scalar(kind, value, path)


def _read_dataclass(kind: Any, value: Any, path: str, defaults: bool) -> Any:
    require(isinstance(value, dict), path, f"expected an object, found {_name(value)}")
    fields, hints = dataclasses.fields(kind), typing.get_type_hints(kind)
    names = [field.name for field in fields]
    for key in value:
        advice = _nearest(key, names) if defaults else "was it made by another version?"
        require(key in names, _join(path, key), f"is not a key of this schema; {advice}")
    for field in fields:
        needed = not defaults or field.default is field.default_factory is dataclasses.MISSING
        require(field.name in value or not needed, _join(path, field.name), "is missing")
    values = {key: _read(hints[key], item, _join(path, key), defaults) for key, item in value.items()}
    try:
        made = kind(**values)
    except SchemaError as error:
        raise SchemaError(_join(path, error.path), error.problem) from error
    except ValueError as error:
        raise SchemaError(path, str(error)) from error
    validate = getattr(made, "validate", None)
    if isinstance(validate, types.MethodType):
        validate(path)
    return made


def _read_tuple(kinds: tuple[Any, ...], value: Any, path: str, defaults: bool) -> tuple[Any, ...]:
    require(isinstance(value, list), path, f"expected a list, found {_name(value)}")
    if kinds[1:] == (Ellipsis,):
        kinds = kinds[:1] * len(value)
    require(len(value) == len(kinds), path, f"expected {len(kinds)} entries, found {len(value)}")
    pairs = zip(kinds, value, strict=True)
    return tuple(_read(kind, item, f"{path}[{index}]", defaults) for index, (kind, item) in enumerate(pairs))


def _read_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind not in SCALARS:
        raise TypeError(f"no schema can hold {kind}")
    if kind is float and type(value) is int:
        require(abs(value) <= MAX_WHOLE_FLOAT, path, "is too large to be true")
        return float(value)
    require(type(value) is kind, path, f"expected {kind.__name__}, found {_name(value)}")
    require(kind is not float or math.isfinite(value), path, "is not a finite number")
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key


def _nearest(key: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"


def _name(value: object) -> str:
    return "null" if value is None else type(value).__name__
