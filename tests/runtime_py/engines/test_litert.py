"""The LiteRT engine on one small program: bound by name, held against its spec, and safe with bad files."""

import dataclasses
import math
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edge_export.backends import Compiled
from edge_export.backends import litert as backend
from edge_export.submodules import Part, Port
from edge_export.submodules.submodule import Named
from quantization.recipes import recipe_for
from runtime_py.engines import litert as engine
from runtime_py.engines.litert import load
from runtime_py.errors import BundleError, GenerationError, MissingDependency
from runtime_py.generation_spec import Interface
from runtime_py.packed_weights import checksum_of
from tests.runtime_py.test_sharing import play_together

pytestmark = pytest.mark.build

SHAPE = (1, 3)


class Mix(nn.Module):
    """Two inputs and two outputs of one shape: only their names tell them apart."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return first - 2 * second, first * second


def ports(*names: str) -> tuple[Port, ...]:
    return tuple(Port(name=name, dtype="float32", shape=SHAPE) for name in names)


def interface_of(compiled: Compiled) -> Interface:
    return Interface(inputs=compiled.inputs, outputs=compiled.outputs)


@pytest.fixture(scope="module")
def mix(tmp_path_factory):
    """The program, its role, and what the manifest would say goes into it and comes out."""
    path = tmp_path_factory.mktemp("engine") / "mix.tflite"
    inputs = ports("zebra", "ant")
    part = Part(name="mix", module=Named(Mix(), ("zebra", "ant")), inputs=inputs, outputs=ports("sum", "product"))
    compiled = backend.compile(part, recipe_for("fp32"), path)
    return path, "mix", interface_of(compiled)


@pytest.fixture
def inputs():
    return {"ant": np.array([[1, 2, 3]], np.float32), "zebra": np.array([[10, 20, 40]], np.float32)}


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A program with weights to pack, as `load` takes it; an input; what comes of it exactly, and of all magnitudes."""
    path = tmp_path_factory.mktemp("linear") / "linear.tflite"
    torch.manual_seed(0)
    layer = nn.Linear(64, 32).requires_grad_(False)
    x, y = (Port(name=name, dtype="float32", shape=(1, size)) for name, size in (("x", 64), ("y", 32)))
    part = Part(name="linear", module=Named(layer, ("x",)), inputs=(x,), outputs=(y,))
    compiled = backend.compile(part, recipe_for("fp32"), path)
    given = torch.randn(1, 64)
    exact = layer.double()(given.double())
    magnitudes = given.double().abs() @ layer.weight.abs().T + layer.bias.abs()
    return (path, "linear", interface_of(compiled)), given.numpy(), exact.numpy(), magnitudes.numpy()


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder that packed weights are kept in, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edge-export" / "weights"


def test_inputs_and_outputs_are_bound_by_name(mix, inputs):
    made = load(*mix).run(inputs)
    assert made["sum"].tolist() == [[8, 16, 34]]
    assert made["product"].tolist() == [[10, 40, 120]]


def test_outputs_are_the_callers_own(mix, inputs):
    program = load(*mix)
    first = program.run(inputs)["sum"]
    program.run({name: array * 0 for name, array in inputs.items()})
    assert first.tolist() == [[8, 16, 34]]


def test_a_program_that_threads_share_gives_what_it_gives_alone(linear):
    (path, role, interface), *_ = linear
    play_together(load(path, role, interface), interface, times=300)


def test_one_thread_or_many_give_the_same(mix, inputs):
    one, many = (load(*mix, threads=threads).run(inputs) for threads in (1, None))
    assert np.array_equal(one["sum"], many["sum"])


def changed(interface: Interface, side: str, **change) -> Interface:
    first, *rest = getattr(interface, side)
    return dataclasses.replace(interface, **{side: (dataclasses.replace(first, **change), *rest)})


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("change", [{"name": "other"}, {"position": 1}, {"dtype": "int32"}, {"shape": (3, 1)}])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(mix, side, change):
    path, role, interface = mix
    with pytest.raises(BundleError, match=f"{side}: .*the manifest says"):
        load(path, role, changed(interface, side, **change))


def test_a_manifest_that_leaves_an_input_out_is_refused(mix):
    path, role, interface = mix
    with pytest.raises(BundleError, match="ant is float32"):
        load(path, role, dataclasses.replace(interface, inputs=interface.inputs[:1]))


@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "text"])
def test_a_file_that_is_no_model_is_refused_in_one_line(mix, tmp_path, damage):
    path, *rest = mix
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
        load(bad, *rest)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(mix, tmp_path):
    with pytest.raises(BundleError, match=r"gone\.tflite"):
        load(tmp_path / "gone.tflite", *mix[1:])


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


def test_a_failure_of_the_runtime_is_told_in_one_line(mix, inputs, monkeypatch):
    def failing(*_):
        raise RuntimeError("node 3 failed to invoke\nand more")

    program = load(*mix)
    monkeypatch.setattr(program, "_model", SimpleNamespace(run_by_name=failing))
    with pytest.raises(GenerationError, match=r"^mix: LiteRT failed: node 3 failed to invoke$"):
        program.run(inputs)


