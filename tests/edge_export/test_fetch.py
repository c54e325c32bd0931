"""Fetching, from a stand-in for the hub that serves the oracle's checkpoint on loopback."""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import close_session, constants, file_download

from edge_export import fetch
from edge_export.checkpoint import open_checkpoint
from edge_export.errors import CheckpointError, FetchError, OutputError, UsageError
from edge_export.fetch import MODEL_REPO, T5_REPO, fetch_checkpoint

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BIG = f"{MODEL_REPO}/model.safetensors"
CHUNK = 1 << 16


@dataclass
class Hub:
    """What the stand-in serves, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    port: int = 0
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, COMMIT: COMMIT})
    refusals: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # by repository
    cuts: list[int] = field(default_factory=list)  # bytes of BIG after which a connection breaks, one per connection
    ranges: bool = True
    sends: dict[str, bytes] = field(default_factory=dict)  # other bytes than those the hash is of
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    asked_of: list[tuple[str, str]] = field(default_factory=list)  # and of which revision

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def storage(self) -> str:
        """Where large files lie: another host than the hub's, as far as a client can tell."""
        return f"http://localhost:{self.port}/storage"

    def gets(self, name: str = "") -> list[dict[str, str]]:
        """Headers of the requests for the content of `name`, at the place that served it."""
        return [headers for method, path, headers in self.asked if method == "GET" and path.endswith(name)]

    def downloaded(self) -> set[str]:
        return {path for method, path, _ in self.asked if method == "GET"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, *_arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        stored = self.path.startswith("/storage/")
        found = re.fullmatch(r"/(?:storage/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>\w+)/(?P<name>.+)", self.path)
        repo, name = (found["repo"], found["name"]) if found else ("", "")
        label = f"{repo}/{name}"
        if not (label in self.hub.files and name.endswith(".safetensors") and not stored):
            self.hub.asked_of.append((label, found["revision"] if found else ""))
            self.hub.asked.append((self.command, label, {key.lower(): value for key, value in self.headers.items()}))
        if repo in self.hub.refusals:
            status, headers = self.hub.refusals[repo]
            return self.reply(status, headers, b"", with_body)
        if found and found["revision"] not in self.hub.revisions:
            return self.reply(404, {"X-Error-Code": "RevisionNotFound"}, b"", with_body)
        if label not in self.hub.files:
            return self.reply(404, {"X-Error-Code": "EntryNotFound"}, b"", with_body)
        content = self.hub.files[label]
        known = {"X-Repo-Commit": self.hub.revisions[found["revision"]], "Accept-Ranges": "bytes"}
        if not name.endswith(".safetensors"):
            known["ETag"] = f'"{hashlib.sha1(b"blob %d" % len(content) + bytes(1) + content).hexdigest()}"'
        elif not stored:  # as the hub does with large files: their hash and size here, their bytes elsewhere
            digest = hashlib.sha256(content).hexdigest()
            known |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)), "X-Xet-Hash": digest}
            known["Location"] = self.hub.storage + self.path
            return self.reply(302, known, b"", with_body)
        return self.send_content(label, self.hub.sends.get(label, content), known, with_body)

    def send_content(self, label: str, content: bytes, headers: dict[str, str], with_body: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.hub.ranges else None
        start = int(asked[1]) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        cut = self.hub.cuts.pop(0) if with_body and label == BIG and self.hub.cuts else None
        self.reply(206 if asked else 200, headers, body, with_body, cut)

    def reply(self, status: int, headers: dict[str, str], body: bytes, with_body: bool, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def hub(oracle, monkeypatch, tmp_path) -> Iterator[Hub]:
    files = {f"{MODEL_REPO}/{name}": (oracle / name).read_bytes() for name in fetch.MODEL_FILES}
    files |= {f"{T5_REPO}/{name}": (oracle / "t5-base" / name).read_bytes() for name in fetch.T5_FILES}
    hub = Hub(files=files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    hub.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    alone(monkeypatch, tmp_path)
    yield hub
    server.shutdown()
    server.server_close()
    close_session()


def alone(monkeypatch, tmp_path) -> None:
    """No proxy, no login of whoever runs the tests, no waiting between attempts, and small pieces."""
    close_session()
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(file_download.time, "sleep", lambda _seconds: None)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(hub: Hub) -> dict[str, bytes]:
    """The folder that the hub's files make."""
    return {
        label.removeprefix(MODEL_REPO + "/").removeprefix("google-t5/"): content for label, content in hub.files.items()
    }


def message(caught: pytest.ExceptionInfo[Exception]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_it_makes_a_checkpoint_of_both_repositories(hub, tmp_path):
    heard: dict[str, tuple[int, int]] = {}
    fetch_checkpoint(tmp_path / "new" / "sao", lambda what, done, total: heard.update({what: (done, total)}))
    assert files_in(tmp_path / "new" / "sao") == published(hub)
    assert not (tmp_path / "new" / "sao" / ".unfinished").exists()
    assert open_checkpoint(tmp_path / "new" / "sao").config.sample_rate == 44100
    for label, content in hub.files.items():
        assert heard[label] == (len(content), len(content))


def test_the_strict_loader_has_the_last_word(hub, tmp_path):
    hub.files[BIG] = hub.files[BIG][:-100]
    with pytest.raises(CheckpointError, match="truncated"):
        fetch_checkpoint(tmp_path / "sao")


def test_complete_files_are_not_fetched_again(hub, tmp_path):
    fetch_checkpoint(tmp_path / "sao")
    (tmp_path / "sao" / "t5-base" / "spiece.model").unlink()
    (tmp_path / "sao" / "model_config.json").write_text("{}")
    hub.asked.clear()
    fetch_checkpoint(tmp_path / "sao")
    assert hub.downloaded() == {f"{T5_REPO}/spiece.model", f"{MODEL_REPO}/model_config.json"}
    assert files_in(tmp_path / "sao") == published(hub)


def test_files_of_the_right_size_and_wrong_content_are_fetched_again(hub, tmp_path):
    fetch_checkpoint(tmp_path / "sao")
    for name, label in (("model.safetensors", BIG), ("t5-base/config.json", f"{T5_REPO}/config.json")):
        (tmp_path / "sao" / name).write_bytes(bytes(len(hub.files[label])))
    fetch_checkpoint(tmp_path / "sao")
    assert files_in(tmp_path / "sao") == published(hub)


def test_a_broken_connection_goes_on_where_it_broke(hub, tmp_path):
    hub.cuts += [3_000_000, 1_000_000]
    fetch_checkpoint(tmp_path / "sao")
    starts = [int(headers.get("range", "bytes=0-")[6:-1]) for headers in hub.gets(BIG)]
    assert len(starts) == 3
    assert 0 == starts[0] < 2_900_000 < starts[1] <= 3_000_000 < 3_800_000 < starts[2] <= 4_000_000
    assert files_in(tmp_path / "sao") == published(hub)


def interrupt(what: str, done: int, _total: int) -> None:
    if what == BIG and done > 2_000_000:
        raise KeyboardInterrupt


def test_an_interrupted_fetch_goes_on_where_it_stopped(hub, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch_checkpoint(tmp_path / "sao", interrupt)
    assert not (tmp_path / "sao" / "model.safetensors").exists()
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "sao")
    hub.asked.clear()
    heard: list[int] = []
    fetch_checkpoint(tmp_path / "sao", lambda what, done, _total: heard.append(done) if what == BIG else None)
    (request,) = hub.gets(BIG)
    start = int(re.fullmatch(r"bytes=(\d+)-", request["range"])[1])
    assert 1_900_000 < start <= 2_000_000
    assert heard[0] == start
    assert heard[-1] == len(hub.files[BIG])
    assert files_in(tmp_path / "sao") == published(hub)


def test_a_hub_that_cannot_resume_starts_over(hub, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch_checkpoint(tmp_path / "sao", interrupt)
    hub.ranges = False
    fetch_checkpoint(tmp_path / "sao")
    assert files_in(tmp_path / "sao") == published(hub)


def test_a_new_version_is_not_glued_to_the_old_one(hub, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch_checkpoint(tmp_path / "sao", interrupt)
    header = 8 + int.from_bytes(hub.files[BIG][:8], "little")
    hub.files[BIG] = hub.files[BIG][:header] + bytes(len(hub.files[BIG]) - header)
    hub.asked.clear()
    fetch_checkpoint(tmp_path / "sao")
    assert "range" not in hub.gets(BIG)[0]
    assert files_in(tmp_path / "sao") == published(hub)


def test_damaged_content_is_not_kept(hub, tmp_path):
    hub.sends[BIG] = bytes(len(hub.files[BIG]))
    with pytest.raises(FetchError, match="arrived damaged") as caught:
        fetch_checkpoint(tmp_path / "sao")
    assert BIG in message(caught)
    assert "model.safetensors" not in files_in(tmp_path / "sao")
    hub.sends.clear()
    fetch_checkpoint(tmp_path / "sao")


def test_a_connection_that_keeps_breaking_is_given_up_and_can_be_continued(hub, tmp_path):
    hub.cuts += [1_000_000] + [0] * 10
    with pytest.raises(FetchError, match="run the same command again to continue") as caught:
        fetch_checkpoint(tmp_path / "sao")
    assert hub.endpoint in message(caught)
    hub.cuts.clear()
    hub.asked.clear()
    fetch_checkpoint(tmp_path / "sao")
    assert hub.gets(BIG)[0]["range"].startswith("bytes=9")


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch_checkpoint(tmp_path / "sao")
    for method, label, headers in hub.asked:
        elsewhere = method == "GET" and label.endswith(".safetensors")
        assert headers.get("authorization") == (None if elsewhere else "Bearer hf_secret"), (method, label)


def test_the_token_of_a_login_is_used(hub, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("hf_login\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    fetch_checkpoint(tmp_path / "sao")
    assert hub.gets("model_config.json")[0]["authorization"] == "Bearer hf_login"


GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."}


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (403, GATED, ("accept its licence", "accept it at {page}")),
        (401, GATED, ("accept its licence", "`hf auth login`", "accept it at {page}")),
        (401, {"X-Error-Code": "RepoNotFound"}, ("{page} does not exist, or is not open to you", "`hf auth login`")),
        (401, {}, ("{page} is not open to you", "`hf auth login`")),
        (403, {"X-Error-Message": "Forbidden"}, ("your token may not read {page}",)),
        (404, {"X-Error-Code": "RepoNotFound"}, ("{page} does not exist",)),
        (404, {"X-Error-Code": "EntryNotFound"}, ("{page} has no file model_config.json",)),
        (404, {"X-Error-Code": "RevisionNotFound"}, ("{page} has no revision 'main'",)),
        (404, {}, ("{page} has no file model_config.json",)),
        (429, {}, ("asks for a pause",)),
        (503, {}, ("answered 503", "try later")),
        (200, {"ETag": '"x"'}, ("does not answer like a hub", "HF_ENDPOINT")),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing(hub, tmp_path, status, headers, words):
    hub.refusals[MODEL_REPO] = (status, headers)
    with pytest.raises(FetchError) as caught:
        fetch_checkpoint(tmp_path / "sao")
    for word in words:
        assert word.format(page=f"{hub.endpoint}/{MODEL_REPO}") in message(caught)
    assert not (tmp_path / "sao").exists()


def test_a_token_that_the_hub_refuses_is_named(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    hub.refusals[MODEL_REPO] = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})
    with pytest.raises(FetchError, match="does not accept your token") as caught:
        fetch_checkpoint(tmp_path / "sao")
    assert "hf_old" not in message(caught)


def test_trouble_with_the_second_repository_shows_before_the_first_is_fetched(hub, tmp_path):
    hub.refusals[T5_REPO] = (404, {"X-Error-Code": "RepoNotFound"})
    with pytest.raises(FetchError, match=T5_REPO):
        fetch_checkpoint(tmp_path / "sao")
    assert hub.downloaded() == set()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_no_network_is_one_line(tmp_path, monkeypatch, endpoint):
    alone(monkeypatch, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(FetchError, match="check the network") as caught:
        fetch_checkpoint(tmp_path / "sao")
    assert f"cannot reach {endpoint}" in message(caught)
    assert not (tmp_path / "sao").exists()


def test_a_hub_that_does_not_answer_is_given_up(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(Handler, "do_HEAD", lambda self: threading.Event().wait(1))
    with pytest.raises(FetchError, match="cannot reach"):
        fetch_checkpoint(tmp_path / "sao")


def test_offline_is_respected(tmp_path):
    code = (
        "import sys, pathlib; from edge_export.errors import FetchError;"
        "from edge_export.fetch import fetch_checkpoint\n"
        "try: fetch_checkpoint(pathlib.Path(sys.argv[1]))\n"
        "except FetchError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "sao")], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "HF_HUB_OFFLINE=1 forbids downloads; unset it and run the same command again\n"
    assert done.stderr == ""


OTHER_COMMIT = "f" * 40


def tuned(hub, repo="someone/tuned") -> str:
    """The same checkpoint under another name, as a fine-tune lies on the hub."""
    for name in fetch.MODEL_FILES:
        hub.files[f"{repo}/{name}"] = hub.files[f"{MODEL_REPO}/{name}"]
    return repo


def test_a_fine_tune_is_fetched_from_its_own_repository_and_revision(hub, tmp_path, edge_export):
    hub.revisions |= {"v2": OTHER_COMMIT, OTHER_COMMIT: OTHER_COMMIT}
    repo = tuned(hub)
    result = edge_export("fetch", tmp_path / "sao", "--repo", repo, "--revision", "v2")
    assert result.code == 0, result.err
    assert files_in(tmp_path / "sao") == {
        name.removeprefix(f"{repo}/").removeprefix("google-t5/"): content
        for name, content in hub.files.items()
        if not name.startswith(MODEL_REPO)
    }
    first, *rest = [revision for label, revision in hub.asked_of if label.startswith(repo)]
    assert (first, {*rest}) == ("v2", {OTHER_COMMIT})
    assert {revision for label, revision in hub.asked_of if label.startswith(T5_REPO)} == {"main", COMMIT}


def test_files_published_meanwhile_are_not_mixed_in(hub, tmp_path, monkeypatch):
    """`main` moves on once it was asked for."""

    def moving(what: str, _done: int, _total: int) -> None:
        if what == "checking":
            hub.revisions["main"] = OTHER_COMMIT

    fetch_checkpoint(tmp_path / "sao", moving)
    for repo in (MODEL_REPO, T5_REPO):
        first, *rest = [revision for label, revision in hub.asked_of if label.startswith(repo)]
        assert (first, {*rest}) == ("main", {COMMIT})


def test_a_revision_that_is_not_there_is_named(hub, tmp_path, edge_export):
    result = edge_export("fetch", tmp_path / "sao", "--revision", "v3")
    assert result.code == 9
    assert result.error.endswith(f"{hub.endpoint}/{MODEL_REPO} has no revision 'v3'; name a branch, a tag or a commit")
    result = edge_export("fetch", tmp_path / "sao", "--revision", "")
    assert result.code == 2
    assert "--revision is empty" in result.error
    assert not (tmp_path / "sao").exists()


@pytest.mark.parametrize("repo", ["", "a/b/c", "../x", "a b"])
def test_a_repository_that_is_none_is_one_line(hub, tmp_path, edge_export, repo):
    assert edge_export("fetch", tmp_path / "sao", "--repo", repo).code == 2
    assert not (tmp_path / "sao").exists()


WAITING = "waiting for another fetch into this folder"


def test_of_two_fetches_into_one_folder_one_waits_and_finds_all_done(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "WAIT_SECONDS", 0.01)
    second: list[threading.Thread] = []
    heard: list[str] = []
    waits = threading.Event()

    def listening(what: str, _done: int, _total: int) -> None:
        heard.append(what)
        if what == WAITING:
            waits.set()

    def first(what: str, done: int, _total: int) -> None:
        if what == BIG and done > 2_000_000 and not second:
            second.append(threading.Thread(target=fetch_checkpoint, args=(tmp_path / "sao", listening)))
            second[0].start()
            assert waits.wait(10)

    fetch_checkpoint(tmp_path / "sao", first)
    second[0].join(10)
    assert not second[0].is_alive()
    assert BIG not in heard
    assert len(hub.gets(BIG)) == 1
    assert files_in(tmp_path / "sao") == published(hub)
    assert {path.name for path in (tmp_path / "sao").iterdir()} == {"model_config.json", "model.safetensors", "t5-base"}


def test_of_two_fetches_the_second_goes_on_where_the_first_died(hub, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        fetch_checkpoint(tmp_path / "sao", interrupt)
    lock = tmp_path / "sao" / ".unfinished" / ".lock"
    code = (
        "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print(flush=True); time.sleep(60)"
    )
    hub.asked.clear()
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()

        def dying(what: str, _done: int, _total: int) -> None:
            if what == WAITING:
                other.kill()
                other.wait()

        try:
            fetch_checkpoint(tmp_path / "sao", dying)
        finally:
            other.kill()
    assert other.returncode < 0
    (request,) = hub.gets(BIG)
    assert int(request["range"][6:-1]) > 1_900_000
    assert files_in(tmp_path / "sao") == published(hub)


def test_waiting_can_be_interrupted_and_leaves_the_other_its_lock(hub, tmp_path, monkeypatch):
    (tmp_path / "sao" / ".unfinished").mkdir(parents=True)

    def impatient(what: str, _done: int, _total: int) -> None:
        if what == WAITING:
            raise KeyboardInterrupt

    with FileLock(tmp_path / "sao" / ".unfinished" / ".lock"):
        with pytest.raises(KeyboardInterrupt):
            fetch_checkpoint(tmp_path / "sao", impatient)
        assert hub.downloaded() == set()
        assert (tmp_path / "sao" / ".unfinished" / ".lock").exists()


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://hub", "http://", "http://[::1", "http://hub:port"])
def test_an_endpoint_that_is_no_address_is_refused(tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(UsageError, match="HF_ENDPOINT is"):
        fetch_checkpoint(tmp_path / "sao")


def test_a_repository_without_a_proper_name_is_refused(hub, tmp_path):
    with pytest.raises(UsageError, match="no name of a repository") as caught:
        fetch_checkpoint(tmp_path / "sao", model_repo="a/b/c")
    message(caught)


def test_a_file_in_the_place_of_the_folder_is_refused_and_kept(hub, tmp_path):
    (tmp_path / "sao").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        fetch_checkpoint(tmp_path / "sao")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        fetch_checkpoint(tmp_path / "sao" / "deeper")
    assert (tmp_path / "sao").read_text() == "mine"


def test_too_little_space_is_known_before_the_download(hub, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _path: usage._replace(free=1_000_000))
    with pytest.raises(OutputError, match=r"0\.0 GB more, and its disk has 0\.0 GB free"):
        fetch_checkpoint(tmp_path / "sao")
    assert hub.downloaded() == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_one_line(hub, tmp_path, monkeypatch):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(fetch, "_unfinished_path", lambda _file, _folder: full)
    with pytest.raises(OutputError, match="the disk is full") as caught:
        fetch_checkpoint(tmp_path / "sao")
    assert str(tmp_path / "sao") in message(caught)


def test_the_hubs_own_bars_and_warnings_stay_silent(hub, tmp_path, capfd, caplog):
    logger = logging.getLogger("huggingface_hub")  # it does not hand its records on to the root
    logger.addHandler(caplog.handler)
    hub.cuts += [1_000_000]
    try:
        fetch_checkpoint(tmp_path / "sao")
    finally:
        logger.removeHandler(caplog.handler)
    assert len(hub.gets(BIG)) == 2
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_the_licence_comes_along_where_the_hub_has_one(hub, tmp_path):
    hub.files[f"{MODEL_REPO}/LICENSE.md"] = b"Terms.\n"
    fetch_checkpoint(tmp_path / "a")
    assert (tmp_path / "a" / "LICENSE.md").read_bytes() == b"Terms.\n"
    assert not (tmp_path / "a" / "NOTICE").exists()
