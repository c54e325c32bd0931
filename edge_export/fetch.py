"""The published checkpoint, from the hub into a folder: resumed where it stopped, checked to the last byte.

    DIR/model_config.json  DIR/model.safetensors                       Stable Audio Open Small
    DIR/t5-base/config.json  .../model.safetensors  .../spiece.model   its text encoder
    DIR/LICENSE.md, DIR/NOTICE and the like                            what of NOTICES the hub has

Unfinished files wait in DIR/.unfinished, where one fetch works at a time. Requests, logins and retries are
huggingface_hub's; it is asked file by file because its own download of a folder starts an interrupted file again from
the beginning. It knows no network but the names of the files.
"""

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from edge_export.errors import EdgeExportError, FetchError, OutputError, UsageError
from edge_export.progress import Progress, silent
from edge_export.staging import output_error

if TYPE_CHECKING:
    from edge_export.checkpoint import Checkpoint

MODEL_REPO = "stabilityai/stable-audio-open-small"
T5_REPO = "google-t5/t5-base"
MODEL_FILES = ("model_config.json", "model.safetensors")
T5_FILES = ("config.json", "model.safetensors", "spiece.model")
NOTICES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "NOTICE.txt")
UNFINISHED_FOLDER = ".unfinished"
LOCK_FILE = ".lock"
WAIT_SECONDS = 0.5  # between two looks whether another fetch has ended
ANSWER_SECONDS = 10.0  # to wait for the hub's answer about one file
READ_BYTES = 1 << 20
AGAIN = "run the same command again to continue where it stopped"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file as the hub describes it. `etag` is its hash: SHA-256, or SHA-1 as git counts it."""

    repo: str
    commit: str
    name: str
    url: str
    etag: str
    size: int
    target: Path

    @property
    def label(self) -> str:
        return f"{self.repo}/{self.name}"

    def matches(self, path: Path) -> bool:
        """Whether `path` holds this file, byte for byte."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if len(self.etag) == 64:
            digest = hashlib.sha256()
        elif len(self.etag) == 40:
            digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        else:
            return True  # no hash that we know: the size must do
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
        return digest.hexdigest() == self.etag


def fetch_checkpoint(
    folder: Path,
    progress: Progress = silent,
    model_repo: str = MODEL_REPO,
    t5_repo: str = T5_REPO,
    revision: str | None = None,
) -> "Checkpoint":
    """Download what is missing of the checkpoint in `folder`, then open it strictly.

    The hub is HF_ENDPOINT or huggingface.co; the token is HF_TOKEN or that of `hf auth login`. `revision` is a branch,
    a tag or a commit of `model_repo`, by default its newest. Of a second fetch into the same folder one waits.

    Raises:
        FetchError: no network, no such file or revision, no permission, or a licence not accepted yet.
        OutputError: `folder` is a file or cannot be written, or the disk is full.
        CheckpointError: all was fetched, and is not a checkpoint that this version knows.
        UsageError: HF_ENDPOINT is no address, or a repository's or revision's name is none.
    """
    endpoint = _endpoint()
    if revision is not None and not revision.strip():
        raise UsageError("--revision is empty; name a branch, a tag or a commit, or leave it out")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose another folder")
    with _quiet_hub(), _write_errors(folder):
        files = _describe_all(endpoint, folder, model_repo, t5_repo, revision, progress)
        missing = _missing(files, progress)
        unfinished = folder / UNFINISHED_FOLDER
        if missing or unfinished.exists():
            _check_space(folder, unfinished, missing)
            with _alone(unfinished, progress):
                _complete(endpoint, _missing(missing, progress), folder, progress)
    return _open(folder)


