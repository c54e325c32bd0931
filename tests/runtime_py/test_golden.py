"""Golden vectors are read as what the manifest says they are."""

import pytest

from runtime_py.bundle import open_bundle
from runtime_py.errors import BundleError
from runtime_py.golden import read_golden


@pytest.fixture
def bundle(built, copy_of):
    return open_bundle(copy_of(built("litert", "fp32")))


def test_every_stage_is_recorded(bundle):
    golden = read_golden(bundle)
    latent = bundle.manifest.generation.latent
    assert golden["audio"].shape[-1] == latent.length * latent.hop
    assert len(golden["step_velocity"]) == bundle.manifest.golden.request.steps


def test_a_bundle_without_them_opens_but_proves_nothing(bundle):
    bundle.path(bundle.manifest.golden).unlink()
    with pytest.raises(BundleError, match="left out of this bundle"):
        read_golden(open_bundle(bundle.folder))


def test_a_file_of_other_tensors_is_refused(bundle):
    bundle.path(bundle.manifest.golden).write_bytes(b"{}")
    with pytest.raises(BundleError, match="holds no golden vectors"):
        read_golden(bundle)
