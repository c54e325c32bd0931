"""Compiled programs kept from one build to the next, found by a hash of everything that decides what they are.

    FOLDER/<digest>/program        the file as the backend wrote it
    FOLDER/<digest>/entry.json     its size and sha256, and what the backend said of it

It knows nothing of how a program is made. Whatever is wrong with a cache, the program can be compiled again.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_export.errors import OutputError, UsageError
from edge_export.staging import DISK, NAME_KEPT, staged_folder
from quantization.recipe import Recipe, Rule
from runtime_py import strict_json
from runtime_py.bundle import sha256_of
from runtime_py.caches import cache_folder

if TYPE_CHECKING:
    from edge_export.backends.backend import Compiled
    from edge_export.submodules.submodule import Port

CACHE_FORMAT = 2
MAX_BYTES = 8 << 30
PROGRAM_FILE = "program"
ENTRY_FILE = "entry.json"
FILES = {PROGRAM_FILE, ENTRY_FILE}
KEYS = {"format", "digest", "sha256", "bytes", "compiled", "seal"}
MAX_ENTRY_BYTES = 1 << 20
PACKAGES = ("edge_export", "quantization", "runtime_py")
DIGEST = re.compile(r"[0-9a-f]{64}")
PARTIAL = re.compile(rf"\.[0-9a-f]{{{NAME_KEPT}}}\.partial-[0-9a-f]{{8}}")
ABANDONED = 24 * 60 * 60  # seconds after which a partial folder belongs to a build that was killed


@dataclass(frozen=True, kw_only=True)
class ProgramKey:
    """Everything that decides what comes out of a compile.

    checkpoint_sha256: of config and weights. inputs, outputs: the ports as exported, with their shapes.
    rules: those that can touch this submodule (`rules_for`), in order. float16,
    as_published: as in the recipe. toolchain: package -> version.
    """

    submodule: str
    backend: str
    checkpoint_sha256: str
    inputs: "tuple[Port, ...]"
    outputs: "tuple[Port, ...]"
    rules: tuple[Rule, ...]
    float16: bool
    as_published: bool
    toolchain: dict[str, str]

    def digest(self) -> str:
        """64 hex digits: sha256 over all fields, the source code of this version, and the cache's format."""
        return _sha256({"format": CACHE_FORMAT, "source": source_sha256(), "key": asdict(self)})


def rules_for(recipe: Recipe, submodule: str) -> tuple[Rule, ...]:
    """The rules of `recipe` that can match something in `submodule`: other rules do not change its program."""
    return tuple(rule for rule in recipe.rules if fnmatchcase(submodule, rule.submodule))


@lru_cache
def source_sha256() -> str:
    """One hash over the names and contents of our own source files, read once per process.

    runtime_py is among them: backends read a program's interface with its engines.
    """
    total = hashlib.sha256()
    root = Path(__file__).parent.parent
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def default_folder() -> Path:
    """Where programs are kept unless told otherwise; UsageError when this user has no home."""
    folder = cache_folder("programs")
    if folder is None:
        raise UsageError("there is no home folder to keep compiled programs in; set XDG_CACHE_HOME")
    return folder


