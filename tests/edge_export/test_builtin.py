"""The built-in checkpoint is there for a while."""

from edge_export.builtin import builtin_checkpoint
from edge_export.checkpoint import open_checkpoint


def test_it_opens_and_is_gone_afterwards():
    with builtin_checkpoint() as folder:
        first = open_checkpoint(folder).sha256
    assert not folder.parent.exists()
    with builtin_checkpoint() as folder:
        assert open_checkpoint(folder).sha256 == first
