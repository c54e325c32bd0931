"""The ExecuTorch engine holds programs and inputs against the manifest, and gives outputs away for good."""

import dataclasses
import gc
from pathlib import Path

import numpy as np
import pytest

from runtime_py.engines import executorch
from runtime_py.errors import BundleError, GenerationError
from runtime_py.generation_spec import Interface, TensorSpec

pytestmark = pytest.mark.build

FLOAT32, INT32 = "float32", "int32"


def tensor(name: str, position: int, shape: tuple[int, ...], dtype: str = FLOAT32) -> TensorSpec:
    return TensorSpec(name=name, position=position, dtype=dtype, shape=shape)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> tuple[Path, str, Interface]:
    """a - b, c + 1: the manifest lists the inputs in another order than the program takes them."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    class Small(torch.nn.Module):
        def forward(self, a, b, c):
            return a - b, c + 1

    example = (torch.ones(2, 3), torch.ones(2, 3), torch.ones(4, dtype=torch.int32))
    exported = torch.export.export(Small(), example)
    path = tmp_path_factory.mktemp("program") / "small.pte"
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)
    interface = Interface(
        inputs=(tensor("c", 2, (4,), INT32), tensor("b", 1, (2, 3)), tensor("a", 0, (2, 3))),
        outputs=(tensor("next", 1, (4,), INT32), tensor("difference", 0, (2, 3))),
    )
    return path, "small", interface


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "a": generator.standard_normal((2, 3), dtype=np.float32),
        "b": generator.standard_normal((2, 3), dtype=np.float32),
        "c": np.arange(4, dtype=np.int32),
    }


def changed(specs: tuple[TensorSpec, ...], name: str, **changes: object) -> tuple[TensorSpec, ...]:
    return tuple(dataclasses.replace(spec, **changes) if spec.name == name else spec for spec in specs)


def test_inputs_and_outputs_are_bound_by_name(program, inputs):
    made = executorch.load(*program).run(inputs)
    assert list(made) == ["next", "difference"]
    assert np.array_equal(made["difference"], inputs["a"] - inputs["b"])
    assert np.array_equal(made["next"], [1, 2, 3, 4])


def test_inputs_that_are_not_contiguous_are_read_as_they_look(program, inputs):
    turned = inputs | {"a": np.asfortranarray(inputs["a"]), "b": inputs["b"][::-1, ::-1]}
    made = executorch.load(*program).run(turned)
    assert np.array_equal(made["difference"], turned["a"] - turned["b"])


def test_outputs_are_the_callers_own(program, inputs):
    loaded = executorch.load(*program)
    first = loaded.run(inputs)
    kept = {name: array.copy() for name, array in first.items()}
    second = loaded.run(inputs | {"a": inputs["a"] + 5, "c": inputs["c"] + 5})
    assert all(np.array_equal(first[name], array) for name, array in kept.items())
    assert not any(np.array_equal(second[name], array) for name, array in kept.items())
    first["difference"][:] = 0
    assert np.array_equal(loaded.run(inputs)["difference"], kept["difference"])


def test_what_is_given_is_not_changed(program, inputs):
    kept = {name: array.copy() for name, array in inputs.items()}
    executorch.load(*program).run(inputs)
    assert all(np.array_equal(inputs[name], array) for name, array in kept.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": np.ones((3, 2), np.float32)}, r"small: a is float32\[3, 2\], expected float32\[2, 3\]"),
        ({"a": np.ones(6, np.float32)}, r"small: a is float32\[6\], expected"),
        ({"a": np.ones((2, 3))}, r"small: a is float64\[2, 3\], expected float32\[2, 3\]"),
        ({"c": np.ones(4, np.int64)}, r"small: c is int64\[4\], expected int32\[4\]"),
        ({"d": np.ones(4, np.int32)}, r"small: inputs are .*these do not match: \['d'\]"),
    ],
    ids=["shape", "rank", "float64", "int64", "unknown"],
)
def test_inputs_that_are_not_as_recorded_are_refused(program, inputs, changes, message):
    with pytest.raises(GenerationError, match=message):
        executorch.load(*program).run(inputs | changes)


def test_a_missing_input_is_refused(program, inputs):
    del inputs["b"]
    with pytest.raises(GenerationError, match=r"these do not match: \['b'\]"):
        executorch.load(*program).run(inputs)


@pytest.mark.parametrize(
    "lie",
    [
        lambda spec: {"inputs": changed(spec.inputs, "a", shape=(3, 2))},
        lambda spec: {"inputs": changed(spec.inputs, "c", dtype="int64")},
        lambda spec: {"inputs": spec.inputs[:2]},
        lambda spec: {"inputs": (*spec.inputs, tensor("d", 3, (1,)))},
        lambda spec: {"inputs": changed(changed(spec.inputs, "a", position=2), "c", position=0)},
        lambda spec: {"outputs": changed(spec.outputs, "difference", shape=(2, 4))},
        lambda spec: {"outputs": spec.outputs[1:]},
    ],
    ids=["shape", "dtype", "one less", "one more", "swapped", "output", "output less"],
)
def test_a_manifest_that_says_otherwise_is_refused_at_load(program, lie):
    path, role, interface = program
    with pytest.raises(BundleError, match=r"small\.pte: its (inputs|outputs) are .*the manifest says") as caught:
        executorch.load(path, role, dataclasses.replace(interface, **lie(interface)))
    assert "\n" not in str(caught.value)


# The last holds no UTF-8 where a program's identifier stands, at which the bindings end the process.
@pytest.mark.parametrize("data", [b"", b"\x7f" * 4096, b"not a program", b"\x00\x00\x00\x00\xba\xab" * 100])
def test_a_file_that_is_no_program_is_refused(program, tmp_path, data):
    path = tmp_path / "small.pte"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="is no program for ExecuTorch"):
        executorch.load(path, *program[1:])


def test_a_program_cut_short_is_refused(program, tmp_path):
    path = tmp_path / "small.pte"
    path.write_bytes(program[0].read_bytes()[:-100])
    with pytest.raises(BundleError, match="is no program for ExecuTorch"):
        executorch.load(path, *program[1:])


def test_a_program_without_the_method_is_refused(program, tmp_path):
    import torch
    from executorch.exir import to_edge

    exported = torch.export.export(torch.nn.ReLU(), (torch.ones(2),))
    path = tmp_path / "small.pte"
    path.write_bytes(to_edge({"other": exported}).to_executorch().buffer)
    with pytest.raises(BundleError, match=r"small\.pte has no method 'forward'; rebuild"):
        executorch.load(path, *program[1:])


def test_a_file_that_cannot_be_read_is_told(program, tmp_path):
    with pytest.raises(BundleError, match=r"cannot read .*missing\.pte: No such file"):
        executorch.load(tmp_path / "missing.pte", *program[1:])


def test_the_number_of_threads_is_set(program, inputs):
    from executorch.extension.pybindings import portable_lib

    before = portable_lib._threadpool_get_thread_count()
    try:
        for threads in (1, 2):
            made = executorch.load(*program, threads=threads).run(inputs)
            assert portable_lib._threadpool_get_thread_count() == threads
            assert np.array_equal(made["difference"], inputs["a"] - inputs["b"])
    finally:
        gc.collect()
        portable_lib._unsafe_reset_threadpool(before)


def test_threads_by_default_are_the_fast_cores_and_under_loaded_programs_those_they_have(program, monkeypatch):
    from executorch.extension.pybindings import portable_lib

    before = portable_lib._threadpool_get_thread_count()
    monkeypatch.setattr(executorch, "fast_cores", lambda: before + 1)
    try:
        held = [executorch.load(*program)]
        assert portable_lib._threadpool_get_thread_count() == before + 1
        monkeypatch.setattr(executorch, "fast_cores", lambda: before)
        held.append(executorch.load(*program))
        assert portable_lib._threadpool_get_thread_count() == before + 1
    finally:
        held.clear()
        gc.collect()
        portable_lib._unsafe_reset_threadpool(before)


def test_the_pool_of_threads_is_not_made_anew_under_a_loaded_program(program, inputs):
    """It would take the process with it, at the program's next run."""
    from executorch.extension.pybindings import portable_lib

    before = portable_lib._threadpool_get_thread_count()
    held = executorch.load(*program)
    with pytest.raises(GenerationError, match=f"threads is {before + 1}, .* use it with {before};"):
        executorch.load(*program, threads=before + 1)
    assert np.array_equal(held.run(inputs)["difference"], inputs["a"] - inputs["b"])
    executorch.load(*program, threads=before)
