"""What is written beside the programs: the spec of a generation, and the notices that a bundle carries along."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from edge_export import bundle as write
from edge_export.checkpoint import Checkpoint, open_checkpoint
from edge_export.errors import CheckpointError, UsageError
from edge_export.submodules import AS_PUBLISHED, SUBMODULES
from runtime_py.bundle import sha256_of
from runtime_py.generation_spec import GenerationSpec, Interface, TensorSpec
from runtime_py.schema import read_as


@pytest.fixture
def checkpoint(oracle: Path, tmp_path: Path) -> Checkpoint:
    folder = tmp_path / "checkpoint"
    shutil.copytree(oracle, folder, ignore=shutil.ignore_patterns("expected*"))
    return open_checkpoint(folder)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


NAMES = ["LICENSE", "LICENSE.md", "LICENCE.txt", "license-code.txt", "NOTICE", "Notice.txt", "COPYING"]


@pytest.mark.parametrize("name", NAMES)
def test_licence_and_notice_files_are_copied_and_recorded(checkpoint, out, name):
    (checkpoint.folder / name).write_text("of the network")
    (checkpoint.folder / "t5-base" / name).write_text("of the text encoder")
    notices = write.copy_notices(checkpoint, out)
    assert [spec.file for spec in notices] == sorted([name, f"t5-base-{name}"])
    assert (out / name).read_text() == "of the network"
    assert (out / f"t5-base-{name}").read_text() == "of the text encoder"
    for spec in notices:
        assert (spec.sha256, spec.bytes) == (sha256_of(out / spec.file), (out / spec.file).stat().st_size)


@pytest.mark.parametrize("name", ["README.md", "licensed.txt", "my-LICENSE", "LICENSE of mine", ".LICENSE", "NOTICES"])
def test_other_files_are_left_where_they_are(checkpoint, out, name):
    (checkpoint.folder / name).write_text("else")
    (checkpoint.folder / "LICENSE.folder").mkdir()
    assert write.copy_notices(checkpoint, out) == ()
    assert list(out.iterdir()) == []


def test_what_is_too_large_for_a_notice_is_refused_by_name(checkpoint, out):
    with (checkpoint.folder / "LICENSE").open("wb") as file:
        file.truncate(write.MAX_NOTICE_BYTES + 1)
    with pytest.raises(CheckpointError, match=r"LICENSE is over 1 MiB, too large for a notice"):
        write.copy_notices(checkpoint, out)


@pytest.mark.parametrize("table", [SUBMODULES, AS_PUBLISHED], ids=["rewritten", "published"])
def test_the_spec_of_a_network_that_was_not_compiled_keeps_the_contract(checkpoint, table):
    spec = write.generation_spec(checkpoint.config, table, steps=4)
    assert read_as(GenerationSpec, json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert list(spec.programs) == list(table)
    assert spec.sampler.steps == 4
    assert (spec.latent.shape, spec.latent.hop, spec.audio.sample_rate) == ((64, 16), 2048, 44100)


def test_the_interface_of_a_program_goes_before_that_of_its_submodule(checkpoint):
    spec = write.generation_spec(checkpoint.config, SUBMODULES, steps=4)
    turned = tuple(dataclasses.replace(each, position=3 - each.position) for each in spec.programs["dit"].inputs[:4])
    given = Interface(inputs=(*turned, *spec.programs["dit"].inputs[4:]), outputs=spec.programs["dit"].outputs)
    made = write.generation_spec(checkpoint.config, SUBMODULES, 4, {"dit": given})
    assert made.programs["dit"] == given
    assert made.programs["decoder"] == spec.programs["decoder"]
    assert all(isinstance(each, TensorSpec) for each in made.programs["dit"].inputs)


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_out_of_range_are_refused(steps):
    with pytest.raises(UsageError, match=f"steps is {steps}"):
        write.sampler_spec(steps)
