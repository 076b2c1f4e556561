"""All outputs of an example, and whole-tensor metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_onnxprep.compare.metrics import METRICS, cosine, psnr_db, sqnr_db, top1, top5
from pytest_onnxprep.compare.outputs import Rule, compare_outputs
from pytest_onnxprep.spec.tolerance import Tolerance

ONES = {"a": np.ones(3, "f"), "b": np.ones(3, "f")}
VECTORS = hnp.arrays("float64", 6, elements=st.floats(-100, 100, width=32))


def off(**by):
    """Outputs that are off by so much."""
    return {name: array + np.float32(by.get(name, 0)) for name, array in ONES.items()}


def test_equal_outputs_pass():
    """Nothing to tell."""
    assert compare_outputs(ONES, off(), Rule()).passed


def test_a_missing_output_fails():
    """An output the file lacks is named, with those it has."""
    found = compare_outputs(ONES, {"a": ONES["a"], "c": ONES["b"]}, Rule())

    assert not found.passed
    assert (found.worst.output, found.worst.kind) == ("b", "missing")
    assert "a, c" in found.worst.what


def test_outputs_are_compared_by_name_not_by_place():
    """The order of a mapping says nothing."""
    want = {"a": np.float32([1]), "b": np.float32([2])}

    assert compare_outputs(want, dict(reversed(want.items())), Rule()).passed


def test_the_worst_output_is_one_that_fails():
    """A large error within its own tolerance is not the one to talk about."""
    rule = Rule(Tolerance(1e-3), {"a": Tolerance(10)})
    found = compare_outputs(ONES, off(a=5, b=0.1), rule)

    assert (found.passed, found.worst.output) == (False, "b")


def test_each_output_may_have_its_own_tolerance():
    """per_output beats the common tolerance, in both directions."""
    rule = Rule(Tolerance(1), {"b": Tolerance(1e-3)})

    assert compare_outputs(ONES, off(a=0.5), rule).passed
    assert not compare_outputs(ONES, off(b=0.5), rule).passed


def test_only_some_outputs():
    """Outputs that are not selected are not compared."""
    assert compare_outputs(ONES, off(b=9), Rule(only=("a",))).passed
    assert not compare_outputs(ONES, off(a=9), Rule(only=("a",))).passed


def test_a_metric_replaces_a_derived_tolerance():
    """With a metric and no numbers the metric decides."""
    good, bad = Rule(minimums={"cosine": 0.99}), Rule(minimums={"sqnr_db": 60})

    assert compare_outputs(ONES, off(a=0.01), good).passed
    found = compare_outputs(ONES, off(a=0.01), bad)
    assert not found.passed
    assert (found.misses[0].output, found.misses[0].metric) == ("a", "sqnr_db")
    assert found.metrics["sqnr_db"] == pytest.approx(40, abs=0.1)


def test_a_metric_stands_beside_given_numbers():
    """With numbers both must hold."""
    rule = Rule(Tolerance(1e-3), minimums={"cosine": 0.5})

    assert not compare_outputs(ONES, off(a=0.01), rule).passed


@pytest.mark.parametrize("metric", METRICS)
def test_nan_is_no_agreement_by_any_metric(metric):
    """A NaN where the framework has a number fails, whatever is measured."""
    rule = Rule(minimums={metric: 0.5 if metric in ("cosine", "top1") else 10})

    assert not compare_outputs({"a": np.float32([[1, 2, 3]])}, {"a": np.float32([[1, math.nan, 3]])}, rule).passed


def test_metrics_do_not_excuse_integers():
    """Integers are exact under every metric."""
    rule = Rule(minimums={"cosine": 0.1})

    assert not compare_outputs({"i": np.array([1, 2])}, {"i": np.array([1, 3])}, rule).passed


def test_metrics_do_not_excuse_shapes():
    """Another shape is a difference, and no metric is taken of it."""
    assert not compare_outputs(
        {"a": np.ones((2, 3), "f")}, {"a": np.ones((3, 2), "f")}, Rule(minimums={"top1": 0})
    ).passed


@given(x=VECTORS, y=VECTORS)
def test_sqnr_is_its_formula(x, y):
    """20 log10 of signal over noise, by a loop."""
    signal = math.sqrt(sum(a * a for a in x.tolist()))
    noise = math.sqrt(sum((a - b) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True)))
    if signal > 1e-100 and noise > 1e-100:
        assert sqnr_db(x, y) == pytest.approx(20 * math.log10(signal / noise), rel=1e-6, abs=1e-6)
    elif not noise:
        assert sqnr_db(x, y) == math.inf


@given(x=VECTORS, y=VECTORS, factor=st.floats(0.01, 100))
def test_cosine_knows_directions_only(x, y, factor):
    """Within -1..1, symmetric, blind to scale, and 1 for a tensor with itself."""
    assert -1.000001 <= cosine(x, y) <= 1.000001
    assert cosine(x, y) == pytest.approx(cosine(y, x), abs=1e-9)
    if np.linalg.norm(x) > 1e-3:
        assert cosine(x, factor * x) == pytest.approx(1)
    assert cosine(x, x.copy()) == pytest.approx(1)


def test_cosine_of_nothing():
    """Two zero tensors agree, one does not."""
    assert [cosine(np.zeros(3), np.zeros(3)), cosine(np.zeros(3), np.ones(3))] == [1.0, 0.0]


def test_psnr_of_a_picture():
    """A range of 255 and an error of 1 everywhere are 48.13 dB."""
    picture = np.linspace(0, 255, 64).reshape(8, 8)

    assert psnr_db(picture, picture + 1) == pytest.approx(20 * math.log10(255))
    assert psnr_db(picture, picture.copy()) == math.inf


def test_top1_counts_rows():
    """One of two rows has another winner."""
    assert top1(np.array([[1.0, 2, 3], [3, 2, 1]]), np.array([[1.0, 2, 3], [1, 2, 3]])) == 0.5


def test_top1_forgives_ties():
    """A row whose maximum is tied may pick either."""
    assert top1(np.array([[2.0, 2, 1]]), np.array([[1.0, 2, 1]])) == 1.0


@pytest.mark.parametrize("metric", METRICS.values())
def test_empty_tensors_agree(metric):
    """Nothing agrees with nothing, without a warning."""
    assert metric(np.zeros((0, 3), "f"), np.zeros((0, 3), "f")) >= 1


def test_top5_is_a_share_of_members():
    """Of the reference's five largest, four are among the other's."""
    expected, actual = np.arange(10.0)[None], np.arange(10.0)[None].copy()
    actual[0, 9] = -1

    assert top5(expected, expected) == 1.0
    assert top5(expected, actual) == 0.8
    assert top5(np.ones((2, 3)), np.ones((2, 3))) == 1.0


def test_within_counts_elements():
    """Three of four elements are within the tolerance given."""
    expected = {"a": np.zeros(4, "f")}
    actual = {"a": np.array([0, 0, 0, 1], "f")}

    good = compare_outputs(expected, actual, Rule(Tolerance(atol=0.1), minimums={"within": 0.75}))
    bad = compare_outputs(expected, actual, Rule(Tolerance(atol=0.1), minimums={"within": 0.8}))

    assert good.passed
    assert good.metrics["within"] == 0.75
    assert not bad.passed