def _complete(endpoint: str, missing: list[RemoteFile], folder: Path, progress: Progress) -> None:
    """Download what another fetch has not brought meanwhile; nothing of the work is left then."""
    unfinished = folder / UNFINISHED_FOLDER
    for file in missing:
        with _hub_errors(endpoint, file.repo, file.name):
            _download(file, unfinished, progress)
    shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _alone(unfinished: Path, progress: Progress) -> Iterator[None]:
    """Wait until no other fetch works in the folder `unfinished`, which is there then; one that died does not."""
    from filelock import FileLock, Timeout

    lock = FileLock(unfinished / LOCK_FILE)
    while not lock.is_locked:
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another fetch into this folder", 0, 1)
            time.sleep(WAIT_SECONDS)
        except FileNotFoundError:  # the other removed the folder meanwhile: it is done
            continue
    try:
        yield
    finally:
        lock.release()


def _open(folder: Path) -> "Checkpoint":
    from edge_export.checkpoint import open_checkpoint

    return open_checkpoint(folder)


def _describe_all(
    endpoint: str, folder: Path, model_repo: str, t5_repo: str, revision: str | None, progress: Progress
) -> list[RemoteFile]:
    """Ask for all files before the first is fetched: a licence not accepted shows at once.

    All files of a repository are of the commit that the first one is of, whatever is published meanwhile.
    """
    places = [(model_repo, name, folder / name) for name in MODEL_FILES]
    places += [(t5_repo, name, folder / t5_repo.rsplit("/", 1)[-1] / name) for name in T5_FILES]
    places += [(model_repo, name, folder / name) for name in NOTICES]
    files: list[RemoteFile] = []
    revisions = {model_repo: revision}
    for done, (repo, name, target) in enumerate(places):
        progress("asking the hub", done, len(places))
        with _hub_errors(endpoint, repo, name, revisions.get(repo)):
            for file in _describe(endpoint, repo, name, target, revisions.get(repo), optional=name in NOTICES):
                revisions[repo] = file.commit
                files.append(file)
    return files


def _missing(files: list[RemoteFile], progress: Progress) -> list[RemoteFile]:
    missing = []
    for index, file in enumerate(files):
        progress("checking", index, len(files))
        if not file.matches(file.target):
            missing.append(file)
    return missing


def _endpoint() -> str:
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    try:
        parts = urlsplit(endpoint)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return endpoint
    except ValueError:
        pass
    raise UsageError(f"HF_ENDPOINT is {endpoint!r}, expected an address such as https://huggingface.co")


def _describe(
    endpoint: str, repo: str, name: str, target: Path, revision: str | None, *, optional: bool
) -> list[RemoteFile]:
    """Ask the hub for one file, by default its newest version; an `optional` one that is not there is none."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    url = hf_hub_url(repo, name, revision=revision, endpoint=endpoint)
    try:
        known = get_hf_file_metadata(url, timeout=ANSWER_SECONDS, endpoint=endpoint)
    except RemoteEntryNotFoundError:
        if optional:
            return []
        raise
    if known.commit_hash is None or known.etag is None or known.size is None:
        raise FetchError(f"{endpoint} does not answer like a hub (no commit, etag or size); check HF_ENDPOINT")
    pinned = hf_hub_url(repo, name, revision=known.commit_hash, endpoint=endpoint)
    file = RemoteFile(
        repo=repo,
        commit=known.commit_hash,
        name=name,
        url=pinned,
        etag=known.etag,
        size=known.size,
        target=target,
    )
    return [file]


def _check_space(folder: Path, unfinished: Path, missing: list[RemoteFile]) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed = sum(file.size - _size(_unfinished_path(file, unfinished)) for file in missing)
    free = shutil.disk_usage(there).free
    if needed > free:
        raise OutputError(
            f"{folder} needs {needed / 1e9:.1f} GB more, and its disk has {free / 1e9:.1f} GB free; make some room"
        )


def _unfinished_path(file: RemoteFile, unfinished: Path) -> Path:
    """Another version of a file is another unfinished file."""
    return unfinished / hashlib.sha256(f"{file.label} {file.etag}".encode()).hexdigest()[:16]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(file: RemoteFile, unfinished: Path, progress: Progress) -> None:
    """Append what is missing to the unfinished file; move it into place once its hash is right."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    path = _unfinished_path(file, unfinished)
    path.parent.mkdir(parents=True, exist_ok=True)
    if _size(path) > file.size:
        path.unlink()
    with path.open("ab") as sink:
        progress(file.label, sink.tell(), file.size)
        http_get(
            file.url,
            sink,
            resume_size=sink.tell(),
            # Compressed on the way, a range would count bytes of something else.
            headers={**build_hf_headers(), "Accept-Encoding": "identity"},
            expected_size=file.size,
            tqdm_class=partial(_Reporter, file.label, progress),  # type: ignore[arg-type]
        )
    if not file.matches(path):
        path.unlink()
        raise FetchError(f"{file.label} arrived damaged and was removed; run the same command again")
    file.target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(file.target)