def test_a_missing_runtime_is_told_with_the_way_to_install_it(mix, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingDependency, match=r"edge-export\[litert\]"):
        load(*mix)


def most_error(linear, dtype: type[np.floating]) -> np.ndarray:
    """The most that a linear layer can be off when it is computed in `dtype`, whatever the order of its sums.

    Weights, inputs, products, each sum with the bias among them, and the output are rounded: each value by at most
    its own unit roundoff, and by half of the least number that there is (Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1).
    """
    _, x, _, magnitudes = linear
    roundings, unit = x.size + 4, float(np.finfo(dtype).eps) / 2
    gamma = roundings * unit / (1 - roundings * unit)
    return gamma * magnitudes + roundings * float(np.finfo(dtype).smallest_subnormal) / 2


def plays(linear, **options) -> np.ndarray:
    """Load it and hold what it makes against the layer; returns how far off each value is."""
    program, x, exact, _ = linear
    made = load(*program, **options).run({"x": x})["y"]
    error = np.abs(made - exact)
    dtype = np.float16 if options.get("float16") else np.float32
    assert (error <= most_error(linear, dtype)).all()
    assert root_mean_square(error) <= root_mean_square(most_error(linear, dtype)) / math.sqrt(x.size + 4)
    return error


def root_mean_square(values: np.ndarray) -> float:
    """Of roundings up as often as down, the square of their sum is expected to be the sum of their squares."""
    return float(np.sqrt(np.mean(np.square(values))))


def test_weights_are_packed_once_and_kept(linear, weights):
    plays(linear)
    (kept,) = weights.iterdir()
    before = kept.stat().st_ino
    assert kept.stat().st_size > 4 * 64 * 32
    plays(linear)
    assert [(path, path.stat().st_ino) for path in weights.iterdir()] == [(kept, before)]


def test_packed_weights_that_the_disk_has_altered_are_not_played(linear, weights):
    plays(linear)
    (kept,) = weights.iterdir()
    kept.write_bytes(bytes(kept.stat().st_size))
    plays(linear)
    (again,) = weights.iterdir()
    assert again == kept
    assert any(again.read_bytes())


def test_packed_weights_of_another_kind_under_a_true_checksum_do_not_stop_a_run(linear, weights):
    """As another XNNPACK of the same version would have written them: they are refused, and made each time."""
    plays(linear)
    (kept,) = weights.iterdir()
    kept.unlink()
    other = weights / "other"
    other.write_bytes(b"other")
    other.rename(weights / f"{kept.stem}.{checksum_of(other)}")
    plays(linear)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_disk_too_full_for_packed_weights_does_not_stop_a_run(linear, weights, monkeypatch, noticed):
    given, compiled = [], engine._compiled  # noqa: SLF001

    def full(path, threads, flags, kept_in):
        given.append(kept_in)
        if kept_in is not None:
            kept_in.write_bytes(bytes(8) + b"half of them")
            if noticed:
                raise RuntimeError("no space left")
            return None
        return compiled(path, threads, flags, kept_in)

    monkeypatch.setattr(engine, "_compiled", full)
    plays(linear)
    assert [kept_in is None for kept_in in given] == [False, True]
    assert list(weights.iterdir()) == []


def test_a_limit_on_the_size_of_files_does_not_stop_a_run(linear, weights):
    """XNNPACK would end the process where it cannot write on."""
    script = (
        "import pickle, resource, sys; from runtime_py.engines.litert import load\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "program, x = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(load(*program).run({'x': x})['y'].tobytes())"
    )
    given = pickle.dumps(linear[:2])
    done = subprocess.run([sys.executable, "-c", script], input=given, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    program, x, *_ = linear
    assert done.stdout == load(*program).run({"x": x})["y"].tobytes()


def test_a_place_that_cannot_be_written_does_not_stop_a_run(linear, weights):
    weights.parent.mkdir()
    weights.write_text("a file")
    plays(linear)
    assert weights.read_text() == "a file"


def test_float16_computes_in_float16_and_keeps_nothing(linear, weights):
    """What it gives are numbers of float16, and further off than float32 can be."""
    error = plays(linear, float16=True)
    assert (error > most_error(linear, np.float32)).any()
    program, x, *_ = linear
    made = load(*program, float16=True).run({"x": x})["y"]
    assert np.array_equal(made, made.astype(np.float16))
    assert not weights.exists() or not list(weights.iterdir())


def test_loading_and_running_and_the_end_print_nothing(linear, weights):
    script = (
        "import pickle, sys; from runtime_py.engines.litert import load\n"
        "program, x = pickle.load(sys.stdin.buffer)\n"
        "for _ in range(2): load(*program).run({'x': x})"
    )
    given = pickle.dumps(linear[:2])
    done = subprocess.run([sys.executable, "-c", script], input=given, capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_loading_prints_nothing(mix):
    script = "import sys; from runtime_py.engines.litert import open_model; open_model(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, mix[0]], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")
