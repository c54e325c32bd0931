"""Packed weights kept in files: the same bytes with and without, whatever lies in the folder and whoever is killed."""

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from edge_export.pipeline import BuildRequest, export_bundle
from edge_export.progress import silent
from runtime_py.machine import this_machine
from runtime_py.manifest import load_manifest, sealed
from tests.fixtures.make_bundles import FOLDER, RECIPES
from tests.runtime_native.conftest import BUILD, Runner

PLAY = ("--prompt", "rain", "--seconds", 0.3, "--steps", 2, "--threads", 1, "--float")
BUNDLE = FOLDER / "int8-dynamic" / "bundle"
PROGRAMS = len(load_manifest(BUNDLE).programs)
ODD = 0x9E3779B97F4A7C15
ALL = (1 << 64) - 1
DAY = 24 * 60 * 60
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
ssize_t write(int file, const void* data, size_t size) {
  static ssize_t (*real)(int, const void*, size_t);
  if (!real) real = dlsym(RTLD_NEXT, "write");
  char link[64], name[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, name, sizeof name - 1);
  name[length < 0 ? 0 : length] = 0;
  if (!strstr(name, ".partial-")) return real(file, data, size);
  real(file, data, size / 2);
  if (getenv("KILLED")) raise(SIGKILL);
  errno = ENOSPC;
  return -1;
}
"""
"""A disk that is full, or a process that is killed, in the middle of a partial file."""


def checksum(key: str, data: bytes) -> str:
    """As runtime_native/README.md describes it."""
    lanes = [1, 2, 3, 4]

    def mixed(lane: int, word: int) -> int:
        lane = ((lane ^ word) * ODD) & ALL
        return ((lane << 29) | (lane >> 35)) & ALL

    for index, letter in enumerate(key.encode()):
        lanes[index % 4] = mixed(lanes[index % 4], letter)
    for index, (word,) in enumerate(struct.iter_unpack("<Q", data.ljust(-(-len(data) // 32) * 32, b"\0"))):
        lanes[index % 4] = mixed(lanes[index % 4], word)
    total = len(data)
    for lane in lanes:
        total = mixed(total, lane)
    return f"{total ^ total >> 32:016x}{len(data):x}"


def key_of(program_sha256: str) -> str:
    """The same."""
    machine = this_machine()
    version = subprocess.run([BUILD / "edge-run", "--version"], capture_output=True, text=True, check=True).stdout
    engine = version.partition("(")[2].partition(")")[0]
    parts = ("1", program_sha256, engine, machine.architecture, machine.cpu, *machine.cpu_features)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def play(edge_run: Runner, cache: Path, tmp_path: Path) -> Callable[..., tuple[bytes, str]]:
    """The WAV, and the notes on standard error."""

    def play(*words: object, bundle: Path = BUNDLE) -> tuple[bytes, str]:
        out = tmp_path / "x.wav"
        out.unlink(missing_ok=True)
        done = edge_run("--bundle", bundle, *PLAY, "--out", out, *(words or ("--cache", cache)))
        assert done.returncode == 0, done.stderr
        return out.read_bytes(), "".join(line for line in done.stderr.splitlines(True) if not line.startswith("["))

    return play


@pytest.fixture
def expected(play) -> bytes:
    """The sound without a cache."""
    return play("--no-cache")[0]


def kept(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


@pytest.fixture
def filled(play, expected, cache: Path) -> list[Path]:
    """What a first start kept."""
    assert play() == (expected, "")
    return kept(cache)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_sound_is_the_same_without_a_cache_and_at_the_first_and_the_second_start(play, cache, recipe):
    bundle = FOLDER / recipe / "bundle"
    expected = play("--no-cache", bundle=bundle)
    assert play("--cache", cache, bundle=bundle) == expected
    found = {path: (path.stat().st_ino, path.read_bytes()) for path in kept(cache)}
    keys = sorted(key_of(program.sha256) for program in load_manifest(bundle).programs.values())
    assert [path.stem for path in found] == keys
    assert [path.suffix for path in found] == [f".{checksum(path.stem, path.read_bytes())}" for path in found]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o400}
    assert cache.stat().st_mode & 0o777 == 0o700
    assert play("--cache", cache, bundle=bundle) == expected
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in kept(cache)} == found


def test_what_is_kept_is_what_plays(play, expected, filled):
    """A file of other weights, whole by its name, is heard: the others of these tests would notice a file in use."""
    dit = key_of(load_manifest(BUNDLE).programs["dit"].sha256)
    (path,) = (path for path in filled if path.stem == dit)
    data = bytearray(path.read_bytes())
    data[1000:3000] = bytes(2000)
    other = path.with_suffix(f".{checksum(path.stem, data)}")
    path.rename(other)
    other.chmod(0o600)
    other.write_bytes(data)
    assert play()[0] != expected


def altered_at(share: float) -> Callable[[bytes], bytes]:
    def alter(data: bytes) -> bytes:
        at = min(int(len(data) * share), len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return alter


def swapped(data: bytes) -> bytes:
    return data[4096:8192] + data[:4096] + data[8192:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit at the start": altered_at(0),
    "a bit in the middle": altered_at(0.5),
    "a bit at the end": altered_at(1),
    "two pages swapped": swapped,
    "cut": lambda data: data[:-5000],
    "longer": lambda data: data + bytes(64),
    "empty": lambda _: b"",
    "zeros": lambda data: bytes(len(data)),
    "something else": lambda data: b"RIFF" * (len(data) // 4),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_noticed_and_made_again(play, expected, cache, filled, damage):
    before = {path: path.read_bytes() for path in filled}
    for path, data in before.items():
        path.chmod(0o600)
        path.write_bytes(damage(data))
    assert play() == (expected, "")
    assert {path: path.read_bytes() for path in kept(cache)} == before


def test_the_file_of_another_program_or_key_is_noticed(play, expected, cache, filled):
    data = [path.read_bytes() for path in filled]
    names = [path.name for path in filled]
    for path in filled:
        path.unlink()
    for name, other, its in zip(names, names[1:] + names[:1], data[1:] + data[:1], strict=True):
        (cache / f"{name.split('.')[0]}.{other.split('.')[1]}").write_bytes(its)
    assert play() == (expected, "")
    assert [path.name for path in kept(cache)] == names


def test_what_is_no_file_of_ours_is_let_be(play, expected, cache, filled):
    stems = [path.stem for path in filled]
    for path in filled:
        path.unlink()
    (cache / f"{stems[0]}.folder").mkdir()
    os.mkfifo(cache / f"{stems[1]}.pipe")
    (cache / f"{stems[2]}.link").symlink_to("/etc/passwd")
    assert play() == (expected, "")
    assert play() == (expected, "")
    assert [path for path in filled if not path.is_file()] == []


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_not_mapped(play, expected, filled, mode):
    for path in filled:
        data = bytearray(path.read_bytes())
        data[1000:3000] = bytes(2000)
        forged = path.with_suffix(f".{checksum(path.stem, data)}")
        path.rename(forged)
        forged.chmod(mode)
        forged.write_bytes(data)
    assert play() == (expected, "")


NOTE = "edge-run: note: packed weights are not kept in {}: {}; the sound is the same, the next start no faster\n"


def test_a_cache_that_is_a_file_or_below_one_is_noted_where_it_was_named(play, expected, cache):
    cache.write_text("mine")
    assert play() == (expected, NOTE.format(cache, "it is no folder"))
    assert play("--cache", cache / "below") == (expected, NOTE.format(cache / "below", "Not a directory"))
    assert cache.read_text() == "mine"


def test_a_cache_that_cannot_be_made_is_noted(play, expected):
    folder = Path("/proc/no-such-thing/cache")
    assert play("--cache", folder) == (expected, NOTE.format(folder, "No such file or directory"))


def test_a_cache_that_others_may_write_to_is_not_used(play, expected, cache):
    cache.mkdir()
    cache.chmod(0o777)
    assert play() == (expected, NOTE.format(cache, "it is another user's, or others may write to it"))
    assert list(cache.iterdir()) == []


def test_the_users_own_cache_is_the_default_and_silent(play, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "edge-export" / "weights"
    without_words = ("--label", "x")
    assert play(*without_words) == (expected, "")
    assert len(kept(folder)) == PROGRAMS
    shutil.rmtree(folder)
    folder.write_text("no folder")
    assert play(*without_words) == (expected, "")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    assert play(*without_words) == (expected, "")


def test_a_path_longer_than_the_runtime_can_take_serves_as_well(play, expected, tmp_path):
    folder = tmp_path.joinpath(*(letter * 100 for letter in "abcd"))
    assert play("--cache", folder) == (expected, "")
    assert len(kept(folder)) == PROGRAMS
    assert play("--cache", folder) == (expected, "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--cache", "x", "--no-cache"), 2, "--cache and --no-cache exclude each other"),
        (("--cache", ""), 2, "--cache names no folder; leave it out, or give --no-cache"),
        (
            ("--cache", BUNDLE / "cache"),
            6,
            f"{BUNDLE / 'cache'} lies inside the bundle, which must stay as it is; write elsewhere",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(edge_run, tmp_path, words, code, message):
    done = edge_run("--bundle", BUNDLE, *PLAY, "--out", tmp_path / "x.wav", *words)
    assert (done.returncode, done.stderr) == (code, f"edge-run: error: {message}\n")
    assert not (tmp_path / "x.wav").exists()


def test_several_at_once_are_each_right_and_leave_one_file_of_each(edge_run, expected, cache, tmp_path):
    def start(number: int) -> subprocess.Popen[bytes]:
        words = ("--bundle", BUNDLE, *PLAY, "--cache", cache, "--out", tmp_path / f"{number}.wav")
        return subprocess.Popen([BUILD / "edge-run", *map(str, words)], stdout=subprocess.DEVNULL)

    for _ in range(2):
        started = [start(number) for number in range(4)]
        assert [process.wait(timeout=60) for process in started] == [0] * 4
        assert {(tmp_path / f"{number}.wav").read_bytes() for number in range(4)} == {expected}
        assert len(list(cache.iterdir())) == PROGRAMS


@pytest.fixture(scope="session")
def shim(edge_run: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True)
    return folder / "shim.so"


def test_a_disk_that_is_full_in_the_middle_of_writing_costs_no_sound(play, expected, cache, shim, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    assert play() == (expected, NOTE.format(cache, "No space left on device"))
    assert list(cache.iterdir()) == []
    assert play("--label", "x") == (expected, "")  # the default: silently


def test_a_writer_that_is_killed_leaves_nothing_that_is_used_and_is_tidied_up_after_a_day(
    play, expected, cache, shim, tmp_path
):
    words = ("--bundle", BUNDLE, *PLAY, "--cache", cache, "--out", tmp_path / "killed.wav")
    environment = {**os.environ, "LD_PRELOAD": str(shim), "KILLED": "1"}
    killed = subprocess.run([BUILD / "edge-run", *map(str, words)], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = cache.iterdir()
    assert partial.name.startswith(".") and partial.stat().st_size > 0
    assert play() == (expected, "")
    assert partial.exists() and len(kept(cache)) == PROGRAMS
    os.utime(partial, (time.time() - DAY - 60,) * 2)
    kept(cache)[0].unlink()
    assert play() == (expected, "")
    assert not partial.exists()


def test_what_was_used_longest_ago_goes_beyond_four_gibibytes(play, expected, cache, filled):
    for number, size in enumerate((1 << 30, 3 << 30)):
        with (cache / f"old{number}.0").open("wb") as file:
            file.truncate(size)
        os.utime(cache / f"old{number}.0", (1000 - number,) * 2)
    filled[0].unlink()
    assert play() == (expected, "")
    assert [path.name for path in kept(cache)] == sorted([*(path.name for path in filled), "old0.0"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user cannot mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_without_room_is_left_alone(play, expected, small_disk):
    assert play("--cache", small_disk) == (expected, NOTE.format(small_disk, "there is too little room"))
    assert list(small_disk.iterdir()) == []


def test_a_cache_that_can_only_be_read_serves(play, expected, small_disk, filled):
    for path in filled:
        shutil.copy2(path, small_disk / path.name)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert play("--cache", small_disk) == (expected, "")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    next(small_disk.iterdir()).unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert play("--cache", small_disk) == (expected, NOTE.format(small_disk, "Read-only file system"))


def test_under_a_limit_on_files_nothing_is_kept(edge_run, expected, cache, tmp_path):
    words = " ".join(f"'{word}'" for word in ("--bundle", BUNDLE, *PLAY, "--cache", cache, "--out", tmp_path / "x.wav"))
    subprocess.run(["bash", "-c", f"ulimit -f 4000; '{BUILD}/edge-run' {words}"], check=True, capture_output=True)
    assert (tmp_path / "x.wav").read_bytes() == expected
    assert not cache.exists()


@pytest.fixture(scope="module")
def doubled(small: Path, own_caches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a checkpoint in which one layer is twice another: in int8 they differ by their scales alone."""
    folder = tmp_path_factory.mktemp("doubled")
    shutil.copytree(small, folder / "checkpoint")
    path = folder / "checkpoint" / "model.safetensors"
    with safe_open(path, "np") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    layer = "model.model.transformer.layers.0.{}_attn.to_out.weight"
    once = np.random.default_rng(0).normal(0, 0.1, tensors[layer.format("self")].shape).astype(np.float32)
    save_file(tensors | {layer.format("self"): once, layer.format("cross"): 2 * once}, path, metadata)
    request = BuildRequest(
        out=folder / "bundle",
        target="android-arm64",
        checkpoint=folder / "checkpoint",
        recipe="int8-dynamic",
        steps=2,
    )
    return export_bundle(request, silent).bundle.folder


def test_layers_that_differ_by_their_scales_alone_are_not_taken_for_each_other(play, copy_of, cache, doubled):
    assert load_manifest(doubled).programs["dit"].memory.kept_bytes == 0
    expected = play("--no-cache", "--no-tags", bundle=doubled)
    for _ in range(2):
        assert play("--cache", cache, "--no-tags", bundle=doubled) == expected
    assert key_of(load_manifest(doubled).programs["dit"].sha256) not in [path.stem for path in kept(cache)]
    # What the manifest prevents. Once the runtime tells such layers apart, this fails, and nothing need be prevented.
    folder = copy_of(doubled)
    document = json.loads((folder / "manifest.json").read_text())
    document["programs"]["dit"]["memory"]["kept_bytes"] = 1 << 20
    (folder / "manifest.json").write_text(sealed(json.dumps({**document, "seal": ""})))
    assert play("--cache", cache, "--no-tags", bundle=folder) != expected
