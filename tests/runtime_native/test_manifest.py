"""C++ takes the manifests that Python takes, and refuses the others in the same one line."""

import json

import pytest

from runtime_py.errors import BundleError
from runtime_py.manifest import SCHEMA_VERSION, dump_manifest, parse_manifest, sealed
from tests.runtime_native.seeds import seeds
from tests.runtime_py import test_manifest as python
from tests.runtime_py.test_manifest import MANIFEST, TAILED, altered, resealed


def cases_of(test) -> list[tuple]:
    """What a test of Python's reader is parametrized with: the lists are one and the same."""
    return list(test.pytestmark[0].args[1])


BROKEN = cases_of(python.test_a_broken_contract_is_refused_with_its_path)
BROKEN_TAIL = cases_of(python.test_a_broken_tail_is_refused_with_its_path)
UNSEALED = cases_of(python.test_an_altered_manifest_is_noticed_even_where_the_contract_still_holds)
NO_MANIFEST = cases_of(python.test_what_is_no_manifest_is_refused)
WINDOWS = cases_of(python.test_a_window_is_the_whole_clip_or_wider_than_its_margins)
OTHER_WINDOWS = cases_of(python.test_another_window_is_refused)
BYTE_ORDER_MARKED = sealed("\ufeff" + json.dumps(json.loads(dump_manifest(MANIFEST)) | {"seal": ""}))


