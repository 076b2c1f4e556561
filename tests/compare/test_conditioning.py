"""Whose fault a difference is, from float32 and float64 values alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_onnxprep.compare.conditioning import Cause, Evidence, agree_in_double, distance, judge

EPS = 2.0**-23


def of(expected, actual, truth=None, graph=None, nudged=(), dtype="float32"):
    """Evidence of one row of numbers."""
    arrays = [None if values is None else np.array(values, float) for values in (truth, graph)]
    return Evidence(
        np.array(expected, dtype), np.array(actual, dtype), *arrays, [np.array(other, dtype) for other in nudged]
    )


ALL = np.ones(2, bool)


def test_a_difference_that_stays_in_float64_is_real():
    """Two different programs differ however precisely they are run."""
    assert judge(of([1, 2], [1, 2.5], [1, 2], [1, 2.5]), np.array([False, True])) is Cause.DIFFERENT


def test_a_tie_resolved_the_other_way_is_real():
    """round(2.5) is 2 in float32 and in float64; a graph that says 3 in both says something else."""
    found = judge(of([2, 0], [3, 0], [2, 0], [3, 0], nudged=[[3, 0], [2, 0]]), np.array([True, False]))

    assert found is Cause.DIFFERENT


def test_a_flip_that_float64_does_not_share_is_ill_conditioned():
    """The framework rounds to the other side when its input moves by an epsilon, and in float64 both agree."""
    found = judge(of([2, 0], [3, 0], [2, 0], [2, 0], nudged=[[3, 0], [2, 0]]), np.array([True, False]))

    assert found is Cause.ILL_CONDITIONED


def test_the_references_own_error_explains_as_much():
    """The framework is as far from the truth as the file is from the framework."""
    assert judge(of([1, 2], [1.001, 2], [1.0005, 2], [1.0005, 2]), np.array([True, False])) is Cause.ILL_CONDITIONED


def test_a_few_epsilons_are_rounding():
    """Own errors of ordinary size need no name of their own."""
    found = judge(of([1, 2], [1 + 4 * EPS, 2], [1 + EPS, 2], [1 + EPS, 2]), np.array([True, False]))

    assert found is Cause.ROUNDING


def test_precision_the_framework_keeps():
    """log(1 + x) in place of log1p(x): the same number in float64, half its digits lost in float32."""
    found = judge(of([1e-6, 2e-6], [1.1e-6, 2.1e-6], [1e-6, 2e-6], [1e-6, 2e-6]), ALL)

    assert found is Cause.LESS_PRECISE


def test_a_loss_below_what_the_output_usually_is():
    """The same loss on an output that is of magnitude 1 in every ordinary example is nobody's concern."""
    evidence = of([1e-6, 2e-6], [1.1e-6, 2.1e-6], [1e-6, 2e-6], [1e-6, 2e-6])

    assert judge(replace(evidence, usual_scale=1.0), ALL) is Cause.ROUNDING
    assert judge(replace(evidence, usual_scale=1e-5), ALL) is Cause.LESS_PRECISE


def test_overflow_of_the_reference():
    """Float64 says 1e39, float32 has no such number: a framework that flushed a denormal said 0, the file infinity."""
    assert judge(of([0, 1], [np.inf, 1], [1e39, 1], [1e39, 1]), np.array([True, False])) is Cause.ILL_CONDITIONED


def test_agreement_in_double():
    """However far apart in float32, an example on which both are one program in float64 says something."""
    wrong = np.array([True, False])

    assert agree_in_double(of([1, 2], [5, 2], [1.5, 2], [1.5, 2]), wrong)
    assert not agree_in_double(of([1, 2], [5, 2], [1.5, 2], [1.6, 2]), wrong)
    assert not agree_in_double(of([1, 2], [5, 2]), wrong)


def test_without_float64_nothing_is_explained():
    """A difference that no nudge moves to stands as it is."""
    assert judge(of([1, 2], [1, 3]), np.array([False, True])) is Cause.UNEXPLAINED


def test_folded_constants_are_let_pass():
    """A weight folded in float32 leaves a few epsilons in the float64 graph."""
    found = judge(of([1, 2], [1, 2 + 8 * EPS], [1, 2], [1, 2 + 7 * EPS]), np.array([False, True]))

    assert found is not Cause.DIFFERENT


def test_integers_that_flip_with_the_nudge():
    """An index that moves with a rounding error is nobody's fault; one that does not is."""
    wrong = np.array([True, False])

    assert judge(of([3, 1], [4, 1], nudged=[[4, 1]], dtype="int64"), wrong) is Cause.ILL_CONDITIONED
    assert judge(of([3, 1], [4, 1], [3, 1], [4, 1], nudged=[[4, 1]], dtype="int64"), wrong) is Cause.DIFFERENT


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [(np.nan, np.nan, 0), (np.inf, np.inf, 0), (np.inf, -np.inf, np.inf), (1.0, np.nan, np.inf), (3.0, 1.0, 2)],
)
def test_distance(one, other, apart):
    """NaN equals NaN and infinities equal themselves; any clash of these is infinitely far."""
    assert distance(np.array([one]), np.array([other])).tolist() == [apart]


def test_long_sums_drift():
    """A constant added up one by one is off by n / 4 epsilons at worst; the framework sums in pairs."""
    expected, actual = np.array([1.0], "float32"), np.array([1 + 500 * EPS], "float32")
    evidence = Evidence(expected, actual, np.array([1.0]), np.array([1.0]))

    assert judge(evidence, np.array([True])) is Cause.LESS_PRECISE
    assert judge(replace(evidence, depth=30_000), np.array([True])) is Cause.ROUNDING
