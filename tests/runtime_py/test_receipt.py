"""What was hashed once is not hashed again until it changes; and no receipt, whatever it holds, costs a bundle."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime_py import bundle as bundles
from runtime_py import receipt
from runtime_py.bundle import open_bundle, sha256_of
from runtime_py.caches import cache_folder
from runtime_py.errors import BundleError
from runtime_py.receipt import identity, read_receipt, write_receipt
from tests.runtime_py.test_manifest import MANIFEST

FILES = [spec.file for spec in MANIFEST.files]
ALL = ["manifest.json", *FILES]
NONE = ["manifest.json"]
LATER = 10 * 10**9


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Opens a bundle and names the files that were hashed, in order; ten seconds after they were written."""
    names: list[str] = []

    def counting(path: Path) -> str:
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(bundles, "sha256_of", counting)

    def run(folder: Path, *, check: bool = False, later: int = LATER) -> list[str]:
        names.clear()
        monkeypatch.setattr(bundles, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + later))
        open_bundle(folder, check=check)
        return list(names)

    return run


def receipts() -> list[Path]:
    folder = cache_folder("receipts")
    assert folder is not None
    return sorted(folder.iterdir()) if folder.is_dir() else []


def place(bundle: Path) -> Path:
    """Where the receipt of the folder `bundle` is."""
    key = hashlib.sha256(os.fsencode(bundle.resolve())).hexdigest()[:32]
    return Path(os.environ["XDG_CACHE_HOME"]) / "edge-export" / "receipts" / f"{key}.json"


