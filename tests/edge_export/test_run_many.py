"""`edge-export run` with many prompts, drawn seeds, and other formats than WAV; on a committed bundle."""

import io
import json
import sys

import numpy as np
import pytest
import soundfile

from edge_export.errors import UsageError
from edge_export.prompts import MAX_BYTES, read_prompts
from runtime_py.tags import read_tags
from tests.fixtures.make_bundles import FOLDER

BUNDLE = FOLDER / "fp32" / "bundle"
SHORT = ("--seconds", 0.2, "--steps", 1)


def test_all_prompts_of_a_file_are_played_with_the_command_lines_defaults(edge_export, tmp_path):
    (tmp_path / "p").write_text('{"prompt": "rain", "seed": 3}\n{"prompt": "birds", "seconds": 0.1, "steps": 2}\n\n')
    result = edge_export("run", BUNDLE, "--prompts", tmp_path / "p", *SHORT, "--out", tmp_path / "x.wav", "--json")
    assert result.code == 0
    assert [record["prompt"] for record in json.loads(result.out)] == ["rain", "birds"]
    made = [read_tags(tmp_path / f"x-{clip}.wav").request for clip in (1, 2)]
    assert [(one.prompt, one.seconds, one.seed, one.steps) for one in made] == [
        ("rain", 0.2, 3, 1),
        ("birds", 0.1, 0, 2),
    ]


def test_prompts_come_from_standard_input_too(edge_export, monkeypatch, tmp_path):
    words = ("run", BUNDLE, "--prompts", "-", *SHORT, "--out", tmp_path / "x.wav")
    for data, code in ((b'{"prompt": "rain"}\n{"prompt": "birds"}\n', 0), (b'{"prompt": "rain"}\nbirds', 2)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        result = edge_export(*words)
        assert result.code == code
    assert "-, line 2 is no JSON" in result.error
    assert [read_tags(tmp_path / f"x-{clip}.wav").request.prompt for clip in (1, 2)] == ["rain", "birds"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds 0 lines, expected 1 to 1000"),
        (b'{"prompt": "a"}\n\n{"prompt": "b"}', "line 2 is empty"),
        (b'{"prompt": "a"}\n{"promt": "b"}', "line 2: promt: is not a key"),
        (b"{}", "line 1: prompt: is missing"),
        (b'{"prompt": 1}', "line 1: prompt: expected str, found int"),
        (b'{"prompt": "a", "seed": 1.5}', "line 1: seed: expected int, found float"),
        (b"rain", "line 1 is no JSON"),
        (b'{"prompt": "\xff"}', "line 1 is not UTF-8"),
        (b" " * (MAX_BYTES + 1), "is larger than 16 MiB"),
        (b'{"prompt": "a"}\n' * 1001, "holds 1001 lines"),
    ],
)
def test_prompts_that_are_none_are_refused_with_their_line(tmp_path, data, message):
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(UsageError) as refusal:
        read_prompts(tmp_path / "p")
    assert message in str(refusal.value)


def test_a_line_the_model_cannot_play_is_refused_before_the_first(edge_export, tmp_path):
    (tmp_path / "p").write_text('{"prompt": "rain"}\n{"prompt": "birds", "seconds": 99}\n')
    result = edge_export("run", BUNDLE, "--prompts", tmp_path / "p", *SHORT, "--out", tmp_path / "x.wav")
    assert result.code == 2
    assert "line 2: seconds is 99, this model makes at most 1.207" in result.error
    assert not list(tmp_path.glob("*.wav"))


def test_a_drawn_seed_is_said_and_gives_its_sound_again(edge_export, tmp_path):
    words = ("run", BUNDLE, "--prompt", "a qzx rain", *SHORT)
    drawn = edge_export(*words, "--seed", "random", "--out", tmp_path / "a.wav")
    seed = read_tags(tmp_path / "a.wav").request.seed
    assert f"seed {seed} was drawn" in drawn.err
    assert "words that the model has to spell out: 'qzx'" in drawn.err
    edge_export(*words, "--seed", seed, "--out", tmp_path / "b.wav")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_flac_holds_the_wavs_samples_and_the_others_play(edge_export, tmp_path):
    for ending in ("wav", "flac", "ogg", "mp3"):
        out = tmp_path / f"a.{ending}"
        assert edge_export("run", BUNDLE, "--prompt", "rain", *SHORT, "--out", out).code == 0
        with soundfile.SoundFile(out) as file:
            assert (file.title, json.loads(file.comment)["request"]["prompt"]) == ("rain", "rain")
    wav, flac = (soundfile.read(tmp_path / f"a.{ending}", dtype="int16")[0] for ending in ("wav", "flac"))
    assert np.array_equal(wav, flac)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("a.aac", (), "end it in .wav, .flac, .ogg or .mp3"),
        ("a", (), "end it in .wav, .flac, .ogg or .mp3"),
        ("a.mp3", ("--float",), "cannot hold 32-bit floats"),
    ],
)
def test_a_name_that_is_no_sound_is_refused(edge_export, tmp_path, name, more, message):
    result = edge_export("run", BUNDLE, "--prompt", "rain", *SHORT, "--out", tmp_path / name, *more)
    assert (result.code, message in result.error) == (2, True)
    assert not list(tmp_path.iterdir())


def test_other_formats_need_soundfile_and_wavs_do_not(edge_export, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for ending in ("flac", "ogg", "mp3"):
        result = edge_export("run", BUNDLE, "--prompt", "rain", *SHORT, "--out", tmp_path / f"a.{ending}")
        assert result.code == 8
        assert "needs soundfile: pip install 'edge-export[audio]', or end it in .wav" in result.error
        assert "dit" not in result.err
    assert not list(tmp_path.iterdir())
    assert edge_export("run", BUNDLE, "--prompt", "rain", *SHORT, "--out", tmp_path / "a.wav").code == 0