class _Reporter:
    """What huggingface_hub needs of a progress bar, passed on to a Progress."""

    def __init__(
        self,
        label: str,
        progress: Progress,
        *,
        total: int | None = None,
        initial: int = 0,
        **_appearance: object,
    ) -> None:
        self._label, self._progress = label, progress
        self._done, self._total = initial, total or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, size: float | None = 1) -> None:
        self._done += int(size or 0)
        self._progress(self._label, self._done, self._total)


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except EdgeExportError:
        raise
    except OSError as error:
        if error.filename and not _related(Path(error.filename).absolute(), folder.absolute()):
            raise FetchError(f"{error.filename}: {error.strerror}; check its permissions") from error
        raise output_error(error, folder) from error


def _related(path: Path, other: Path) -> bool:
    return path.is_relative_to(other) or other.is_relative_to(path)


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """huggingface_hub logs its retries; what they come to is told here."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _hub_errors(endpoint: str, repo: str, name: str, revision: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises into one line; errors of the disk pass."""
    from huggingface_hub import errors as hub

    page = f"{endpoint}/{repo}"
    try:
        yield
    except hub.HFValidationError as error:
        raise UsageError(f"{repo!r} is no name of a repository ({_line(error)})") from error
    except hub.OfflineModeIsEnabled as error:
        raise FetchError("HF_HUB_OFFLINE=1 forbids downloads; unset it and run the same command again") from error
    except hub.GatedRepoError as error:
        status = error.response.status_code
        login = "log in with `hf auth login` (or set HF_TOKEN) and " if status == 401 else ""
        raise FetchError(
            f"{repo} asks you to accept its licence first: {login}accept it at {page}, then run the same command again"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise FetchError(f"{page} has no revision {revision or 'main'!r}; name a branch, a tag or a commit") from error
    except hub.RemoteEntryNotFoundError as error:
        raise FetchError(f"{page} has no file {name}; check the repository's name") from error
    except hub.RepositoryNotFoundError as error:
        raise FetchError(
            f"{page} does not exist, or is not open to you; check the name, and log in with `hf auth login`"
        ) from error
    except hub.HfHubHTTPError as error:
        raise FetchError(_refused(error.response.status_code, page, name)) from error
    except hub.HTTPError as error:  # type: ignore[attr-defined]  # httpx's, under whichever name the hub imports it
        raise FetchError(f"cannot reach {endpoint} ({_line(error)}); check the network, then {AGAIN}") from error
    except OSError as error:
        if error.errno is not None and error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT):
            raise  # of the disk
        raise FetchError(f"{page} sent {name} incompletely ({_line(error)}); {AGAIN}") from error


def _refused(status: int, page: str, name: str) -> str:
    from huggingface_hub import get_token

    if status == 401 and get_token() is None:
        return f"{page} is not open to you (401); log in with `hf auth login`, or set HF_TOKEN"
    if status == 401:
        return f"the hub does not accept your token (401) for {page}; run `hf auth login` again, or correct HF_TOKEN"
    if status == 403:
        return f"your token may not read {page} (403); give it access to gated repositories in your hub settings"
    if status == 404:
        return f"{page} has no file {name} (404); check the repository's name"
    if status == 429:
        return f"the hub asks for a pause (429); wait a few minutes, then {AGAIN}"
    return f"the hub answered {status} for {name} of {page}; try later: {AGAIN}"


def _line(error: Exception) -> str:
    """The first line of a message, which may have many, or none."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
