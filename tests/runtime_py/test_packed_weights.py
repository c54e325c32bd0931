"""Packed weights are kept for exactly the program, packer and CPU they were made for, and never at a run's cost."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime_py import packed_weights as kept
from runtime_py.packed_weights import key_of, packed_weights

KEY, OTHER = "a1" * 16, "b2" * 16
WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "dit.tflite"
    path.write_bytes(b"a program")
    return path


def pack(folder: Path, key: str = KEY, data: bytes = WEIGHTS, *, age: float = 0) -> Path:
    """Keep `data` under `key`, as a runtime would that was last used `age` seconds ago."""
    with packed_weights(key, folder) as path:
        assert path is not None
        path.write_bytes(data)
    (made,) = folder.glob(f"{key}.*")
    used = time.time() - age
    os.utime(made, (used, used))
    return made


def found(folder: Path, key: str = KEY) -> Path | None:
    """What is kept under `key`; None when the runtime was given a new file to write to."""
    with packed_weights(key, folder) as path:
        return path if path is not None and path.exists() else None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(number: int) -> Callable:
    def fail(path: object, *_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    return fail


# What decides them


def test_the_same_program_has_the_same_key_wherever_it_is_moved(program, tmp_path):
    before = key_of(program, "litert 2.3.0")
    moved = program.rename(tmp_path / "moved.tflite")
    assert key_of(moved, "litert 2.3.0") == before
    assert len(before) == 32


def test_another_version_of_who_packs_is_another_key(program):
    keys = {key_of(program), key_of(program, "litert 2.3.0"), key_of(program, "litert 2.4.0"), key_of(program, "lite")}
    assert len(keys) == 4


def alter_in_place(path: Path) -> None:
    """As long as before, and written a moment later."""
    written = path.stat().st_mtime_ns
    path.write_bytes(b"A program")
    os.utime(path, ns=(written + 1, written + 1))


def replace_at_the_same_time(path: Path) -> None:
    """As long as before and written at the same time, but another file."""
    written = path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_bytes(b"A program")
    os.utime(other, ns=(written, written))
    other.replace(path)


def grow_at_the_same_time(path: Path) -> None:
    written = path.stat().st_mtime_ns
    path.write_bytes(b"a longer program")
    os.utime(path, ns=(written, written))


@pytest.mark.parametrize("change", [alter_in_place, replace_at_the_same_time, grow_at_the_same_time])
def test_another_program_in_its_place_is_another_key(program, change):
    before = key_of(program)
    change(program)
    assert key_of(program) != before


def test_another_cpu_is_another_key(program, monkeypatch):
    before = key_of(program)
    monkeypatch.setattr(kept, "_cpu", lambda: ("x86_64", "flags : avx2 avx512_vnni"))
    with_vnni = key_of(program)
    monkeypatch.setattr(kept, "_cpu", lambda: ("x86_64", "flags : avx2"))
    assert len({before, with_vnni, key_of(program)}) == 3


def test_what_the_cpu_is_doing_now_is_no_part_of_it():
    """Its clock goes up and down from one moment to the next, and cores are many or few."""
    first, again = kept._cpu(), kept._cpu()  # noqa: SLF001
    assert "MHz" not in " ".join(first)
    assert first == again
    assert first[0]


def test_a_system_without_cpuinfo_has_keys_too(program, monkeypatch):
    monkeypatch.setattr(Path, "read_text", failing(errno.ENOENT))
    assert len(key_of(program)) == 32


# Kept and found


def test_what_a_runtime_wrote_is_found_again(folder):
    path = pack(folder)
    assert found(folder) == path
    assert path.read_bytes() == WEIGHTS
    assert names(folder) == [path.name]


def test_what_is_kept_is_only_read(folder):
    """It may be mapped by another process: whoever finds it writes nothing, and nothing is written anew."""
    path = pack(folder)
    before = path.stat().st_ino
    assert found(folder) == path
    assert path.stat().st_ino == before


def test_weights_of_another_key_are_not_found(folder):
    pack(folder)
    assert found(folder, OTHER) is None
    assert found(folder, KEY[:-1]) is None


def test_a_runtime_that_writes_nothing_leaves_nothing(folder):
    with packed_weights(KEY, folder) as path:
        assert path is not None
    assert names(folder) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_fails_keeps_nothing(folder, error):
    def run() -> None:
        with packed_weights(KEY, folder) as path:
            path.write_bytes(WEIGHTS[:100])
            raise error

    with pytest.raises(error):
        run()
    assert names(folder) == []
    assert found(folder) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(WEIGHTS[:-1]),
        lambda path: path.write_bytes(WEIGHTS[:5000] + bytes([WEIGHTS[5000] ^ 1]) + WEIGHTS[5001:]),
        lambda path: path.write_bytes(WEIGHTS + b"\0"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["truncated", "one bit", "longer", "empty"],
)
def test_what_the_disk_has_altered_is_not_trusted_but_removed_and_made_anew(folder, damage):
    path = pack(folder)
    damage(path)
    with packed_weights(KEY, folder) as fresh:
        assert fresh is not None
        assert fresh != path
        assert not path.exists()
        fresh.write_bytes(WEIGHTS)
    assert found(folder) == path
    assert names(folder) == [path.name]


def test_what_a_killed_run_left_is_not_trusted(folder):
    folder.mkdir()
    (folder / f".{KEY}.partial-0123abcd").write_bytes(WEIGHTS)
    assert found(folder) is None


def test_two_runs_at_once_do_not_write_to_one_file(folder):
    with packed_weights(KEY, folder) as one, packed_weights(KEY, folder) as two:
        assert one != two
        one.write_bytes(WEIGHTS)
        two.write_bytes(WEIGHTS)
    assert found(folder) is not None
    assert len(names(folder)) == 1


# Never at a run's cost


def test_without_a_folder_all_goes_on():
    with packed_weights(KEY, None) as path:
        assert path is None


@pytest.mark.parametrize(("free", "others", "room"), [(0, 0, True), (-1, 0, False), (0, 1, False), (5000, 1, True)])
def test_a_disk_without_room_for_all_who_write_is_done_without(folder, monkeypatch, free, others, room):
    """5000 bytes are to be written, and `free` is beyond those and what is left to others."""
    folder.mkdir()
    for number in range(others):
        (folder / f".{OTHER}.partial-{number:08x}").touch()
    usage = SimpleNamespace(free=kept.SPARE_BYTES + 5000 + free)
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda _: usage)
    with packed_weights(KEY, folder, most_bytes=5000) as path:
        assert (path is not None) == room


@pytest.mark.parametrize(("beyond", "room"), [(0, True), (-1, False)])
def test_a_limit_on_the_size_of_files_is_kept_to(folder, monkeypatch, beyond, room):
    monkeypatch.setattr(kept, "largest_file", lambda: kept.SPARE_BYTES + 5000 + beyond)
    with packed_weights(KEY, folder, most_bytes=5000) as path:
        assert (path is not None) == room


def test_weights_that_are_kept_serve_on_a_full_disk(folder, monkeypatch):
    path = pack(folder)
    monkeypatch.setattr(kept.shutil, "disk_usage", failing(errno.EIO))
    assert found(folder) == path
    with packed_weights(OTHER, folder) as none:
        assert none is None


def test_a_file_in_the_folders_place_is_left_alone_and_all_goes_on(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with packed_weights(KEY, folder) as path:
            assert path is None
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_made_is_done_without(folder, monkeypatch, number):
    monkeypatch.setattr(Path, "mkdir", failing(number))
    with packed_weights(KEY, folder) as path:
        assert path is None
    assert not folder.exists()


def test_a_folder_that_may_only_be_read_still_serves(folder, monkeypatch):
    path = pack(folder)
    monkeypatch.setattr(kept.os, "access", lambda *_: False)
    monkeypatch.setattr(kept.os, "utime", failing(errno.EROFS))
    assert found(folder) == path
    with packed_weights(OTHER, folder) as none:
        assert none is None
    assert names(folder) == [path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_really_may_only_be_read_still_serves(folder):
    path = pack(folder)
    folder.chmod(0o500)
    try:
        assert found(folder) == path
        with packed_weights(OTHER, folder) as none:
            assert none is None
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("call", ["open", "glob"])
def test_what_cannot_be_read_is_done_without(folder, monkeypatch, call):
    path = pack(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, call, failing(errno.EACCES))
        with packed_weights(KEY, folder) as fresh:
            assert fresh is None or not fresh.exists()
    assert found(folder) == path


@pytest.mark.parametrize("call", ["replace", "iterdir", "unlink"])
def test_trouble_after_the_run_harms_nobody(folder, monkeypatch, call):
    folder.mkdir()
    ran = False
    with monkeypatch.context() as patch:
        patch.setattr(Path, call, failing(errno.EIO))
        with packed_weights(KEY, folder) as path:
            path.write_bytes(WEIGHTS)
            ran = True
    assert ran
    assert call == "replace" or found(folder) is not None


# Bounded


def test_beyond_the_bound_what_was_used_longest_ago_goes(folder, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", int(2.5 * len(WEIGHTS)))
    keys = [f"{index:032x}" for index in range(3)]
    old, older = pack(folder, keys[0], age=1000), pack(folder, keys[1], age=2000)
    new = pack(folder, keys[2])
    assert names(folder) == sorted([old.name, new.name])
    assert not older.exists()


def test_what_is_found_counts_as_used(folder, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", int(2.5 * len(WEIGHTS)))
    keys = [f"{index:032x}" for index in range(3)]
    old, older = pack(folder, keys[0], age=1000), pack(folder, keys[1], age=2000)
    assert found(folder, keys[1]) == older
    pack(folder, keys[2])
    assert older.exists()
    assert not old.exists()


def test_up_to_the_bound_nothing_goes(folder, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 3 * len(WEIGHTS))
    for index in range(3):
        pack(folder, f"{index:032x}", age=index)
    assert len(names(folder)) == 3


def test_what_a_killed_run_left_goes_after_a_day_and_not_before(folder):
    folder.mkdir()
    abandoned, running = (folder / f".{KEY}.partial-{tail}" for tail in ("00000000", "11111111"))
    for path, age in ((abandoned, kept.ABANDONED + 60), (running, kept.ABANDONED - 60)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    made = pack(folder, OTHER)
    assert names(folder) == sorted([running.name, made.name])
