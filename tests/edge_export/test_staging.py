"""A folder that appears complete or not at all."""

import errno
import os
from pathlib import Path

import pytest

from edge_export import staging
from edge_export.errors import BuildError, OutputError
from edge_export.staging import staged_folder


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def os_error(number: int, filename: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([str(filename)] if filename else []))


def test_the_folder_appears_only_when_the_block_has_ended(tmp_path):
    out = tmp_path / "bundle"
    with staged_folder(out) as partial:
        (partial / "programs").mkdir()
        (partial / "programs" / "dit.pte").write_bytes(b"program")
        assert not out.exists()
        assert partial.parent == tmp_path
        assert partial.name.startswith(".bundle.partial-")
    assert (out / "programs" / "dit.pte").read_bytes() == b"program"
    assert left_in(tmp_path) == ["bundle"]


def test_missing_parents_are_made(tmp_path):
    with staged_folder(tmp_path / "a" / "b" / "out") as partial:
        (partial / "file").write_text("x")
    assert (tmp_path / "a" / "b" / "out" / "file").is_file()


def test_files_get_the_permissions_of_the_umask_and_stay_executable(tmp_path):
    before = os.umask(0o022)
    try:
        with staged_folder(tmp_path / "out") as partial:
            for name, mode in (("private", 0o600), ("runner", 0o700)):
                (partial / name).write_text("x")
                (partial / name).chmod(mode)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {"private": 0o644, "runner": 0o744}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "dangling link"])
def test_what_exists_is_refused_and_kept(tmp_path, kind):
    out = tmp_path / "out"
    if "folder" in kind:
        out.mkdir()
    if kind == "folder":
        (out / "mine").write_text("x")
    if kind == "file":
        out.write_text("x")
    if kind == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists; choose another place or remove it"), staged_folder(out):
        pytest.fail("the block must not run")
    assert left_in(tmp_path) == ["out"]
    assert kind != "folder" or (out / "mine").read_text() == "x"


def test_a_folder_that_appeared_meanwhile_is_kept(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="exists"), staged_folder(out):
        out.mkdir()
    assert left_in(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, BuildError("no"), RuntimeError("no"), MemoryError])
def test_nothing_is_left_after_an_error_or_ctrl_c(tmp_path, error):
    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind), staged_folder(tmp_path / "made" / "out") as partial:
        (partial / "big").write_bytes(b"0" * 1000)
        raise error
    assert left_in(tmp_path) == []


def test_parents_that_others_use_by_now_stay(tmp_path):
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "made" / "out"):
        (tmp_path / "made" / "theirs").write_text("x")
        raise RuntimeError
    assert left_in(tmp_path / "made") == ["theirs"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_really_full_is_said_so(tmp_path):
    with pytest.raises(OutputError, match="the disk is full") as caught, staged_folder(tmp_path / "out"):
        Path("/dev/full").write_bytes(b"0" * 100_000)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == []


def test_a_full_disk_is_found_behind_other_errors(tmp_path):
    with pytest.raises(OutputError, match="the disk is full"), staged_folder(tmp_path / "out"):
        try:
            raise os_error(errno.ENOSPC)
        except OSError as error:
            raise BuildError("the toolchain failed") from error
    with pytest.raises(OutputError, match="the disk is full"), staged_folder(tmp_path / "out"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "is a file, not a folder"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EISDIR, "Is a directory"),
    ],
)
def test_trouble_with_files_inside_is_one_line(tmp_path, number, words):
    with pytest.raises(OutputError, match=words) as caught, staged_folder(tmp_path / "out") as partial:
        raise os_error(number, partial / "x")
    assert str(tmp_path / "out") in str(caught.value)
    assert ".partial-" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == []


def test_trouble_with_files_elsewhere_is_not_the_outputs(tmp_path):
    with pytest.raises(FileNotFoundError), staged_folder(tmp_path / "out"):
        (tmp_path / "input").read_bytes()
    assert left_in(tmp_path) == []


def test_trouble_while_syncing_is_told(tmp_path, monkeypatch):
    def fail(_descriptor):
        raise os_error(errno.EIO)

    monkeypatch.setattr(staging.os, "fsync", fail)
    with pytest.raises(OutputError, match="Input/output error"), staged_folder(tmp_path / "out") as partial:
        (partial / "file").write_text("x")
    assert left_in(tmp_path) == []


def test_a_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out"):
        with pytest.raises(OutputError, match="is a file, not a folder"), staged_folder(out):
            pytest.fail("the block must not run")


def test_a_name_too_long_is_refused(tmp_path):
    with pytest.raises(OutputError, match="too long"), staged_folder(tmp_path / ("x" * 300)):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127])
def test_the_longest_possible_name_is_fine(tmp_path, name):
    with staged_folder(tmp_path / name) as partial:
        (partial / "file").write_text("x")
    assert left_in(tmp_path) == [name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_parent_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"), staged_folder(tmp_path / "out"):
            pytest.fail("the block must not run")
    finally:
        tmp_path.chmod(0o700)


def test_a_parent_that_refuses_new_folders_is_told(tmp_path, monkeypatch):
    def refuse(self, *_args, **_options):
        raise os_error(errno.EACCES, self)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="permission denied"), staged_folder(tmp_path / "deep" / "er" / "out"):
        pytest.fail("the block must not run")
