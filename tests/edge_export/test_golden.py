"""Golden vectors are what the reference makes of the request, the whole clip, stage by stage."""

import numpy as np
import pytest

from edge_export.golden import record_golden, write_golden
from runtime_py.golden import layout
from runtime_py.loop import collect, generate
from runtime_py.request import Request
from runtime_py.safetensors import read_safetensors
from tests.runtime_py.echo import Echo
from tests.runtime_py.test_loop import PROMPT, of_window
from tests.runtime_py.test_manifest import SPEC

REQUEST = Request(prompt="birds", seconds=0.5, seed=3, steps=3)


@pytest.fixture
def golden() -> dict[str, np.ndarray]:
    return record_golden(SPEC, lambda _: Echo(), REQUEST, PROMPT)


def test_they_are_laid_out_as_every_reader_expects(golden):
    expected = layout(SPEC, steps=3, samples=SPEC.latent.samples)
    assert {name: (array.dtype.name, array.shape) for name, array in golden.items()} == expected


def test_they_are_what_a_run_of_the_request_takes_and_makes(golden):
    events = list(generate(SPEC, lambda _: Echo(), REQUEST, PROMPT))
    steps = [event.tensors for event in events if event.stage == "dit"]
    for index, step in enumerate(steps):
        assert np.array_equal(golden["step_latent"][index], step["latent"][0])
        assert np.array_equal(golden["step_velocity"][index], step["velocity"][0])
    assert np.array_equal(golden["latent"], steps[-1]["clean"])
    assert np.array_equal(golden["noise"][0], steps[0]["latent"][0])
    assert np.array_equal(golden["seconds"], np.array([0.5], np.float32))
    audio = collect(events).audio
    assert np.array_equal(golden["audio"][:, : audio.shape[1]], audio)


def test_the_whole_clip_is_decoded_at_once_whatever_the_programs_window():
    spec, decoder = of_window(40, 12, 3), Echo(hop=4)
    request = Request(prompt="birds", seconds=40, seed=3)
    made = record_golden(spec, lambda role: decoder if role == "decoder" else Echo(), request, PROMPT)
    assert [inputs["latent"].shape for inputs in decoder.seen] == [(1, 64, 40)]
    assert made["audio"].shape == (2, 160)


def test_they_are_read_as_they_were_written(golden, tmp_path):
    path = tmp_path / "golden.safetensors"
    write_golden(golden | {"step_latent": golden["step_latent"][..., ::-1]}, path)
    read = read_safetensors(path)
    assert read.keys() == golden.keys()
    assert np.array_equal(read["step_latent"], golden["step_latent"][..., ::-1])
    assert np.array_equal(read["audio"], golden["audio"])
