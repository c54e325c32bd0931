"""Documents become dataclasses, and whatever does not fit is refused with its place."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.schema import SchemaError, read_as, require


@dataclass(frozen=True, kw_only=True)
class Leaf:
    name: str
    size: float = 1.0
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size = {self.size}, expected 0 or more")
        require(bool(self.name), "name", "is empty")


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...]
    pair: tuple[int, float]
    counts: dict[str, int]
    kind: Literal["oak", "ash", 1]
    parent: str | None
    tall: bool
    first: Leaf | None = None
    notes: dict[str, str] = field(default_factory=dict)

    def validate(self, path: str) -> None:
        require(self.pair[0] >= 0, f"{path}.pair[0]" if path else "pair[0]", "is negative")


LEAF = {"name": "a", "size": 2, "tags": ["x", "y"]}
TREE: dict[str, Any] = {
    "leaves": [LEAF, {"name": "b", "size": 0.5, "tags": []}],
    "pair": [3, 4],
    "counts": {"a": 1, "": 2},
    "kind": "ash",
    "parent": None,
    "tall": True,
    "first": LEAF,
    "notes": {},
}


def problem_of(kind: Any, value: object, path: str = "", **options: bool) -> tuple[str, str]:
    with pytest.raises(SchemaError) as caught:
        read_as(kind, value, path, **options)
    return caught.value.path, caught.value.problem


def test_a_document_becomes_dataclasses() -> None:
    tree = read_as(Tree, TREE)
    assert tree == Tree(
        leaves=(Leaf(name="a", size=2.0, tags=("x", "y")), Leaf(name="b", size=0.5)),
        pair=(3, 4.0),
        counts={"a": 1, "": 2},
        kind="ash",
        parent=None,
        tall=True,
        first=Leaf(name="a", size=2.0, tags=("x", "y")),
    )
    assert [type(number) for number in tree.pair] == [int, float]
    assert read_as(Tree, {**TREE, "kind": 1, "parent": "root", "first": None}).kind == 1


def test_defaults_are_for_those_who_ask() -> None:
    short = {key: value for key, value in TREE.items() if key not in ("first", "notes")} | {"leaves": [{"name": "a"}]}
    tree = read_as(Tree, short, defaults=True)
    assert (tree.leaves, tree.first, tree.notes) == ((Leaf(name="a"),), None, {})
    assert problem_of(Tree, short) == ("first", "is missing")
    assert problem_of(Tree, {**TREE, "leaves": [{"name": "a"}]}) == ("leaves[0].size", "is missing")
    assert problem_of(Leaf, {"size": 1.0}, defaults=True) == ("name", "is missing")


@pytest.mark.parametrize(
    ("change", "path", "problem"),
    [
        ({"zzz": 1}, "zzz", "is not a key of this schema; was it made by another version?"),
        ({"leaves": [LEAF, {**LEAF, "nam": "b"}]}, "leaves[1].nam", "is not a key of this schema; was it made by"),
        ({"leaves": [LEAF, "b"]}, "leaves[1]", "expected an object, found str"),
        ({"leaves": {}}, "leaves", "expected a list, found dict"),
        ({"leaves": [{**LEAF, "tags": [1]}]}, "leaves[0].tags[0]", "expected str, found int"),
        ({"pair": [3]}, "pair", "expected 2 entries, found 1"),
        ({"pair": [3, 4, 5]}, "pair", "expected 2 entries, found 3"),
        ({"pair": [3.0, 4.0]}, "pair[0]", "expected int, found float"),
        ({"pair": [True, 4.0]}, "pair[0]", "expected int, found bool"),
        ({"pair": [3, 1 << 54]}, "pair[1]", "is too large to be true"),
        ({"pair": [3, math.inf]}, "pair[1]", "is not a finite number"),
        ({"pair": [3, math.nan]}, "pair[1]", "is not a finite number"),
        ({"counts": {"a": "1"}}, "counts.a", "expected int, found str"),
        ({"counts": [1]}, "counts", "expected an object, found list"),
        ({"kind": "elm"}, "kind", "is 'elm', expected one of 'oak', 'ash', 1"),
        ({"kind": True}, "kind", "is True, expected one of 'oak', 'ash', 1"),
        ({"kind": []}, "kind", "is [], expected one of 'oak', 'ash', 1"),
        ({"parent": 1}, "parent", "expected str, found int"),
        ({"tall": 1}, "tall", "expected bool, found int"),
        ({"tall": None}, "tall", "expected bool, found null"),
        ({"pair": [-1, 0]}, "pair[0]", "is negative"),
        ({"first": {**LEAF, "size": -1}}, "first", "size = -1.0, expected 0 or more"),
        ({"first": {**LEAF, "name": ""}}, "first.name", "is empty"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_with_its_place(change: dict[str, Any], path: str, problem: str) -> None:
    assert problem_of(Tree, {**TREE, **change})[0] == path
    assert problem_of(Tree, {**TREE, **change})[1].startswith(problem)
    assert problem_of(Tree, {**TREE, **change}, "wood.tree")[0] == f"wood.tree.{path}"


@pytest.mark.parametrize(
    ("change", "path", "advice"),
    [
        ({"zzz": 1}, "zzz", "expected one of leaves, pair, counts, kind, parent, tall, first, notes"),
        ({"parant": 1}, "parant", "did you mean 'parent'?"),
        ({"leaves": [LEAF, {**LEAF, "nam": "b"}]}, "leaves[1].nam", "did you mean 'name'?"),
    ],
    ids=str,
)
def test_who_writes_a_document_by_hand_is_told_the_nearest_key(change: dict[str, Any], path: str, advice: str) -> None:
    found = problem_of(Tree, {**TREE, **change}, defaults=True)
    assert found == (path, f"is not a key of this schema; {advice}")


def test_the_message_is_place_and_problem() -> None:
    assert str(SchemaError("a.b", "is missing")) == "a.b: is missing"
    assert str(SchemaError("", "is no object")) == "is no object"


def test_a_document_need_not_be_a_dataclass() -> None:
    assert read_as(tuple[int, ...], [1, 2]) == (1, 2)
    assert read_as(dict[str, float], {"a": 1}) == {"a": 1.0}
    assert problem_of(dict[str, float], {"a": "1"}) == ("a", "expected float, found str")
    assert problem_of(Tree, []) == ("", "expected an object, found list")


@pytest.mark.parametrize("kind", [bytes, list[int], int | str, set, Any], ids=str)
def test_a_type_that_no_document_holds_is_a_fault_of_the_program(kind: Any) -> None:
    with pytest.raises(TypeError, match="no schema can hold"):
        read_as(kind, 1)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from([*TREE, "novel"]), value=ANY)
def test_any_value_anywhere_is_read_or_refused(key: str, value: object) -> None:
    try:
        read_as(Tree, {**TREE, key: value})
    except SchemaError as error:
        assert error.path.startswith(key)
