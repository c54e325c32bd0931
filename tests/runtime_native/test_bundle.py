"""A bundle is hashed when it comes in and after every change; a receipt saves the rest, and never costs a bundle."""

import dataclasses
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from runtime_py import receipt
from runtime_py.bundle import open_bundle, sha256_of
from runtime_py.errors import BundleError
from runtime_py.manifest import FileSpec, dump_manifest
from tests.runtime_native.conftest import Runner
from tests.runtime_py.test_manifest import MANIFEST

CONTENT = b"0123456789"
WHOLE = len(CONTENT) * len(MANIFEST.files)
MOST_BUNDLES = 50
Spec = TypeVar("Spec", bound=FileSpec)
UNSURE_SECONDS = 2.1
"""A file younger than 2 s is hashed again whatever a receipt says."""


def write_bundle(folder: Path) -> Path:
    """A folder whose files are what the manifest says, though no runtime could run them."""
    folder.mkdir()
    sha256 = hashlib.sha256(CONTENT).hexdigest()

    def of_disk(spec: Spec) -> Spec:
        (folder / spec.file).write_bytes(CONTENT)
        return dataclasses.replace(spec, sha256=sha256, bytes=len(CONTENT))

    manifest = dataclasses.replace(
        MANIFEST,
        programs={role: of_disk(spec) for role, spec in MANIFEST.programs.items()},
        tokenizer=of_disk(MANIFEST.tokenizer),
        notices=tuple(map(of_disk, MANIFEST.notices)),
        golden=of_disk(MANIFEST.golden),
    )
    (folder / "manifest.json").write_text(dump_manifest(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def old_bundles(tmp_path_factory) -> Iterator[Path]:
    """Bundles that are old enough to be trusted, all made before one wait."""
    folder = tmp_path_factory.mktemp("bundles")
    made = [write_bundle(folder / str(number)) for number in range(MOST_BUNDLES)]
    time.sleep(UNSURE_SECONDS)
    return iter(made)


@pytest.fixture
def bundle(old_bundles: Iterator[Path]) -> Path:
    return next(old_bundles)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The caches of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def hashed(edge_replay: Runner, cache: Path) -> Callable[..., int]:
    """How many bytes of a bundle are hashed when it is opened."""

    def hashed(folder: Path, *check: str) -> int:
        done = edge_replay("open", folder, *check)
        assert (done.returncode, done.stderr) == (0, "")
        return int(done.stdout)

    return hashed


def receipt_of(cache: Path, bundle: Path) -> Path:
    key = hashlib.sha256(os.fsencode(bundle.resolve())).hexdigest()[:32]
    return cache / "edge-export" / "receipts" / f"{key}.json"


def refused(edge_replay: Runner, bundle: Path, *check: str) -> str:
    """The one line with which C++ refuses a bundle; Python's is the same."""
    done = edge_replay("open", bundle, *check)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle, check=bool(check))
    message = done.stderr.removeprefix("edge-replay: error: ").rstrip("\n")
    assert message == str(caught.value)
    return message


# What is trusted


def test_only_the_first_opening_hashes(bundle, hashed):
    assert [hashed(bundle) for _ in range(3)] == [WHOLE, 0, 0]


def test_check_hashes_everything_and_notes_it(bundle, hashed):
    assert [hashed(bundle, "check"), hashed(bundle), hashed(bundle, "check")] == [WHOLE, 0, WHOLE]


def test_another_path_to_the_same_folder_finds_the_receipt(bundle, hashed, tmp_path):
    assert hashed(bundle) == WHOLE
    (tmp_path / "link").symlink_to(bundle)
    assert hashed(tmp_path / "link") == hashed(bundle / ".." / bundle.name) == 0


def test_python_trusts_what_was_hashed_here(bundle, hashed, monkeypatch):
    hashed(bundle)
    known = receipt.read_receipt(bundle, sha256_of(bundle / "manifest.json"))
    assert known == {spec.file: receipt.identity((bundle / spec.file).lstat()) for spec in MANIFEST.files}


def test_what_python_hashed_is_trusted_here(bundle, hashed):
    open_bundle(bundle)
    assert hashed(bundle) == 0


def test_the_receipt_is_this_users_alone(bundle, hashed, cache):
    hashed(bundle)
    path = receipt_of(cache, bundle)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    assert list(path.parent.iterdir()) == [path]


def test_golden_vectors_that_were_left_out_are_no_matter(bundle, hashed):
    (bundle / MANIFEST.golden.file).unlink()
    assert [hashed(bundle), hashed(bundle)] == [WHOLE - len(CONTENT), 0]


# What is hashed again


def test_an_altered_file_of_the_same_size_and_age_is_noticed(bundle, hashed, edge_replay):
    hashed(bundle)
    path = bundle / "dit.pte"
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert "dit.pte was altered" in refused(edge_replay, bundle)


def test_a_file_put_in_anothers_place_is_noticed(bundle, hashed, edge_replay):
    hashed(bundle)
    other = bundle.with_name(f"{bundle.name}-other")
    other.write_bytes(CONTENT[::-1])
    other.replace(bundle / "tokenizer.json")
    assert "tokenizer.json was altered" in refused(edge_replay, bundle)


def test_only_what_changed_is_hashed_again_and_not_trusted_while_it_is_new(bundle, hashed):
    hashed(bundle)
    (bundle / "dit.pte").write_bytes(CONTENT)
    assert [hashed(bundle), hashed(bundle)] == [len(CONTENT)] * 2
    time.sleep(UNSURE_SECONDS)
    assert [hashed(bundle), hashed(bundle)] == [len(CONTENT), 0]


def test_a_file_from_the_future_is_never_trusted(bundle, hashed):
    os.utime(bundle / "dit.pte", (time.time() + 3600,) * 2)
    time.sleep(UNSURE_SECONDS)
    assert [hashed(bundle), hashed(bundle)] == [WHOLE, len(CONTENT)]


def test_under_another_manifest_nothing_is_trusted(bundle, hashed):
    hashed(bundle)
    text = (bundle / "manifest.json").read_text(encoding="utf-8")
    manifest = dataclasses.replace(open_bundle(bundle).manifest, toolchain={"torch": "2.14.0"})
    (bundle / "manifest.json").write_text(dump_manifest(manifest), encoding="utf-8")
    assert hashed(bundle) == WHOLE
    (bundle / "manifest.json").write_text(text, encoding="utf-8")
    assert hashed(bundle) == WHOLE


def test_a_damaged_bundle_leaves_no_receipt(bundle, cache, edge_replay):
    (bundle / "dit.pte").write_bytes(CONTENT[::-1])
    refused(edge_replay, bundle)
    assert not receipt_of(cache, bundle).exists()


def test_what_check_finds_altered_is_refused_whatever_the_receipt_says(bundle, hashed, cache, edge_replay):
    hashed(bundle)
    path = bundle / "dit.pte"
    path.write_bytes(CONTENT[::-1])
    document = json.loads(receipt_of(cache, bundle).read_text())
    document["files"]["dit.pte"] = list(receipt.identity(path.lstat()))
    receipt_of(cache, bundle).write_text(json.dumps(document))
    assert hashed(bundle) == 0
    assert "dit.pte was altered" in refused(edge_replay, bundle, "check")


# Receipts that are none

FORGED = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "null": b"null",
    "no text": b"\xff\xfe",
    "too deep": b"[" * 100_000,
    "too large": b" " * ((1 << 20) + 1) + b"{}",
    "no keys": b"{}",
    "a later version": lambda good: {**good, "receipt_version": 2},
    "another manifest": lambda good: {**good, "manifest_sha256": "0" * 64},
    "no manifest": lambda good: {key: value for key, value in good.items() if key != "manifest_sha256"},
    "files that are none": lambda good: {**good, "files": []},
    "files of text": lambda good: {**good, "files": dict.fromkeys(good["files"], "12345")},
    "too few numbers": lambda good: {**good, "files": {name: each[:4] for name, each in good["files"].items()}},
    "numbers of text": lambda good: {**good, "files": {name: ["x"] * 5 for name in good["files"]}},
    "numbers beyond all": lambda good: {**good, "files": {name: [10**30] * 5 for name in good["files"]}},
    "no files": lambda good: {**good, "files": {}},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_damaged_receipt_costs_a_hash_and_no_more(bundle, hashed, cache, forged):
    hashed(bundle)
    path = receipt_of(cache, bundle)
    if callable(forged):
        forged = json.dumps(forged(json.loads(path.read_text()))).encode()
    path.write_bytes(forged)
    assert [hashed(bundle), hashed(bundle)] == [WHOLE, 0]


def test_a_receipt_of_another_folder_is_worth_nothing(bundle, old_bundles, hashed, cache):
    other = next(old_bundles)
    hashed(other)
    receipt_of(cache, other).rename(receipt_of(cache, bundle))
    assert hashed(bundle) == WHOLE


def test_a_folder_in_the_receipts_place_is_left_alone(bundle, hashed, cache):
    receipt_of(cache, bundle).mkdir(parents=True)
    assert [hashed(bundle), hashed(bundle)] == [WHOLE, WHOLE]


@pytest.mark.parametrize("cache_home", ["/proc/nowhere", "/dev/null", "/dev/null/below"])
def test_a_cache_that_cannot_be_written_costs_no_bundle(bundle, hashed, monkeypatch, cache_home):
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    assert [hashed(bundle), hashed(bundle)] == [WHOLE, WHOLE]


def test_a_user_without_a_home_has_no_receipts(bundle, hashed, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    assert [hashed(bundle), hashed(bundle)] == [WHOLE, WHOLE]


@pytest.mark.parametrize("cache_home", ["", "relative"])
def test_without_a_cache_folder_the_homes_is_taken(bundle, hashed, monkeypatch, tmp_path, cache_home):
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [hashed(bundle), hashed(bundle)] == [WHOLE, 0]
    assert receipt_of(tmp_path / ".cache", bundle).is_file()


def test_the_oldest_receipts_go_and_what_killed_runs_left(bundle, hashed, cache):
    path = receipt_of(cache, bundle)
    path.parent.mkdir(parents=True)
    for age in range(1, 301):
        other = path.with_name(f"{age}.json")
        other.write_text("{}")
        os.utime(other, (time.time() - age,) * 2)
    abandoned, recent = path.with_name(".edge-run-abcdef"), path.with_name(".edge-run-ghijkl")
    for left, age in ((abandoned, 25 * 3600), (recent, 3600)):
        left.write_text("")
        os.utime(left, (time.time() - age,) * 2)
    hashed(bundle)
    kept = {each.name for each in path.parent.iterdir()}
    assert kept == {path.name, recent.name, *(f"{age}.json" for age in range(1, 256))}
