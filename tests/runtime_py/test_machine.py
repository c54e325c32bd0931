"""The machine: one meaning of its CPU's features."""

import pytest

from runtime_py.machine import features_of_all

BIG_LITTLE = """processor\t: 0
Features\t: fp asimd crc32 asimddp

processor\t: 1
Features\t: crc32 asimd fp i8mm

Hardware\t: Features of another kind
"""


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (BIG_LITTLE, ("fp", "asimd", "crc32")),
        ("processor\t: 0\nflags\t\t: fpu sse avx2\nvmx flags\t: vnmi\n", ("fpu", "sse", "avx2")),
        ("processor\t: 0\nFeatures\t: fp\n\nprocessor\t: 1\nFeatures\t:\n", ()),
        ("processor\t: 0\nmodel name\t: some CPU\n", ()),
        ("", ()),
    ],
)
def test_features_are_those_that_all_cores_have_in_the_order_of_the_first(text, features):
    assert features_of_all(text) == features
