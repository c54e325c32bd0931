"""Compiled programs are reused when nothing that decides them has changed, and never at the cost of a build."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_export import cache
from edge_export.backends.backend import Compiled
from edge_export.cache import ProgramCache, ProgramKey, clear, default_folder, rules_for, usage
from edge_export.errors import UsageError
from edge_export.submodules import Port
from quantization.recipe import Recipe, Rule
from runtime_py.errors import OutputError
from runtime_py.generation_spec import TensorSpec
from runtime_py.manifest import GraphSpec, MemorySpec

DIGEST, OTHER = "a1" * 32, "b2" * 32
PROGRAM = bytes(range(256)) * 5
COMPILED = Compiled(
    inputs=(
        TensorSpec(name="tokens", position=1, dtype="int32", shape=(1, 64)),
        TensorSpec(name="seconds", position=0, dtype="float32", shape=(1,)),
    ),
    outputs=(TensorSpec(name="cross_k", position=0, dtype="float32", shape=(6, 65, 8)),),
    graph=GraphSpec(delegates=2, delegated=40, undelegated={"aten.embedding.default": 1}),
    memory=MemorySpec(packed_bytes=7000, kept_bytes=6000, working_bytes=300),
)
PORT = Port(name="latent", dtype="float32", shape=(1, 64, 256))
KEY = ProgramKey(
    submodule="dit",
    backend="litert",
    checkpoint_sha256="0" * 64,
    inputs=(PORT, Port(name="sigma", dtype="float32", shape=(1,), plain=True)),
    outputs=(dataclasses.replace(PORT, name="velocity"),),
    rules=(Rule(submodule="dit", operator="linear", weights="int8-channel", activations="int8-dynamic"),),
    float16=False,
    as_published=False,
    toolchain={"torch": "2.13.0", "edge-export": "0.1.0"},
)
CHANGES: dict[str, list[Any]] = {
    "submodule": ["decoder"],
    "backend": ["executorch"],
    "checkpoint_sha256": ["1" * 64],
    "inputs": [
        KEY.inputs[::-1],
        KEY.inputs[:1],
        (dataclasses.replace(PORT, shape=(1, 64, 128)), KEY.inputs[1]),
        (dataclasses.replace(PORT, dtype="float16"), KEY.inputs[1]),
        (dataclasses.replace(PORT, name="x"), KEY.inputs[1]),
        (dataclasses.replace(PORT, plain=True), KEY.inputs[1]),
    ],
    "outputs": [KEY.inputs, (PORT,)],
    "rules": [
        (),
        (*KEY.rules, Rule(submodule="dit")),
        (dataclasses.replace(KEY.rules[0], pattern="*.0"),),
        (dataclasses.replace(KEY.rules[0], activations="float32"),),
    ],
    "float16": [True],
    "as_published": [True],
    "toolchain": [{"torch": "2.13.1", "edge-export": "0.1.0"}, {"torch": "2.13.0"}, {}],
}


class Cache:
    """A cache in a folder of its own, what it noted, and a program to keep."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "cache"
        self.notes: list[str] = []
        self.cache = ProgramCache(self.folder, self.notes.append)
        self.program = tmp_path / "build" / "conditioner.pte"
        self.program.parent.mkdir()
        self.program.write_bytes(PROGRAM)
        self.out = tmp_path / "bundle" / "conditioner.pte"
        self.out.parent.mkdir()

    def keep(self, digest: str = DIGEST) -> Path:
        self.cache.keep(digest, self.program, COMPILED)
        return self.folder / digest

    def fetch(self, digest: str = DIGEST) -> Compiled | None:
        return self.cache.fetch(digest, self.out)


@pytest.fixture
def made(tmp_path) -> Cache:
    return Cache(tmp_path)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(number: int):
    """Something that fails with this error, as the system would on its first argument."""

    def fail(path, *_args, **_options):
        raise OSError(number, os.strerror(number), str(path))

    return fail


def rewritten(entry: Path, **changes: object) -> None:
    """entry.json with other values and a seal that fits them."""
    document = json.loads((entry / "entry.json").read_text()) | changes
    document["seal"] = cache._seal(document)  # noqa: SLF001
    (entry / "entry.json").write_text(json.dumps(document))


# What decides a program


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ProgramKey)])
def test_any_change_of_any_field_is_another_program(field):
    digests = {dataclasses.replace(KEY, **{field: value}).digest() for value in CHANGES[field]}
    assert len(digests) == len(CHANGES[field])
    assert KEY.digest() not in digests


