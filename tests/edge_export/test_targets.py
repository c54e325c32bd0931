"""The table of targets: each can be built for."""

import pytest

from edge_export.backends import BACKENDS
from edge_export.errors import UsageError
from edge_export.targets import TARGETS, target_for


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_every_target_has_a_backend_that_exists_and_says_how_it_is_packed(target):
    assert target_for(target.name) is target
    assert target.backend in BACKENDS
    assert target.summary
    assert target.packaging


def test_what_runs_on_arm_asks_for_its_vector_unit():
    assert all("asimd" in target.cpu_features for name, target in TARGETS.items() if name.endswith("-arm64"))
    assert TARGETS["host"].cpu_features == ()


def test_an_unknown_target_lists_the_choices():
    with pytest.raises(UsageError, match="no target called 'android'; choose from " + ", ".join(TARGETS)):
        target_for("android")
