"""What is refused before any device is looked at, and the run on this machine."""

import pytest


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def play(edge_export, bundle, *options: object):
    return edge_export("device", "run", bundle, *options)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--on", "moon", "--prompt", "a"], 2, "no place called 'moon'; choose from host, qemu[:cpu], adb[:serial],"),
        (["--on", "qemu:", "--prompt", "a"], 2, "nothing follows the colon"),
        (["--on", "qemu:z80", "--prompt", "a"], 2, "choose from qemu:max, qemu:cortex-a76, qemu:cortex-a72"),
        (["--on", "host:1", "--prompt", "a"], 2, "say host"),
        (["--on", "host"], 2, "--prompt is missing"),
        (["--on", "host", "--prompt", " "], 2, "the prompt is empty"),
        (["--on", "host", "--prompt", "🎹" * 40_000], 2, "a command line carries"),
        (["--on", "host", "--prompt", "a", "--seconds", "-1"], 2, "seconds is -1"),
        (["--on", "host", "--prompt", "a", "--seconds", "nan"], 2, "seconds is nan"),
        (["--on", "host", "--prompt", "a", "--steps", "0"], 2, "steps is 0"),
        (["--on", "host", "--prompt", "a", "--seed", "-1"], 2, "seed"),
        (["--on", "host", "--prompt", "a", "--threads", "0"], 2, "threads is 0"),
        (["--on", "host", "--golden", "--seed", "1"], 2, "--golden and --seed exclude each other"),
        (["--on", "host", "--prompt", "a", "--out", "y", "--record", "y"], 2, "name two files"),
    ],
)
def test_what_makes_no_sense_is_refused_first(edge_export, stand_in, bundle, in_tmp_path, options, code, message):
    result = play(edge_export, bundle, *options)
    assert result.code == code
    assert message in result.error


def test_an_altered_bundle_is_refused_here(edge_export, stand_in, copy_of, bundle, phone):
    copy = copy_of(bundle)
    data = bytearray((copy / "dit.pte").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "dit.pte").write_bytes(data)
    result = play(edge_export, copy, "--on", "adb", "--prompt", "a")
    assert result.code == 4
    assert "dit.pte was altered" in result.error
    assert phone.commands == []


def test_outputs_inside_the_bundle_are_refused(edge_export, stand_in, bundle):
    result = play(edge_export, bundle, "--on", "host", "--prompt", "a", "--out", bundle / "x.wav")
    assert result.code == 6


def test_a_bundle_that_no_runner_plays_there_is_refused(edge_export, bundle, monkeypatch):
    from edge_export.device import runners

    monkeypatch.setitem(runners.RUNNERS, "executorch", {"qemu": lambda *_: None})
    result = play(edge_export, bundle, "--on", "host", "--prompt", "a")
    assert result.code == 2
    assert "executorch bundles cannot be played on host yet; take --on qemu" in result.error


def test_the_host_runs_the_runner_where_it_is(edge_export, stand_in, given, bundle, tmp_path):
    wav, record = tmp_path / "x.wav", tmp_path / "run.json"
    result = play(edge_export, bundle, "--on", "host", "--prompt", "a", "--out", wav, "--record", record)
    assert result.code == 0, result.err
    assert record.is_file()
    assert given()["options"]["label"] == "host"
    assert given()["options"]["bundle"] == str(bundle)
    assert wav.is_file()


@pytest.mark.parametrize("flags", [("--normalize",), ("--no-fade", "--no-tags"), ("--normalize", "--no-tags")])
def test_how_the_sound_is_finished_reaches_the_runner(edge_export, stand_in, given, bundle, flags):
    assert play(edge_export, bundle, "--on", "host", "--prompt", "a", *flags).code == 0
    passed = {"normalize", "no-fade", "no-tags"} & given()["options"].keys()
    assert passed == {flag.removeprefix("--") for flag in flags}


def test_a_drawn_seed_reaches_the_runner_and_is_said(edge_export, stand_in, given, bundle):
    seeds = set()
    for _ in range(2):
        result = play(edge_export, bundle, "--on", "host", "--prompt", "a", "--seed", "random")
        assert result.code == 0
        seed = given()["options"]["seed"]
        assert f"seed {seed} was drawn: --seed {seed} gives this sound again" in result.err
        seeds.add(int(seed))
    assert len(seeds) == 2
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("out", ["x.flac", "x"])
def test_a_runner_writes_wavs_alone(edge_export, stand_in, bundle, in_tmp_path, out):
    result = play(edge_export, bundle, "--on", "host", "--prompt", "a", "--out", out)
    assert (result.code, f"{out} names no kind of sound file: end it in .wav" in result.error) == (2, True)


def test_a_runner_that_is_killed_on_the_host_is_reported_by_its_signal(edge_export, stand_in, bundle, monkeypatch):
    monkeypatch.setenv("STAND_IN_RUNNER", "SIGKILL")
    result = play(edge_export, bundle, "--on", "host", "--prompt", "a")
    assert result.code == 11
    assert "want of memory" in result.error
