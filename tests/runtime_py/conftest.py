"""A bundle without programs: its files are as its manifest says, though no engine could run them."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from runtime_py.bundle import sha256_of
from runtime_py.manifest import dump_manifest
from tests.runtime_py.test_manifest import MANIFEST


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    specs = {}
    for spec in MANIFEST.files:
        path = tmp_path / spec.file
        path.write_text(f"the content of {spec.file}")
        specs[spec.file] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}

    def of_disk(spec: Any) -> Any:
        return dataclasses.replace(spec, **specs[spec.file])

    manifest = dataclasses.replace(
        MANIFEST,
        programs={role: of_disk(spec) for role, spec in MANIFEST.programs.items()},
        tokenizer=of_disk(MANIFEST.tokenizer),
        notices=tuple(map(of_disk, MANIFEST.notices)),
        golden=of_disk(MANIFEST.golden),
    )
    (tmp_path / "manifest.json").write_text(dump_manifest(manifest))
    return tmp_path