class ProgramCache:
    """The cache for one build. After trouble with its folder it says so once, and holds and keeps nothing more."""

    def __init__(self, folder: Path | None, note: Callable[[str], None]) -> None:
        """`folder` of None is the default one; `note` gets, in one line each, what a user should know.

        Raises:
            UsageError: `folder` was given, and is a file or below one.
            OutputError: `folder` was given, does not exist, and cannot be made.
        """
        self._note, self._on, self._folder = note, True, folder or Path()
        try:
            self._folder = folder or default_folder()
            with self._trouble():
                _refuse_file(self._folder)
        except UsageError as error:
            if folder is not None:
                raise
            self._switch_off(str(error))
        if folder is not None:
            _refuse_unwritable(folder)

    def fetch(self, digest: str, out: Path) -> "Compiled | None":
        """Copy the program kept under `digest` to `out`, and return what its backend said of it; None if there is none.

        `out` appears only once the copy's size and sha256 are found right.

        Raises:
            OSError: the disk that `out` is on is full or read-only.
        """
        if not self._on:
            return None
        entry = self._folder / digest
        with self._trouble(but=DISK):  # reading fills no disk: it is `out` that met it
            try:
                return _fetch(entry, digest, out)
            except _Damaged as damage:
                if os.path.lexists(entry):  # else there is none, or another build dropped it meanwhile
                    _discard(entry)
                    self._note(f"the cached {out.stem} at {entry} is damaged ({damage}): compiled again")
            except FileNotFoundError:
                if os.path.lexists(entry):
                    raise
        return None

    def keep(self, digest: str, program: Path, compiled: "Compiled") -> None:
        """Copy `program` into the cache under `digest`, then drop what was used longest ago beyond MAX_BYTES."""
        if not self._on:
            return
        entry = self._folder / digest
        with self._trouble():
            if not os.path.lexists(entry):
                self._folder.mkdir(parents=True, exist_ok=True)
                _keep(entry, digest, program, compiled)
            _trim(self._folder, kept=digest)

    @contextmanager
    def _trouble(self, but: tuple[int, ...] = ()) -> Iterator[None]:
        """Trouble in this block switches the cache off, but for that of these error numbers."""
        try:
            yield
        except OutputError as error:
            self._switch_off(str(error))
        except OSError as error:
            if error.errno in but:
                raise
            self._switch_off(f"{error.filename or self._folder}: {error.strerror or error}")

    def _switch_off(self, reason: str) -> None:
        if self._on:
            self._on = False
            self._note(f"compiled programs are not cached in this build: {reason}")


def usage(folder: Path) -> tuple[int, int]:
    """How many programs are kept in `folder`, and their bytes; UsageError when it is a file."""
    with _one_line(folder):
        kept = _kept(folder)
    return len(kept), sum(entry.bytes for entry in kept)


def clear(folder: Path) -> int:
    """Remove what is kept in `folder`, and nothing else that may lie there; returns the bytes freed.

    Raises:
        UsageError: it is a file.
        OutputError: something of ours could not be removed.
    """
    with _one_line(folder):
        kept = _kept(folder)
        left = [entry for entry in kept if not _discard(entry.folder)]
        _sweep(folder)
    if left:
        raise OutputError(
            f"{len(left)} of {len(kept)} programs in {folder} stay: cannot remove them; check who owns it"
        )
    return sum(entry.bytes for entry in kept)


class _Damaged(Exception):
    """What is wrong with an entry, in a few words."""


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """An entry as seen from outside. used: seconds since the epoch, when it was last kept or fetched."""

    folder: Path
    bytes: int
    used: float


def _fetch(entry: Path, digest: str, out: Path) -> "Compiled":
    document = _read_document(entry / ENTRY_FILE, digest)
    compiled = _read_compiled(document["compiled"])
    program = entry / PROGRAM_FILE
    if _plain_size(program) != document["bytes"]:
        raise _Damaged("its size differs")
    partial = out.with_name(f".{out.name[:NAME_KEPT]}.partial-{secrets.token_hex(4)}")
    try:
        shutil.copyfile(program, partial)
        if sha256_of(partial) != document["sha256"]:  # of the copy: nobody can alter it between check and use
            raise _Damaged("its sha256 differs")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # of a cache that may only be read
        os.utime(entry / ENTRY_FILE)
    return compiled


def _read_document(path: Path, digest: str) -> dict[str, Any]:
    """The entry's JSON, held against its own seal; _Damaged says what is wrong with it."""
    if _plain_size(path) > MAX_ENTRY_BYTES:
        raise _Damaged(f"{ENTRY_FILE} is too large")
    try:
        document = strict_json.parse(path.read_text(encoding="utf-8"))
        seal = _seal(document) if isinstance(document, dict) else None
    except ValueError:
        raise _Damaged(f"{ENTRY_FILE} is no valid JSON") from None
    if isinstance(document, dict) and document.get("format", CACHE_FORMAT) != CACHE_FORMAT:
        raise _Damaged(f"{ENTRY_FILE} is of another format")
    if not isinstance(document, dict) or document.keys() != KEYS:
        raise _Damaged(f"{ENTRY_FILE} is not ours")
    if document["digest"] != digest or document["seal"] != seal:
        raise _Damaged(f"{ENTRY_FILE} was altered")
    return document