def test_an_equal_key_is_the_same_program_whatever_the_order_of_its_toolchain():
    again = dataclasses.replace(KEY, toolchain=dict(reversed(KEY.toolchain.items())))
    assert again.digest() == KEY.digest()
    assert cache.DIGEST.fullmatch(KEY.digest())


def test_another_version_of_our_own_code_or_of_the_format_is_another_program(monkeypatch):
    before = KEY.digest()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "source_sha256", lambda: "0" * 64)
        assert KEY.digest() != before
    monkeypatch.setattr(cache, "CACHE_FORMAT", cache.CACHE_FORMAT + 1)
    assert KEY.digest() != before


def test_the_source_hash_follows_contents_and_names_and_nothing_else(tmp_path, monkeypatch):
    files = [
        "edge_export/cache.py",
        "edge_export/backends/litert.py",
        "quantization/recipe.py",
        "runtime_py/manifest.py",
    ]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "edge_export" / "cache.py"))

    def found() -> str:
        return cache.source_sha256.__wrapped__()

    seen = [found()]
    for name in files:
        (tmp_path / name).write_text(f"{name} changed")
        seen.append(found())
    (tmp_path / files[1]).rename(tmp_path / "edge_export/backends/other.py")
    seen.append(found())
    assert len(set(seen)) == len(seen)
    (tmp_path / "edge_export/__pycache__").mkdir()
    (tmp_path / "edge_export/__pycache__/cache.pyc").write_bytes(b"x")
    assert found() == seen[-1]


def test_only_rules_that_can_match_the_submodule_count():
    rules = (Rule(submodule="dit"), Rule(submodule="d*", operator="conv"), Rule(), Rule(submodule="decoder"))
    recipe = Recipe(name="r", summary="", rules=rules, thresholds={})
    assert rules_for(recipe, "dit") == rules[:3]
    assert rules_for(recipe, "conditioner") == (rules[2],)


# Kept and fetched


def test_what_was_kept_comes_back_as_it_was(made):
    entry = made.keep()
    assert made.fetch() == COMPILED
    assert made.out.read_bytes() == PROGRAM
    assert left_in(entry) == ["entry.json", "program"]
    assert left_in(made.folder) == [DIGEST]
    assert left_in(made.out.parent) == ["conditioner.pte"]
    assert made.notes == []


NAMES = st.text(min_size=1, max_size=8)
TENSORS = st.builds(
    TensorSpec,
    name=NAMES,
    position=st.integers(0, 9),
    dtype=st.sampled_from(["float32", "int32"]),
    shape=st.lists(st.integers(1, 9), max_size=4).map(tuple),
)


@settings(max_examples=25, deadline=None)
@given(
    compiled=st.builds(
        Compiled,
        inputs=st.lists(TENSORS, max_size=3).map(tuple),
        outputs=st.lists(TENSORS, max_size=3).map(tuple),
        graph=st.builds(
            GraphSpec,
            delegates=st.integers(0, 9),
            delegated=st.integers(0, 999),
            undelegated=st.dictionaries(NAMES, st.integers(0, 9), max_size=3),
        ),
        memory=st.builds(
            MemorySpec,
            **{name: st.integers(0, 1 << 40) for name in ("packed_bytes", "kept_bytes", "working_bytes")},
        ),
    ),
    program=st.binary(max_size=99),
)
def test_any_program_and_any_word_of_its_backend_come_back(tmp_path_factory, compiled, program):
    made = Cache(tmp_path_factory.mktemp("any"))
    made.program.write_bytes(program)
    made.cache.keep(DIGEST, made.program, compiled)
    assert made.fetch() == compiled
    assert made.out.read_bytes() == program
    assert made.notes == []


def test_what_was_not_kept_is_not_there(made):
    assert made.fetch() is None
    made.keep(OTHER)
    assert made.fetch() is None
    assert left_in(made.out.parent) == []
    assert made.notes == []


def test_a_bundle_cannot_alter_the_cache(made):
    made.keep()
    made.fetch()
    made.out.write_bytes(b"altered")
    made.program.write_bytes(b"altered")
    assert made.fetch() == COMPILED
    assert made.out.read_bytes() == PROGRAM


def test_what_is_kept_first_stays(made):
    made.keep()
    made.program.write_bytes(b"another")
    made.keep()
    assert made.fetch() == COMPILED
    assert made.out.read_bytes() == PROGRAM


