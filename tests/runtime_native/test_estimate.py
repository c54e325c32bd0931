"""The native runtime tells as much memory as Python's formula does for it, whatever the manifest and the seconds."""

import dataclasses
from pathlib import Path
from typing import get_args

import pytest

from runtime_py.estimate import Packed, estimate_request
from runtime_py.manifest import Manifest, MemorySpec, dump_manifest
from tests.runtime_native.conftest import Runner
from tests.runtime_py.test_manifest import MANIFEST, TAILED

MB = 1_000_000


def of_sizes(base: Manifest = MANIFEST, **sizes: tuple[int, int, int]) -> Manifest:
    """`base` with other bytes of a program: of its file, packed, working; a tenth of its packed weights are equal."""
    changed = {
        role: dataclasses.replace(
            base.programs[role],
            bytes=file,
            memory=MemorySpec(packed_bytes=packed, kept_bytes=packed * 9 // 10, working_bytes=working),
        )
        for role, (file, packed, working) in sizes.items()
    }
    return dataclasses.replace(base, programs=base.programs | changed)


MANIFESTS = {
    "small": MANIFEST,
    "loading the conditioner": of_sizes(conditioner=(110 * MB, 30 * MB, MB), dit=(50 * MB, 50 * MB, 5 * MB)),
    "running the dit": of_sizes(conditioner=(110 * MB, 30 * MB, MB), dit=(340 * MB, 300 * MB, 900 * MB)),
    "running the decoder": of_sizes(decoder=(80 * MB, 100 * MB, 400 * MB)),
    "loading the tail": of_sizes(TAILED, decoder=(MB, 2 * MB, 5 * MB), decoder_tail=(80 * MB, 100 * MB, 0)),
    "running the tail": of_sizes(TAILED, decoder=(80 * MB, 100 * MB, MB), decoder_tail=(4 * MB, 10 * MB, 90 * MB)),
    "more packed than there is": of_sizes(dit=(80 * MB, 100 * MB, 0)),
    "not to be kept": of_sizes(dit=(80 * MB, 1, 0)),
    "more than 32 bits hold": of_sizes(dit=(16 << 30, 1 << 44, 1 << 44)),
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
@pytest.mark.parametrize("seconds", [0.1, 0.5])
@pytest.mark.parametrize("packed", get_args(Packed))
def test_the_estimate_is_pythons(
    edge_replay: Runner, tmp_path: Path, manifest: Manifest, seconds: float, packed: Packed
):
    (tmp_path / "manifest.json").write_text(dump_manifest(manifest), encoding="utf-8")
    request = dataclasses.replace(manifest.golden.request, seconds=seconds)
    expected = estimate_request(manifest, request, keep_loaded=False, runtime="native", packed=packed)
    done = edge_replay("estimate", tmp_path / "manifest.json", seconds, packed)
    assert (done.stderr, done.stdout) == ("", f"{expected.mapped_bytes} {expected.private_bytes}\n")