def _read_compiled(value: Any) -> "Compiled":
    from edge_export.backends.backend import Compiled
    from runtime_py.schema import SchemaError, read_as

    try:
        compiled: Compiled = read_as(Compiled, value, "compiled")
    except SchemaError:
        raise _Damaged(f"{ENTRY_FILE} is not ours") from None
    return compiled


def _plain_size(path: Path) -> int:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise _Damaged(f"{path.name} is missing") from None
    if not stat.S_ISREG(status.st_mode):
        raise _Damaged(f"{path.name} is no plain file")
    return status.st_size


def _keep(entry: Path, digest: str, program: Path, compiled: "Compiled") -> None:
    document = {
        "format": CACHE_FORMAT,
        "digest": digest,
        "sha256": sha256_of(program),
        "bytes": program.stat().st_size,
        "compiled": asdict(compiled),
    }
    document["seal"] = _seal(document)
    try:
        with staged_folder(entry) as partial:
            shutil.copyfile(program, partial / PROGRAM_FILE)
            (partial / ENTRY_FILE).write_text(json.dumps(document, indent=2), encoding="utf-8")
    except OutputError:
        if not os.path.lexists(entry):  # else another build was first, and its program is as good
            raise


def _seal(document: dict[str, Any]) -> str:
    """A hash of everything else in the document: the disk's errors show, whichever byte they hit."""
    return _sha256({key: value for key, value in document.items() if key != "seal"})


def _sha256(document: dict[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _trim(folder: Path, kept: str) -> None:
    """Drop the entries used longest ago until the rest is within MAX_BYTES; the one just kept stays."""
    entries = sorted(_kept(folder), key=lambda entry: entry.used)
    excess = sum(entry.bytes for entry in entries) - MAX_BYTES
    for entry in entries:
        if excess > 0 and entry.folder.name != kept and _discard(entry.folder):
            excess -= entry.bytes
    _sweep(folder)


def _kept(folder: Path) -> list[_Kept]:
    """Our entries in `folder`; none when it does not exist."""
    try:
        found = [path for path in folder.iterdir() if DIGEST.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    entries = []
    for path in found:
        with suppress(FileNotFoundError, PermissionError):  # dropped meanwhile, or somebody else's
            entries += _look(path)
    return entries


def _look(path: Path) -> list[_Kept]:
    """The entry at `path`, if it is one: a folder with our files in it and nothing else."""
    if not stat.S_ISDIR(path.lstat().st_mode):
        return []
    files = {file.name: file.lstat() for file in path.iterdir()}
    if not files or not files.keys() <= FILES:
        return []
    used = files[ENTRY_FILE].st_mtime if ENTRY_FILE in files else 0.0
    return [_Kept(folder=path, bytes=sum(status.st_size for status in files.values()), used=used)]


def _discard(entry: Path) -> bool:
    """Remove an entry; renamed first, so that no other build meets half of it. False when it stays."""
    hidden = entry.with_name(f".{entry.name[:NAME_KEPT]}.partial-{secrets.token_hex(4)}")
    try:
        entry.rename(hidden)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if hidden.is_dir() and not hidden.is_symlink():
        shutil.rmtree(hidden, ignore_errors=True)
    else:
        with suppress(OSError):
            hidden.unlink()
    return not os.path.lexists(hidden)


def _sweep(folder: Path) -> None:
    """Remove what builds left behind that were killed while they kept a program."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if PARTIAL.fullmatch(path.name) and time.time() - path.lstat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _refuse_file(folder: Path) -> None:
    """UsageError when `folder` cannot be a folder; that it does not exist yet is fine."""
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        is_folder = False
    if not is_folder:
        raise UsageError(f"the cache {folder} is, or lies below, a file and not a folder; choose another place for it")


def _refuse_unwritable(folder: Path) -> None:
    """OutputError when `folder` does not exist and could not be made. One that may only be read is of use."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
    except FileExistsError:  # another build's
        return
    except OSError as error:
        raise OutputError(f"cannot write in {folder}: {error.strerror}; choose another --cache") from error
    finally:
        for path in reversed(made):  # until there is something to keep
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    try:
        _refuse_file(folder)
        yield
    except OSError as error:
        raise OutputError(f"cannot read the cache {folder}: {error.strerror or error}") from error