@pytest.fixture
def answers(edge_replay, tmp_path):
    """What edge-replay makes of each of these texts, a line for each."""

    def answers(*texts: str | bytes) -> list[str]:
        files = [tmp_path / f"{index}.json" for index in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        done = edge_replay("manifest", *files)
        lines = done.stdout.split("\n")
        assert (done.stderr, len(lines), lines.pop()) == ("", len(texts) + 1, "")
        assert done.returncode == (0 if set(lines) == {"ok"} else 1)
        return lines

    return answers


def pythons_error(text: str) -> str:
    with pytest.raises(BundleError) as caught:
        parse_manifest(text)
    return str(caught.value)


def place(error: str) -> str:
    """The place in the document that a message begins with: "manifest.json: backend: is ..." -> "backend"."""
    assert error.startswith("manifest.json: ")
    return error.split(": ")[1]


def test_a_good_manifest_is_taken(answers):
    manifests = (dump_manifest(MANIFEST), dump_manifest(TAILED), seeds()["manifest"]["manifest.json"])
    assert answers(*manifests) == ["ok"] * 3


def test_a_broken_contract_is_refused_in_the_same_words_as_in_python(answers):
    texts = [altered(path, value) for path, value, _ in BROKEN]
    assert len(texts) > 80
    for text, case, answer in zip(texts, BROKEN, answers(*texts), strict=True):
        assert answer == pythons_error(text), case


def test_a_broken_tail_is_refused_in_the_same_words_as_in_python(answers):
    texts = [altered(path, value, TAILED) for path, value, _ in BROKEN_TAIL]
    texts.append(altered("generation.features", {"rate": 4, "margin": 2}))
    assert answers(*texts) == list(map(pythons_error, texts))


def test_a_program_of_no_known_role_is_refused(answers):
    document = json.loads(dump_manifest(MANIFEST))
    document["generation"]["programs"]["mixer"] = document["generation"]["programs"]["decoder"]
    text = resealed(document)
    assert answers(text) == [pythons_error(text)]


def test_programs_of_unlike_roles_are_refused(answers):
    document = json.loads(dump_manifest(MANIFEST))
    document["programs"]["encoder"] = {**document["programs"]["decoder"], "file": "encoder.pte"}
    text = resealed(document)
    assert answers(text) == [pythons_error(text)]
    assert place(pythons_error(text)) == "programs"


PROMPTS = [
    "",
    " ",
    "\t\r\n\v\f",
    "\x1c\x1d\x1e\x1f",
    "\x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000",
    "x" * 100_001,
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_golden_prompt_that_python_refuses_is_refused(answers, prompt):
    text = altered("golden.request.prompt", prompt)
    assert answers(text) == [pythons_error(text)]


@pytest.mark.parametrize("prompt", ["a", "\u3000鳥", "\u200b", "🎹" * 100_000])
def test_a_golden_prompt_that_python_takes_is_taken(answers, prompt):
    text = altered("golden.request.prompt", prompt)
    assert parse_manifest(text).golden.request.prompt == prompt
    assert answers(text) == ["ok"]


@pytest.mark.parametrize("seconds", [0, -1, 1e-9, 0.7430839, 0.8, 1e300])
def test_golden_seconds_that_python_refuses_are_refused(answers, seconds):
    text = altered("golden.request.seconds", seconds)
    assert answers(text) == [pythons_error(text)]


def test_windows_that_python_takes_are_taken_and_others_refused(answers):
    assert set(answers(*(python.of_window(*case) for case in WINDOWS))) == {"ok"}
    refused = answers(*(python.of_window(*case) for case in OTHER_WINDOWS))
    assert refused == [pythons_error(python.of_window(*case)) for case in OTHER_WINDOWS]


def test_an_unsealed_edit_is_noticed(answers):
    texts = [dump_manifest(MANIFEST).replace(old, new) for old, new in UNSEALED]
    document = json.loads(dump_manifest(MANIFEST))
    texts.append(json.dumps({key: value for key, value in document.items() if key != "seal"}))
    for text, answer in zip(texts, answers(*texts), strict=True):
        assert answer != "ok", text
        assert place(answer) == place(pythons_error(text)) or "not valid JSON" in answer


@pytest.mark.parametrize("seal", ["", "0" * 64, "q", None, 3, [], {}])
def test_another_seal_is_noticed(answers, seal):
    text = json.dumps(json.loads(dump_manifest(MANIFEST)) | {"seal": seal})
    assert answers(text) == [pythons_error(text)]


def test_what_only_looks_like_the_seal_is_none(answers):
    """The last key of the file is another's, and its value is all of the file that is left."""
    document = json.loads(dump_manifest(MANIFEST))
    del document["seal"]
    texts = [json.dumps({"seal": seal, **document, "toolchain": {"seal": "q"}}) for seal in ('q"}}', "q", 'q"}')]
    for text, answer in zip(texts, answers(*texts), strict=True):
        assert answer == pythons_error(text)


def test_what_is_no_manifest_is_refused(answers):
    texts = [*NO_MANIFEST, BYTE_ORDER_MARKED, "\0", '{"schema_version": 4', "9" * 5000]
    for text, answer in zip(texts, answers(*texts), strict=True):
        assert answer.startswith("manifest.json: ") and pythons_error(text), text[:60]


def test_bytes_that_are_no_text_are_refused_in_words_that_are(answers):
    good = dump_manifest(MANIFEST).encode()
    for answer in answers(
        b"\xff\xfe\x00", b'"\xff', good.replace(b"fp32", b"fp\xe3\x81"), good.replace(b"fp32", b"\0")
    ):
        assert answer.startswith("manifest.json: is not valid JSON (does not go on as JSON at byte ")


@pytest.mark.parametrize("version", [*range(SCHEMA_VERSION), SCHEMA_VERSION + 1, 10**18])
def test_another_version_is_called_that(answers, version):
    text = json.dumps(json.loads(dump_manifest(MANIFEST)) | {"schema_version": version, "novel": 1})
    assert answers(text) == [pythons_error(text)]


def test_a_key_that_would_steer_a_terminal_is_named_in_one_line(answers):
    (answer,) = answers(resealed(json.loads(dump_manifest(MANIFEST)) | {"no\nvel\x1b[2J": 1}))
    assert answer.startswith("manifest.json: no vel [2J: is not a key")


def test_a_missing_file_is_refused_and_the_next_is_still_read(edge_replay, tmp_path):
    good = tmp_path / "manifest.json"
    good.write_text(dump_manifest(MANIFEST))
    lines = edge_replay("manifest", tmp_path / "none", tmp_path, good).stdout.splitlines()
    assert len(lines) == 3 and lines[2] == "ok" and all(line.startswith("cannot read") for line in lines[:2])
