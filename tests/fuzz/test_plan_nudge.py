"""The planned examples, the remembered ones, and inputs moved by a rounding error."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis.database import InMemoryExampleDatabase

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.fuzz.draw import climb
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.fuzz.nudge import STEPS, nudged
from pytest_onnxprep.fuzz.plan import Failures, corner_examples
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

SIGNATURE = Signature(
    {"x": TensorSpec("float32", "batch, 4"), "i": TensorSpec("int64", "batch", low=0, high=4)}, None, {}
)


def test_corners_have_plain_values_and_every_recipe_occurs():
    """A size's fault shows with plain values; a recipe's at the traced sizes."""
    maker = Maker(SIGNATURE)
    examples = corner_examples(maker)
    traced = SIGNATURE.trace_sizes()

    for name, kinds in maker.recipes.items():
        assert {example.recipes[name] for example in examples} == set(kinds)
    assert all(example.sizes == traced for example in examples if example.recipes["x"] != maker.recipes["x"][0])
    assert {1, 8} <= {example.sizes["batch"] for example in examples}


@pytest.fixture
def database():
    """A profile with a database of its own."""
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile("kept", database=InMemoryExampleDatabase())
    hypothesis.settings.load_profile("kept")
    yield
    hypothesis.settings.load_profile(before)


@pytest.mark.usefixtures("database")
def test_failures_are_remembered_per_test_and_forgotten():
    """What failed comes first next time, until it passes."""
    maker = Maker(SIGNATURE)
    example = Example({"batch": 3}, {"x": "normal", "i": "ends"}, 7)
    Failures("test_a").remember(example)

    assert Failures("test_a").examples(maker) == [example]
    assert Failures("test_b").examples(maker) == []

    Failures("test_a").forget(example)
    assert Failures("test_a").examples(maker) == []


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    "changed",
    [
        Signature({**SIGNATURE.inputs, "more": TensorSpec("float32", "batch")}, None, {}),
        Signature(SIGNATURE.inputs, None, {"batch": Dim(4, 8)}),
        Signature({**SIGNATURE.inputs, "i": TensorSpec("float32", "batch")}, None, {}),
    ],
    ids=["an input more", "another range", "another recipe"],
)
def test_what_no_longer_fits_is_left_out(changed):
    """The declaration may change between two runs."""
    Failures("test").remember(Example({"batch": 3}, {"x": "normal", "i": "ends"}, 7))

    assert Failures("test").examples(Maker(changed)) == []


def test_nudges_are_rounding_sized_and_stay_in_range():
    """Floats move by a few epsilons at most, never out of their range; integers stay."""
    signature = Signature({"x": TensorSpec("float32", (5,), low=0, high=1), "i": TensorSpec("int64", (2,))}, None, {})
    feeds = {"x": np.array([0, 0.25, 0.5, 0.75, 1], np.float32), "i": np.array([1, 2])}
    moved = list(nudged(feeds, signature))

    assert len(moved) == len(STEPS)
    for other in moved:
        assert other["x"].dtype == np.float32
        assert other["x"].max() <= 1
        assert np.allclose(other["x"], feeds["x"], rtol=20 * 2.0**-23, atol=0)
        assert other["i"] is feeds["i"]
    assert any((other["x"] != feeds["x"]).any() for other in moved)


def test_without_floats_there_is_nothing_to_nudge():
    """Token ids have no rounding error."""
    assert list(nudged({"i": np.array([1])}, Signature({"i": TensorSpec("int64", (1,))}, None, {}))) == []


def test_climbing_finds_larger_errors():
    """Hypothesis is told the error and goes where it is larger."""
    maker = Maker(Signature({"x": TensorSpec("float32", "n")}, None, {"n": Dim(1, 100_000)}))
    seen = []

    def score(example):
        seen.append(example.sizes["n"])
        return float(example.sizes["n"])

    climb(maker, 200, score)

    assert len(seen) <= 400
    assert max(seen) > 90_000


def test_absurd_sizes_are_refused_before_an_array_is_made():
    """The message names the input, its sizes and what to narrow."""
    signature = Signature({"x": TensorSpec("float32", "n, 1000000")}, dims={"n": Dim(1, 10**9)})
    maker = Maker(signature)

    with pytest.raises(OnnxPrepError, match=r"input 'x' would hold 1e\+15 elements at .*narrow the ranges in dims="):
        maker.feeds(maker.plain({"n": 10**9}))
