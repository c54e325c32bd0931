"""What the loop needs of a model, by itself; what breaks it is in test_manifest."""

import dataclasses

import numpy as np
import pytest

from runtime_py.errors import UsageError
from runtime_py.generation_spec import Interface, TensorSpec
from runtime_py.schema import SchemaError
from tests.runtime_py.test_manifest import PROGRAMS, SPEC, tensor


def test_lengths_follow_from_the_latent():
    assert (SPEC.latent.channels, SPEC.latent.length, SPEC.latent.samples, SPEC.window) == (64, 16, 32768, 16)
    assert SPEC.seconds_limit == pytest.approx(32768 / 44100)


def test_the_recorded_sigmas_are_the_bundles_own_steps():
    assert SPEC.sampler.steps == 2
    for steps in (None, 2):
        schedule = SPEC.sampler.schedule(steps)
        assert schedule.dtype == np.float32
        assert np.array_equal(schedule, np.array(SPEC.sampler.sigmas, np.float32))


def test_other_step_counts_use_the_same_range_of_logsnr():
    schedule = SPEC.sampler.schedule(8)
    assert len(schedule) == 9
    assert schedule[1] == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-6)
    other = dataclasses.replace(SPEC.sampler, parameters={"logsnr_low": -4.0, "logsnr_high": 4.0})
    assert other.schedule(4)[1] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_that_make_no_sense_are_refused(steps):
    with pytest.raises(UsageError, match=f"^steps is {steps}, expected 1 to 1000"):
        SPEC.sampler.schedule(steps)


def test_a_tensor_is_found_by_its_program_side_and_name():
    assert SPEC.tensor("dit", "inputs", "sigma") == PROGRAMS["dit"].inputs[1]
    with pytest.raises(SchemaError, match=r"^generation\.programs\.dit\.outputs: has no 'sigma'$"):
        SPEC.tensor("dit", "outputs", "sigma")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ""}, "x.name: is empty"),
        ({"dtype": "float64"}, "x.dtype: 'float64' is none of float32, float16, int32, int64"),
        ({"position": -1}, "x.position: is negative"),
        ({"shape": (2, 0)}, "x.shape: has a size below 1"),
        ({"shape": (1 << 16, 1 << 16)}, "x.shape: is too large to be true"),
    ],
)
def test_a_tensor_checks_itself(changes, problem):
    spec: TensorSpec = dataclasses.replace(tensor("a"), **changes)
    with pytest.raises(SchemaError) as caught:
        spec.validate("x")
    assert str(caught.value) == problem


def test_a_scalar_is_a_tensor():
    tensor("a", shape=()).validate("x")


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize(
    ("specs", "problem"),
    [
        ((), "is empty"),
        ((tensor("a"), tensor("a", 1)), "names a tensor twice"),
        ((tensor("a"), tensor("b", 2)), "positions are not 0, 1, 2, ... each once"),
        ((tensor("a", 1),), "positions are not 0, 1, 2, ... each once"),
    ],
)
def test_an_interface_checks_itself(side, specs, problem):
    interface = dataclasses.replace(Interface(inputs=(tensor("a"),), outputs=(tensor("b"),)), **{side: specs})
    with pytest.raises(SchemaError) as caught:
        interface.validate("x")
    assert str(caught.value) == f"x.{side}: {problem}"
