"""Programs are opened by the engine of the bundle's backend, as the recipe says, and kept where that is wanted."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runtime_py.bundle import Bundle
from runtime_py.engine import ENGINES, arrange_inputs, bundle_programs, engine_for, kept_loaded, unprepared_programs
from runtime_py.errors import GenerationError, UsageError
from runtime_py.generation_spec import Interface
from runtime_py.loop import collect, generate
from tests.runtime_py.echo import Echo
from tests.runtime_py.test_loop import PROMPT, REQUEST
from tests.runtime_py.test_manifest import MANIFEST, PROGRAMS, SPEC, tensor


def test_a_bundles_programs_are_opened_by_its_engine_and_in_float16_where_the_recipe_says_so(tmp_path, monkeypatch):
    opened = []

    def load(path: Path, role: str, interface: Interface, *, threads: int | None, float16: bool) -> Echo:
        opened.append((path, role, interface, threads, float16))
        return Echo()

    engines = {"executorch": SimpleNamespace(prepare=lambda: opened.append("prepared"), load=load)}
    monkeypatch.setattr("runtime_py.engine.engine_for", engines.__getitem__)
    open_program = bundle_programs(Bundle(folder=tmp_path, manifest=MANIFEST), threads=3)
    assert opened == ["prepared"]
    assert all(isinstance(open_program(stage), Echo) for stage in ("dit", "decoder"))
    assert opened[1:] == [
        (tmp_path / "dit.pte", "dit", PROGRAMS["dit"], 3, False),
        (tmp_path / "decoder.pte", "decoder", PROGRAMS["decoder"], 3, True),
    ]


@pytest.mark.parametrize("backend", ENGINES)
def test_every_engine_can_be_prepared_and_loads(backend):
    engine = engine_for(backend)
    assert callable(engine.prepare) and callable(engine.load)


def test_an_unknown_engine_lists_the_choices():
    with pytest.raises(UsageError, match="no engine called 'onnx'; choose from executorch, litert"):
        engine_for("onnx")


def test_programs_that_are_kept_loaded_are_opened_once():
    opened: list[str] = []

    def open_program(stage: str) -> Echo:
        opened.append(stage)
        return Echo()

    kept = kept_loaded(open_program)
    first, second = (collect(generate(SPEC, kept, REQUEST, PROMPT)) for _ in range(2))
    assert opened == ["conditioner", "dit", "decoder"]
    assert np.array_equal(first.audio, second.audio)
    assert kept("dit") is kept("dit")


def test_programs_that_fail_to_open_are_tried_again():
    fails = [True, False]

    def open_program(stage: str) -> Echo:
        if fails.pop(0):
            raise GenerationError("not yet")
        return Echo()

    kept = kept_loaded(open_program)
    with pytest.raises(GenerationError, match="not yet"):
        kept("dit")
    assert isinstance(kept("dit"), Echo)


# Inputs

PAIR = Interface(
    inputs=(tensor("late", 1, (2, 3)), tensor("early", 0, (3,), "int32")), outputs=(tensor("sum", shape=(2, 3)),)
)
ARRAYS = {"late": np.ones((3, 2), np.float32).T, "early": np.arange(3, dtype=np.int32)}


def test_inputs_are_arranged_in_the_programs_own_order_and_contiguous():
    early, late = arrange_inputs("pair", PAIR, ARRAYS)
    assert (early.dtype, late.shape, late.flags.c_contiguous) == (np.int32, (2, 3), True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"late": np.ones((3, 2), np.float32)}, r"pair: late is float32\[3, 2\], expected float32\[2, 3\]"),
        ({"late": np.ones((2, 3))}, r"pair: late is float64\[2, 3\], expected float32\[2, 3\]"),
        ({"early": np.arange(3)}, r"pair: early is int64\[3\], expected int32\[3\]"),
        ({"more": np.ones(1)}, r"pair: inputs are \['early', 'late'\]; these do not match: \['more'\]"),
    ],
)
def test_inputs_that_are_not_as_recorded_are_refused(changes, message):
    with pytest.raises(GenerationError, match=message):
        arrange_inputs("pair", PAIR, ARRAYS | changes)


def test_a_missing_input_is_named():
    with pytest.raises(GenerationError, match=r"these do not match: \['early'\]"):
        arrange_inputs("pair", PAIR, {"late": ARRAYS["late"]})


@pytest.mark.parametrize("threads", [0, -1, 257, 2.0, True])
def test_threads_that_make_no_sense_are_refused_before_an_engine_is_imported(threads):
    with pytest.raises(UsageError, match=f"threads is {threads}, expected 1 to 256"):
        unprepared_programs(None, threads=threads)