def test_two_builds_that_keep_the_same_program_at_once_do_not_hurt_each_other(tmp_path):
    made = Cache(tmp_path)
    notes: list[str] = []
    builds = [ProgramCache(made.folder, notes.append) for _ in range(2)]
    outs = [tmp_path / f"out-{index}" for index in range(2)]
    for round in range(20):
        digest = f"{round:064x}"
        barrier = threading.Barrier(2)
        fetched: list[Compiled | None] = [None, None]

        def build(index: int, digest=digest, barrier=barrier, fetched=fetched) -> None:
            barrier.wait()
            builds[index].keep(digest, made.program, COMPILED)
            fetched[index] = builds[index].fetch(digest, outs[index])

        threads = [threading.Thread(target=build, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert fetched == [COMPILED, COMPILED]
        assert [out.read_bytes() for out in outs] == [PROGRAM, PROGRAM]
    assert notes == []
    assert left_in(made.folder) == [f"{round:064x}" for round in range(20)]


def test_the_loser_of_a_race_drops_its_own(made, monkeypatch):
    made.keep()
    winner = made.folder / DIGEST
    aside = winner.rename(made.folder.parent / "aside")
    copy = shutil.copyfile

    def copy_while_another_build_finishes(source, target):
        copy(source, target)
        aside.rename(winner)

    with monkeypatch.context() as patch:
        patch.setattr(cache.shutil, "copyfile", copy_while_another_build_finishes)
        made.keep()
    assert left_in(made.folder) == [DIGEST]
    assert made.fetch() == COMPILED
    assert made.notes == []


def test_an_entry_that_another_build_drops_while_it_is_read_is_just_not_there(made, monkeypatch):
    entry = made.keep()

    def vanish(source, _target):
        shutil.rmtree(entry)
        raise FileNotFoundError(errno.ENOENT, "gone", source)

    with monkeypatch.context() as patch:
        patch.setattr(cache.shutil, "copyfile", vanish)
        assert made.fetch() is None
    made.keep()
    assert made.fetch() == COMPILED
    assert made.notes == []


# Damage


def truncate(entry: Path) -> None:
    (entry / "entry.json").write_text((entry / "entry.json").read_text()[:-20])


def link_program(entry: Path) -> None:
    (entry / "program").rename(entry.parent.parent / "elsewhere")
    (entry / "program").symlink_to(entry.parent.parent / "elsewhere")


def be_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("x")


def be_a_dangling_link(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.symlink_to(entry.parent / "nowhere")


def replaced(old: str, new: str):
    def replace(entry: Path) -> None:
        text = (entry / "entry.json").read_text()
        assert old in text
        (entry / "entry.json").write_text(text.replace(old, new))

    return replace


def missing_key(entry: Path) -> None:
    document = json.loads((entry / "entry.json").read_text())
    del document["bytes"]
    document["seal"] = cache._seal(document)  # noqa: SLF001
    (entry / "entry.json").write_text(json.dumps(document))


def json_of(text: str):
    return lambda entry: (entry / "entry.json").write_text(text)


DAMAGE = {
    "altered program": (lambda e: (e / "program").write_bytes(PROGRAM[::-1]), "its sha256 differs"),
    "longer program": (lambda e: (e / "program").write_bytes(PROGRAM + b"x"), "its size differs"),
    "no program": (lambda e: (e / "program").unlink(), "program is missing"),
    "linked program": (link_program, "program is no plain file"),
    "no entry": (lambda e: (e / "entry.json").unlink(), "entry.json is missing"),
    "truncated entry": (truncate, "no valid JSON"),
    "empty entry": (json_of(""), "no valid JSON"),
    "binary entry": (lambda e: (e / "entry.json").write_bytes(b"\xff\xfe\x00"), "no valid JSON"),
    "deep entry": (json_of("[" * 100_000), "no valid JSON"),
    "huge entry": (json_of(" " * (cache.MAX_ENTRY_BYTES + 1)), "too large"),
    "list as entry": (json_of("[]"), "not ours"),
    "foreign entry": (json_of(f'{{"format": {cache.CACHE_FORMAT}, "name": "of another program"}}'), "not ours"),
    "infinite number": (json_of('{"format": 1e999}'), "no valid JSON"),
    "infinite bytes": (replaced(f'"bytes": {len(PROGRAM)}', '"bytes": 1e999'), "no valid JSON"),
    "other name of a tensor": (replaced("cross_k", "cross_j"), "was altered"),
    "other count of operators": (replaced('"delegated": 40', '"delegated": 41'), "was altered"),
    "other format": (lambda e: rewritten(e, format=cache.CACHE_FORMAT + 1), "another format"),
    "other digest": (lambda e: rewritten(e, digest=OTHER), "was altered"),
    "extra key": (lambda e: rewritten(e, path="/etc/passwd"), "not ours"),
    "missing key": (missing_key, "not ours"),
    "broken contract": (lambda e: rewritten(e, compiled={"inputs": [], "outputs": []}), "not ours"),
    "wrong type": (lambda e: rewritten(e, compiled={"inputs": 1, "outputs": [], "graph": {}}), "not ours"),
    "file": (be_a_file, "entry.json is missing"),
    "dangling link": (be_a_dangling_link, "entry.json is missing"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_entry_is_told_in_one_line_and_removed_and_can_be_kept_anew(made, what):
    damage, words = DAMAGE[what]
    entry = made.keep()
    damage(entry)
    assert made.fetch() is None
    assert left_in(made.folder) == []
    assert left_in(made.out.parent) == []
    (note,) = made.notes
    assert note.startswith(f"the cached conditioner at {entry} is damaged (")
    assert note.endswith("): compiled again")
    assert words in note
    assert "\n" not in note
    made.keep()
    assert made.fetch() == COMPILED
    assert len(made.notes) == 1


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_altered_byte_gets_through(tmp_path_factory, data):
    made = Cache(tmp_path_factory.mktemp("altered"))
    path = made.keep() / data.draw(st.sampled_from(["program", "entry.json"]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found = made.fetch()
    assert found in (None, COMPILED)  # a space of the JSON may become a newline
    assert found is None or (path.name == "entry.json" and made.out.read_bytes() == PROGRAM)
    assert (found is None) == (len(made.notes) == 1)


def test_a_pipe_in_place_of_a_file_blocks_nobody(made):
    entry = made.keep()
    (entry / "entry.json").unlink()
    os.mkfifo(entry / "entry.json")
    assert made.fetch() is None
    assert "no plain file" in made.notes[0]


def test_damage_that_cannot_be_removed_is_told_and_the_cache_goes_on(made, monkeypatch):
    (made.keep() / "program").write_bytes(b"x")
    made.keep(OTHER)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing(errno.EACCES))
        assert made.fetch() is None
    assert len(made.notes) == 1
    assert made.fetch(OTHER) == COMPILED


def test_a_copy_that_goes_wrong_never_reaches_the_bundle(made, monkeypatch):
    made.keep()
    monkeypatch.setattr(cache.shutil, "copyfile", lambda _source, target: Path(target).write_bytes(PROGRAM[::-1]))
    assert made.fetch() is None
    assert left_in(made.out.parent) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_nothing_half_written_is_left_after_ctrl_c(made, monkeypatch, error):
    made.keep(OTHER)
    partials = []

    def interrupted(_source, target):
        partials.append(Path(target).parent.name)
        Path(target).write_bytes(PROGRAM[:10])
        raise error

    monkeypatch.setattr(cache.shutil, "copyfile", interrupted)
    with pytest.raises(error):
        made.keep()
    assert cache.PARTIAL.fullmatch(partials[0])  # else a killed build's would stay for good
    with pytest.raises(error):
        made.fetch(OTHER)
    assert left_in(made.folder) == [OTHER]
    assert left_in(made.out.parent) == []


# Trouble


def test_a_file_given_as_the_cache_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"is, or lies below, a file.*choose another") as caught:
            ProgramCache(folder, pytest.fail)
        assert str(folder) in str(caught.value)
        for look in (usage, clear):
            with pytest.raises(UsageError, match="a file"):
                look(folder)


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path, monkeypatch):
    """The superuser may write anywhere: the system refuses by hand."""
    refuse, made = lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")), Path.mkdir
    monkeypatch.setattr(Path, "mkdir", lambda path: refuse() if path.name == "below" else made(path))
    with pytest.raises(OutputError) as caught:
        ProgramCache(tmp_path / "kept" / "below", pytest.fail)
    said = f"cannot write in {tmp_path}/kept/below: Permission denied; choose another --cache"
    assert (str(caught.value), list(tmp_path.iterdir())) == (said, [])


def test_a_folder_is_made_when_there_is_something_to_keep_in_it(tmp_path):
    ProgramCache(tmp_path / "kept" / "below", pytest.fail)
    assert not list(tmp_path.iterdir())


def test_a_file_where_the_default_cache_would_be_only_switches_it_off(made, tmp_path, monkeypatch):
    (tmp_path / "edge-export").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    off = ProgramCache(None, made.notes.append)
    off.keep(DIGEST, made.program, COMPILED)
    assert off.fetch(DIGEST, made.out) is None
    assert len(made.notes) == 1
    assert made.notes[0].startswith("compiled programs are not cached in this build: ")


def test_no_home_only_switches_the_default_cache_off(made, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert ProgramCache(None, made.notes.append).fetch(DIGEST, made.out) is None
    assert made.notes == [
        "compiled programs are not cached in this build: "
        "there is no home folder to keep compiled programs in; set XDG_CACHE_HOME"
    ]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_cannot_be_written_is_told_once(made, monkeypatch, number):
    made.folder.mkdir()
    monkeypatch.setattr(Path, "mkdir", lambda self, *_args, **_options: self.is_dir() or failing(number)(self))
    made.keep()
    made.keep(OTHER)
    assert made.fetch() is None
    assert left_in(made.folder) == []
    (note,) = made.notes
    assert note.startswith(f"compiled programs are not cached in this build: cannot write {made.folder}")
    assert "\n" not in note


@pytest.mark.parametrize("call", ["mkdir", "write_text"])
def test_trouble_while_keeping_leaves_nothing_and_harms_no_build(made, monkeypatch, call):
    monkeypatch.setattr(Path, call, failing(errno.EACCES))
    made.keep()
    monkeypatch.undo()
    assert not made.folder.exists() or left_in(made.folder) == []
    assert len(made.notes) == 1
    assert made.program.read_bytes() == PROGRAM


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_told_once_and_leaves_nothing(made, monkeypatch, number):
    def fill(_source, target):
        Path(target).write_bytes(PROGRAM[:10])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(cache.shutil, "copyfile", fill)
        made.keep()
    made.keep(OTHER)
    assert left_in(made.folder) == []
    (note,) = made.notes
    assert "disk" in note or "Input/output error" in note


@pytest.mark.skipif(os.geteuid() == 0, reason="root may go anywhere")
def test_a_folder_that_is_really_unreadable_is_told_once(made):
    made.keep()
    made.folder.chmod(0)
    try:
        assert made.fetch() is None
        made.keep(OTHER)
    finally:
        made.folder.chmod(0o700)
    assert len(made.notes) == 1
    assert "ermission denied" in made.notes[0]


@pytest.mark.parametrize("file", ["entry.json", "program"])
def test_a_file_that_cannot_be_read_is_told_once_and_stays(made, monkeypatch, file):
    entry = made.keep()
    lstat = Path.lstat

    def refuse(self):
        return failing(errno.EACCES)(self) if self.name == file else lstat(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", refuse)
        assert made.fetch() is None
        assert made.fetch() is None
    assert made.notes == [f"compiled programs are not cached in this build: {entry / file}: Permission denied"]
    assert left_in(entry) == ["entry.json", "program"]


def test_a_cache_that_may_only_be_read_still_serves(made, monkeypatch):
    made.keep()
    monkeypatch.setattr(cache.os, "utime", failing(errno.EROFS))
    assert made.fetch() == COMPILED
    assert made.notes == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_under_the_bundle_is_the_builds_own_trouble(made, monkeypatch, number):
    made.keep()

    def fill(_source, target):
        Path(target).write_bytes(b"x")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache.shutil, "copyfile", fill)
    with pytest.raises(OSError, match=os.strerror(number)):
        made.fetch()
    assert left_in(made.out.parent) == []
    assert made.notes == []


def test_a_place_for_the_bundle_that_is_gone_costs_no_entry(made):
    entry = made.keep()
    made.out.parent.rmdir()
    assert made.fetch() is None
    assert left_in(entry) == ["entry.json", "program"]


def test_a_program_that_is_gone_is_no_reason_to_stop(made):
    made.program.unlink()
    made.keep()
    assert len(made.notes) == 1
    assert left_in(made.folder) == []


# Bounded


def test_what_was_used_longest_ago_goes_first(made, monkeypatch):
    digests = [f"{index:064x}" for index in range(4)]
    for age, digest in enumerate(digests[:3]):
        os.utime(made.keep(digest) / "entry.json", (1000 + age, 1000 + age))
    size = usage(made.folder)[1] // 3
    made.fetch(digests[0])
    monkeypatch.setattr(cache, "MAX_BYTES", int(size * 2.5))
    made.keep(digests[3])
    assert left_in(made.folder) == [digests[0], digests[3]]
    assert usage(made.folder)[1] <= cache.MAX_BYTES
    assert made.notes == []


def test_the_entry_just_kept_stays_even_when_it_is_too_large_and_old(made, monkeypatch):
    made.keep(OTHER)
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    keep = cache._keep  # noqa: SLF001

    def keep_long_ago(entry, *rest):
        keep(entry, *rest)
        os.utime(entry / "entry.json", (0, 0))

    monkeypatch.setattr(cache, "_keep", keep_long_ago)
    made.keep()
    assert left_in(made.folder) == [DIGEST]


def test_up_to_the_bound_nothing_goes(made, monkeypatch):
    made.keep(OTHER)
    monkeypatch.setattr(cache, "MAX_BYTES", 2 * usage(made.folder)[1])
    made.keep()
    assert left_in(made.folder) == [DIGEST, OTHER]


def test_what_a_killed_build_left_goes_after_a_day_and_not_before(made):
    made.folder.mkdir()
    old, new = (made.folder / f".{'c' * 40}.partial-{tail * 8}" for tail in "01")
    for path in (old, new):
        path.mkdir()
        (path / "program").write_bytes(b"half")
    yesterday = time.time() - cache.ABANDONED - 60
    os.utime(old, (yesterday, yesterday))
    made.keep()
    assert left_in(made.folder) == [new.name, DIGEST]
    os.utime(new, (yesterday, yesterday))
    clear(made.folder)
    assert left_in(made.folder) == []


# Used and cleared


def not_ours(folder: Path) -> list[str]:
    """Things in the cache's folder that are no entries."""
    (folder / "notes.txt").write_text("mine")
    (folder / ("d" * 64)).write_text("a file")
    (folder / ("e" * 64)).mkdir()
    (folder / ("e" * 64) / "program").write_text("x")
    (folder / ("e" * 64) / "layer.tar").write_text("another program's")
    (folder / ("f" * 64)).symlink_to(folder / ("e" * 64))
    for name in ("a" * 63, "A" * 64, "0" * 65, f".{'0' * 40}.partial-mine"):
        (folder / name).mkdir()
        (folder / name / "program").write_text("x")
    return left_in(folder)


def test_usage_and_clear_touch_only_entries(made):
    made.folder.mkdir()
    others = not_ours(made.folder)
    entries = [made.keep(), made.keep(OTHER)]
    size = sum(path.stat().st_size for entry in entries for path in entry.iterdir())
    assert usage(made.folder) == (2, size)
    assert clear(made.folder) == size
    assert left_in(made.folder) == others
    assert usage(made.folder) == (0, 0)
    assert clear(made.folder) == 0


def test_a_full_cache_drops_only_entries(made, monkeypatch):
    made.folder.mkdir()
    others = not_ours(made.folder)
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    made.keep(OTHER)
    made.keep()
    assert left_in(made.folder) == sorted([*others, DIGEST])


def test_a_folder_that_does_not_exist_is_empty(tmp_path):
    assert usage(tmp_path / "none") == (0, 0)
    assert clear(tmp_path / "none") == 0
    assert left_in(tmp_path) == []


def test_an_entry_that_cannot_be_removed_is_told(made, monkeypatch):
    made.keep()
    monkeypatch.setattr(Path, "rename", failing(errno.EACCES))
    with pytest.raises(OutputError, match=r"1 of 1 programs in .* stay: cannot remove them"):
        clear(made.folder)


def test_a_folder_that_cannot_be_listed_is_told_in_one_line(made, monkeypatch):
    made.keep()
    monkeypatch.setattr(Path, "iterdir", failing(errno.EACCES))
    for look in (usage, clear):
        with pytest.raises(OutputError, match=r"cannot read the cache .*Permission denied"):
            look(made.folder)


def test_the_default_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/edge-export/programs")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_folder() == Path("/home/someone/.cache/edge-export/programs")


def test_looking_at_the_cache_needs_no_toolchain():
    code = "import sys, edge_export.cache; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "executorch", "litert_torch"} & set(loaded)
