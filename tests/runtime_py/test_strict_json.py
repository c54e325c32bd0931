"""JSON from a stranger is read as Python's own parser reads it, or refused; it never takes the process with it."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py import strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_whatever_json_holds_is_read(value, ascii_only):
    assert strict_json.parse(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(st.text(alphabet='[]{}":,\\ 1a', max_size=40))
def test_whatever_is_no_json_is_refused(text):
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            strict_json.parse(text)
    else:
        try:
            assert strict_json.parse(text) == expected
        except ValueError as error:
            assert "twice" in str(error)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 65 + "]" * 65])
def test_deep_nesting_is_refused_whatever_the_recursion_limit(text):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**8)
    try:
        with pytest.raises(ValueError, match="nested more than 64 deep"):
            strict_json.parse(text)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_text_do_not_count():
    assert strict_json.parse(json.dumps("[" * 1000 + '"')) == "[" * 1000 + '"'


@pytest.mark.parametrize(("text", "message"), [('{"a": NaN}', "holds NaN"), ('{"a": 1, "a": 2}', "gives 'a' twice")])
def test_what_only_some_parsers_accept_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        strict_json.parse(text)
