"""Only plain files of the recorded size and hash are read from a bundle."""

import pytest

from runtime_py.bundle import open_bundle
from runtime_py.errors import BundleError
from tests.runtime_py.test_manifest import MANIFEST


def test_an_intact_bundle_opens(folder):
    assert open_bundle(folder).path(MANIFEST.tokenizer) == folder / "tokenizer.json"


def test_one_changed_byte_is_noticed(folder):
    path = folder / "dit.pte"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"dit\.pte was altered"):
        open_bundle(folder)


def test_a_truncated_file_is_noticed(folder):
    path = folder / "dit.pte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="bytes, the manifest says"):
        open_bundle(folder)


def test_a_missing_file_is_noticed(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json is missing"):
        open_bundle(folder)


def test_the_golden_vectors_alone_may_be_left_out(folder):
    golden = folder / "golden.safetensors"
    golden.unlink()
    assert open_bundle(folder).manifest.golden.file == golden.name
    golden.symlink_to(folder / "nowhere")
    with pytest.raises(BundleError, match="not a plain file"):
        open_bundle(folder)


def test_golden_vectors_that_are_there_are_checked(folder):
    (folder / "golden.safetensors").write_text("others")
    with pytest.raises(BundleError, match=r"golden\.safetensors has 6 bytes"):
        open_bundle(folder)


def test_a_link_out_of_the_bundle_is_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "dit.pte"
    (folder / "dit.pte").rename(outside)
    (folder / "dit.pte").symlink_to(outside)
    with pytest.raises(BundleError, match="not a plain file"):
        open_bundle(folder)


def test_what_is_no_folder_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="not a folder"):
        open_bundle(tmp_path / "none")
