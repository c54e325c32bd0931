"""The LiteRT engine on one small program: bound by name, held against its spec, and safe with bad files."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from edge_export.backends import litert as backend
from edge_export.submodules import Part, Port
from edge_export.submodules.submodule import Named
from quantization.recipes import recipe_for
from runtime_py.engines.litert import load
from runtime_py.errors import BundleError, GenerationError, MissingDependency
from runtime_py.manifest import ProgramSpec

SHAPE = (1, 3)


class Mix(nn.Module):
    """Two inputs and two outputs of one shape: only their names tell them apart."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return first - 2 * second, first * second


def ports(*names: str) -> tuple[Port, ...]:
    return tuple(Port(name=name, dtype="float32", shape=SHAPE) for name in names)


@pytest.fixture(scope="module")
def mix(tmp_path_factory):
    """The program, and what the manifest would say of it."""
    path = tmp_path_factory.mktemp("engine") / "mix.tflite"
    inputs = ports("zebra", "ant")
    part = Part(name="mix", module=Named(Mix(), ("zebra", "ant")), inputs=inputs, outputs=ports("sum", "product"))
    compiled = backend.compile(part, recipe_for("fp32"), path)
    return path, ProgramSpec(name="mix", file=path.name, sha256="", bytes=0, **vars(compiled))


@pytest.fixture
def inputs():
    return {"ant": np.array([[1, 2, 3]], np.float32), "zebra": np.array([[10, 20, 40]], np.float32)}


def test_inputs_and_outputs_are_bound_by_name(mix, inputs):
    made = load(*mix).run(inputs)
    assert made["sum"].tolist() == [[8, 16, 34]]
    assert made["product"].tolist() == [[10, 40, 120]]


def test_outputs_are_the_callers_own(mix, inputs):
    program = load(*mix)
    first = program.run(inputs)["sum"]
    program.run({name: array * 0 for name, array in inputs.items()})
    assert first.tolist() == [[8, 16, 34]]


def test_one_thread_or_many_give_the_same(mix, inputs):
    one, many = (load(*mix, threads=threads).run(inputs) for threads in (1, None))
    assert np.array_equal(one["sum"], many["sum"])


def changed(spec: ProgramSpec, side: str, **change) -> ProgramSpec:
    first, *rest = getattr(spec, side)
    return dataclasses.replace(spec, **{side: (dataclasses.replace(first, **change), *rest)})


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("change", [{"name": "other"}, {"position": 1}, {"dtype": "int32"}, {"shape": (3, 1)}])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(mix, side, change):
    path, spec = mix
    with pytest.raises(BundleError, match=f"{side}: .*the manifest says"):
        load(path, changed(spec, side, **change))


def test_a_manifest_that_leaves_an_input_out_is_refused(mix):
    path, spec = mix
    with pytest.raises(BundleError, match="ant is float32"):
        load(path, dataclasses.replace(spec, inputs=spec.inputs[:1]))


@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "text"])
def test_a_file_that_is_no_model_is_refused_in_one_line(mix, tmp_path, damage):
    path, spec = mix
    whole = path.read_bytes()
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(
        {
            "empty": b"",
            "garbage": np.random.default_rng(0).bytes(4096),
            "truncated": whole[: len(whole) // 2],
            "text": b"version https://git-lfs.github.com/spec/v1\n",
        }[damage]
    )
    with pytest.raises(BundleError, match="is no LiteRT model") as caught:
        load(bad, spec)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(mix, tmp_path):
    with pytest.raises(BundleError, match=r"gone\.tflite"):
        load(tmp_path / "gone.tflite", mix[1])


def test_inputs_of_another_name_shape_or_dtype_are_refused(mix, inputs):
    program = load(*mix)
    for wrong in (
        {"ant": inputs["ant"]},
        inputs | {"bee": inputs["ant"]},
        inputs | {"ant": inputs["ant"].T},
        inputs | {"ant": inputs["ant"].astype(np.float64)},
    ):
        with pytest.raises(GenerationError, match="mix"):
            program.run(wrong)


def test_a_failure_of_the_runtime_is_told_in_one_line(mix, inputs):
    def failing(**_):
        raise RuntimeError("node 3 failed to invoke\nand more")

    program = load(*mix)
    program._signature = failing
    with pytest.raises(GenerationError, match=r"^mix: LiteRT failed: node 3 failed to invoke$"):
        program.run(inputs)


def test_a_missing_runtime_is_told_with_the_way_to_install_it(mix, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingDependency, match=r"edge-export\[litert\]"):
        load(*mix)


def test_loading_prints_nothing(mix):
    script = "import sys; from runtime_py.engines.litert import open_model; open_model(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, mix[0]], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")
