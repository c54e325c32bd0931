"""C++ refuses the manifests that Python refuses, in the same words, and reads the ones that Python reads."""

import json

import pytest

from runtime_py.manifest import ManifestError, dump_manifest, parse_manifest
from tests.runtime_py import test_manifest as python
from tests.runtime_py.test_manifest import MANIFEST, altered

BROKEN = next(
    mark.args[1]
    for mark in python.test_a_broken_contract_is_refused_with_its_path.pytestmark
    if mark.name == "parametrize"
)


def test_a_sound_manifest_is_read(replay, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(dump_manifest(MANIFEST))
    assert replay("manifest", path).stdout == "ok\n"


def test_a_broken_contract_is_refused_with_the_same_path(replay, tmp_path):
    texts = [altered(path, value) for path, value, _ in BROKEN]
    lines = refused(replay, tmp_path, texts)
    differ = {}
    for (place, value, _), text, line in zip(BROKEN, texts, lines):
        with pytest.raises(ManifestError) as error:
            parse_manifest(text)
        if where(line) != where(str(error.value)):
            differ[f"{place}={value!r}"] = line, str(error.value)
    assert differ == {}


def where(line: str) -> str:
    """The place in the document that a message begins with."""
    return line.removeprefix("manifest.json: ").split(": ")[0]


def refused(replay, folder, texts: list[str]) -> list[str]:
    paths = [folder / f"{index}.json" for index in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_text(text)
    done = replay("manifest", *paths)
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (1, len(texts))
    assert "ok" not in lines
    return lines


def test_an_altered_manifest_is_refused(replay, tmp_path):
    text = dump_manifest(MANIFEST)
    swapped = json.loads(text)
    for spec, position in zip(swapped["programs"][0]["inputs"], (1, 0)):
        spec["position"] = position
    changes = [("44100", "48000"), ('"steps": 2', '"steps": 3'), ("\n}", "\n }"), ("0.880", "0.881")]
    texts = [text.replace(old, new) for old, new in changes]
    texts.append(json.dumps(swapped, indent=2, ensure_ascii=False) + "\n")
    assert all(each != text for each in texts)
    lines = refused(replay, tmp_path, texts)
    assert all("seal: is not that of this file" in line or "sampler.sigmas" in line for line in lines)


def test_what_is_no_manifest_is_refused(replay, tmp_path):
    refused(replay, tmp_path, ["", "[]", "null", "{", '{"schema_version": NaN}', "[" * 100_000, '{"a": 1, "a": 2}'])


def test_the_fuzzers_start_from_files_that_are_sound(replay):
    from runtime_native import SOURCES

    seeds = SOURCES / "tests" / "seeds"
    assert replay("manifest", *(seeds / "manifest").iterdir()).stdout == "ok\n"
    assert replay("tokenizer", *(seeds / "tokenizer").iterdir()).stdout == "ok\n"