def changed_in_place(path: Path) -> None:
    """Another content of the same size in the same file, which says that it was last changed when it was before."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"T")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert identity(after)[:4] == identity(before)[:4]


def test_a_second_opening_hashes_nothing_but_the_manifest(folder, hashed):
    assert hashed(folder) == ALL
    assert hashed(folder) == NONE
    assert hashed(folder) == NONE


def test_a_receipt_is_as_every_runtime_writes_it(folder, hashed):
    hashed(folder)
    (path,) = receipts()
    assert path == place(folder)
    assert json.loads(path.read_text()) == {
        "receipt_version": 1,
        "manifest_sha256": sha256_of(folder / "manifest.json"),
        "files": {name: list(identity((folder / name).lstat())) for name in FILES},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_check_hashes_everything_whatever_is_known_and_notes_it_anew(folder, hashed):
    hashed(folder)
    before = receipts()[0].stat()
    assert hashed(folder, check=True) == ALL
    assert receipts()[0].stat().st_ino != before.st_ino
    assert hashed(folder) == NONE


def test_a_file_altered_at_equal_size_and_time_is_noticed(folder, hashed):
    hashed(folder)
    changed_in_place(folder / "dit.pte")
    with pytest.raises(BundleError, match=r"dit\.pte was altered"):
        hashed(folder)


def test_a_file_replaced_by_another_is_noticed(folder, hashed, tmp_path):
    hashed(folder)
    other, path = tmp_path / "other", folder / "decoder.pte"
    other.write_bytes(b"T" + path.read_bytes()[1:])
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    with pytest.raises(BundleError, match=r"decoder\.pte was altered"):
        hashed(folder)


def test_a_file_that_is_written_anew_is_hashed_and_the_rest_is_not(folder, hashed):
    hashed(folder)
    path = folder / "dit.pte"
    path.write_bytes(path.read_bytes())
    assert hashed(folder) == ["manifest.json", "dit.pte"]
    assert hashed(folder) == NONE


def test_files_that_changed_just_now_are_hashed_again_until_they_are_old(folder, hashed):
    """Within one tick of the clock a second change would have the same time as the first."""
    assert hashed(folder, later=0) == ALL
    assert hashed(folder, later=0) == ALL
    assert hashed(folder) == ALL
    assert hashed(folder, later=0) == NONE


def test_a_file_from_the_future_is_never_sure(folder, hashed):
    later = time.time_ns() + 3600 * 10**9
    os.utime(folder / "dit.pte", ns=(later, later))
    assert hashed(folder) == ALL
    assert hashed(folder) == ["manifest.json", "dit.pte"]


def test_a_known_bundle_is_still_looked_at(folder, hashed, tmp_path_factory):
    hashed(folder)
    path = folder / "dit.pte"
    moved = tmp_path_factory.mktemp("elsewhere") / "dit.pte"
    path.rename(moved)
    with pytest.raises(BundleError, match=r"dit\.pte is missing"):
        hashed(folder)
    path.symlink_to(moved)
    with pytest.raises(BundleError, match="not a plain file"):
        hashed(folder)
    path.unlink()
    path.write_text("shorter")
    with pytest.raises(BundleError, match="has 7 bytes"):
        hashed(folder)


def test_an_altered_manifest_is_noticed_though_its_files_are_known(folder, hashed):
    hashed(folder)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"name": "test"', '"name": "tent"'))
    with pytest.raises(BundleError, match="seal: is not that of this file"):
        hashed(folder)


def test_a_copy_of_a_known_bundle_is_hashed_and_has_a_receipt_of_its_own(folder, hashed, tmp_path_factory):
    hashed(folder)
    copy = Path(shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "bundle"))
    assert hashed(copy) == ALL
    assert hashed(copy) == NONE
    assert len(receipts()) == 2


def test_one_folder_by_two_names_is_one_bundle(folder, hashed, tmp_path_factory, monkeypatch):
    hashed(folder)
    link = tmp_path_factory.mktemp("link") / "link"
    link.symlink_to(folder)
    assert hashed(link) == NONE
    monkeypatch.chdir(folder)
    assert hashed(Path()) == NONE


def test_golden_vectors_that_come_later_are_hashed_when_they_come(folder, hashed):
    golden = folder / "golden.safetensors"
    content = golden.read_bytes()
    golden.unlink()
    assert hashed(folder) == ALL[:-1]
    golden.write_bytes(content)
    assert hashed(folder) == ["manifest.json", "golden.safetensors"]
    assert hashed(folder) == NONE
    golden.write_bytes(b"T" + content[1:])
    with pytest.raises(BundleError, match=r"golden\.safetensors was altered"):
        hashed(folder)


def test_a_bundle_that_is_not_well_gets_no_receipt(folder, hashed):
    changed_in_place(folder / "tokenizer.json")
    with pytest.raises(BundleError, match="was altered"):
        hashed(folder)
    assert receipts() == []


# Whatever a receipt holds


def of_another_manifest(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"manifest_sha256": "0" * 64}))


def of_another_version(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"receipt_version": 2}))


def with_files(files: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"files": files}))

    return change


def holding(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def a_link(path: Path) -> None:
    moved = path.rename(path.with_suffix(".moved"))
    path.symlink_to(moved)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def too_large(path: Path) -> None:
    path.write_text(path.read_text() + " " * receipt.MAX_BYTES)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "of another manifest": of_another_manifest,
    "of another version": of_another_version,
    "no files": with_files({}),
    "files in a list": with_files([1]),
    "files of nothing": with_files(None),
    "too few numbers": with_files({name: [1, 2, 3, 4] for name in FILES}),
    "words": with_files({name: ["a"] * 5 for name in FILES}),
    "nulls": with_files(dict.fromkeys(FILES)),
    "other numbers": with_files({name: [1, 2, 3, 4, 5] for name in FILES}),
    "empty": holding(b""),
    "garbage": holding(b"\x00\xff\xfe" * 100),
    "a list": holding(b"[]"),
    "a number": holding(b"1"),
    "no keys": holding(b"{}"),
    "deep": holding(b"[" * 100_000),
    "an infinite number": holding(b'{"receipt_version": 1e999}'),
    "twice": holding(b'{"receipt_version": 1, "receipt_version": 1}'),
    "a link": a_link,
    "too large": too_large,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_receipt_that_is_damaged_or_foreign_is_as_none_and_is_written_anew(folder, hashed, what):
    hashed(folder)
    (path,) = receipts()
    DAMAGE[what](path)
    assert hashed(folder) == ALL
    assert hashed(folder) == NONE


def test_a_folder_in_the_place_of_a_receipt_costs_only_time(folder, hashed):
    hashed(folder)
    a_folder(receipts()[0])
    assert hashed(folder) == hashed(folder) == ALL
    assert [path.is_dir() for path in receipts()] == [True]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files=ANY | st.dictionaries(st.sampled_from(FILES), ANY), version=st.just(1) | ANY)
def test_any_receipt_is_read_or_is_none(folder, files, version):
    path = place(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"receipt_version": version, "manifest_sha256": "0" * 64, "files": files}))
    found = read_receipt(folder, "0" * 64)
    assert all(len(values) == 5 for values in found.values())


# Where none can be kept


def test_a_cache_that_is_a_file_costs_only_time(folder, hashed, cache):
    shutil.rmtree(cache)
    cache.write_text("mine")
    assert hashed(folder) == hashed(folder) == ALL
    assert cache.read_text() == "mine"


def test_a_cache_that_may_only_be_read_costs_only_time(folder, hashed, monkeypatch):
    def refuse(**_: object) -> tuple[int, str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert hashed(folder) == hashed(folder) == ALL
    assert receipts() == []


def test_a_disk_that_is_full_leaves_nothing_behind(folder, hashed, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", refuse)
    assert hashed(folder) == hashed(folder) == ALL
    assert receipts() == []


def test_a_user_without_a_home_has_no_receipts(folder, hashed, monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder("receipts") is None
    assert hashed(folder) == hashed(folder) == ALL


# Not more than are of use


def test_the_oldest_receipts_go(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setattr(receipt, "MOST_RECEIPTS", 3)
    now, written = time.time(), []
    for age, name in enumerate("abcde"):
        one = tmp_path_factory.mktemp("bundles") / name
        one.mkdir()
        write_receipt(one, "0" * 64, {}, begun_ns=0)
        os.utime(place(one), (now - 1000 + age, now - 1000 + age))
        written.append(place(one))
    write_receipt(folder, "0" * 64, {}, begun_ns=0)
    assert receipts() == sorted([*written[-2:], place(folder)])


def test_what_a_killed_run_left_behind_goes_after_a_day(folder, hashed, cache):
    kept = cache / "edge-export" / "receipts"
    kept.mkdir(parents=True)
    old, new = kept / ".old", kept / ".new"
    for path, age in ((old, 25 * 3600), (new, 60)):
        path.write_text("half")
        os.utime(path, (time.time() - age, time.time() - age))
    hashed(folder)
    assert (old.exists(), new.exists()) == (False, True)
