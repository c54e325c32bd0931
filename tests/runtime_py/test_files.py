"""Outputs lead where links do: files are replaced whole, pipes and devices written to, and nothing is spoilt."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime_py.errors import OutputError, ReaderGone, UsageError
from runtime_py.files import STDOUT, check_outputs, is_stdout, is_stream, replace_file

DATA = bytes(range(256)) * 1000  # more than a pipe holds


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """Of a file that a shell might have redirected: something was written to it already."""
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"before")
    yield file
    os.close(file)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_what_it_names_is_replaced_or_made(tmp_path, there):
    (tmp_path / "deep").mkdir()
    target, link, second = tmp_path / "deep" / "target.wav", tmp_path / "link.wav", tmp_path / "second.wav"
    link.symlink_to("deep/target.wav")
    second.symlink_to(link)
    if there:
        target.write_bytes(b"before")
    check_outputs(second)
    replace_file(second, DATA)
    assert target.read_bytes() == DATA
    assert link.is_symlink() and second.is_symlink() and not target.is_symlink()
    assert names(tmp_path / "deep") == ["target.wav"]


def test_a_link_into_a_folder_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "link.wav").symlink_to("no/such/x.wav")
    with pytest.raises(OutputError, match=f"there is no folder {tmp_path}/no/such; make it"):
        check_outputs(tmp_path / "link.wav")


@pytest.mark.parametrize(
    ("target", "message"),
    [("loop", "symbolic links; write elsewhere"), ("n" * 300, "File name too long"), (".", "is a folder; name a file")],
)
def test_what_cannot_be_written_is_refused_before_and_then_too(tmp_path, target, message):
    (tmp_path / "loop").symlink_to(target)
    for refused in (lambda: check_outputs(tmp_path / "loop"), lambda: replace_file(tmp_path / "loop", DATA)):
        with pytest.raises(OutputError, match=message):
            refused()
    assert names(tmp_path) == ["loop"]
    assert (tmp_path / "loop").is_symlink()


def test_two_outputs_that_are_one_file_through_a_link_are_refused(tmp_path):
    (tmp_path / "link.wav").symlink_to("x.wav")
    with pytest.raises(UsageError, match="are one file; name two files"):
        check_outputs(tmp_path / "link.wav", None, tmp_path / "x.wav")
    with pytest.raises(UsageError, match="- and - are one file"):
        check_outputs(STDOUT, STDOUT)
    check_outputs(STDOUT, tmp_path / "x.wav", tmp_path / "y.wav", None)


@pytest.mark.parametrize("name", ["manifest.json", "new.json"])
def test_a_link_into_the_bundle_is_refused(tmp_path, name):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_bytes(b"{}")
    (tmp_path / "link.wav").symlink_to(bundle / name)
    (tmp_path / "other").symlink_to(bundle)
    with pytest.raises(OutputError, match="lies inside the bundle"):
        check_outputs(tmp_path / "link.wav", bundle=tmp_path / "other")
    assert names(bundle) == ["manifest.json"]


def test_a_device_is_written_to_and_stays():
    before = Path("/dev/null").stat()
    replace_file(Path("/dev/null"), DATA)
    assert Path("/dev/null").stat() == before
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device; free some space"):
            replace_file(Path("/dev/full"), DATA)


def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    check_outputs(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    replace_file(pipe, DATA)
    reader.join(10)
    assert read == [DATA]
    assert pipe.is_fifo() and names(tmp_path) == ["pipe"]


def test_a_pipe_that_nobody_reads_any_more_is_said_so(tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        with pytest.raises(ReaderGone, match=f"nobody reads /dev/fd/{theirs}"):
            replace_file(Path(f"/dev/fd/{theirs}"), DATA)
    finally:
        os.close(theirs)


@pytest.mark.parametrize("place", ["/dev/fd/{}", "/proc/self/fd/{}", "/proc/thread-self/fd/{}", "{link}", "{relative}"])
def test_a_descriptor_is_written_through_and_its_link_stays(tmp_path, descriptor, place):
    if not Path(place.rpartition("/")[0].format(link="")).exists():
        pytest.skip(f"there is no {place} here")
    (tmp_path / "link").symlink_to(f"/proc/self/fd/{descriptor}")
    (tmp_path / "relative").symlink_to("link")
    path = Path(place.format(descriptor, link=tmp_path / "link", relative=tmp_path / "relative"))
    inode = (tmp_path / "log").stat().st_ino
    check_outputs(path)
    replace_file(path, b"sound")
    os.write(descriptor, b"after")
    assert (tmp_path / "log").read_bytes() == b"beforesoundafter"
    assert (tmp_path / "log").stat().st_ino == inode
    assert names(tmp_path) == ["link", "log", "relative"]
    assert (tmp_path / "link").is_symlink()


def test_a_descriptor_that_cannot_be_written_is_refused_before_the_work():
    with Path(os.devnull).open("rb") as file, pytest.raises(OutputError, match="Bad file descriptor; write elsewhere"):
        check_outputs(Path(f"/dev/fd/{file.fileno()}"))
    with pytest.raises(OutputError, match="Bad file descriptor"):
        check_outputs(Path("/dev/fd/54321"))


def test_standard_output_has_several_names(tmp_path, capfdbinary):
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    for path in (STDOUT, Path("/dev/stdout"), Path("/dev/fd/1"), tmp_path / "link"):
        assert is_stdout(path) and is_stream(path)
        replace_file(path, DATA)
        assert capfdbinary.readouterr() == (DATA, b"")
    assert not any(map(is_stdout, (None, tmp_path / "-", Path("/dev/stderr"), Path("/dev/null"))))
    assert is_stream(Path("/dev/null")) and not is_stream(tmp_path / "x.wav")
