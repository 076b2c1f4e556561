"""The verdict over pairs: the sign test's interval, the looks, and how often they err."""

from __future__ import annotations

import math
import random

import pytest

from pytest_onnxprep.stats.binomial import binomial_cdf
from pytest_onnxprep.stats.paired import FLOOR, PAIR_LOOKS, judge_pairs, sign_interval
from pytest_onnxprep.stats.sequential import Ruling


def logs(ratio, n, spread=0.002, seed=0):
    """Log ratios around a true one."""
    rng = random.Random(seed)
    return [rng.gauss(math.log(ratio), spread) for _ in range(n)]


def play(ratio, limit, spread, seed):
    """All looks at one growing series, as the duet makes them."""
    series = logs(ratio, PAIR_LOOKS[-1], spread, seed)
    for look, n in enumerate(PAIR_LOOKS, start=1):
        decision = judge_pairs(series[:n], limit, look=look, final=look == len(PAIR_LOOKS))
        if decision.ruling is not Ruling.CONTINUE:
            return decision
    raise AssertionError("no verdict")


@pytest.mark.parametrize("n", [5, 12, 24, 96])
@pytest.mark.parametrize("alpha", [0.0025, 0.025, 0.05])
def test_interval_ends_are_the_outermost_ranks_the_test_allows(n, alpha):
    """One rank further in would err more often than allowed; without an allowed rank the ends are infinite."""
    low, high = sign_interval(list(range(n)), alpha)

    if math.isinf(low):
        assert binomial_cdf(0, n, 0.5) > alpha
        assert high == math.inf
    else:
        assert binomial_cdf(low, n, 0.5) <= alpha < binomial_cdf(low + 1, n, 0.5)
        assert high == n - 1 - low


def test_interval_covers_the_median_as_often_as_it_says():
    """Of 2000 series of 24, both bounds at 2.5 % miss the true median in at most 5 %, give or take chance."""
    missed = 0
    for seed in range(2000):
        low, high = sign_interval(logs(1.0, 24, 0.01, seed), 0.025)
        missed += not low <= 0 <= high

    assert missed <= 130


@pytest.mark.parametrize(
    ("ratio", "limit", "ruling"),
    [
        (1.0, 1.03, Ruling.PASS),
        (1.05, 1.03, Ruling.FAIL),
        (1.0, 1 / 1.5, Ruling.FAIL),
        (0.5, 1 / 1.5, Ruling.PASS),
    ],
)
def test_plain_cases_are_told_at_the_first_look(ratio, limit, ruling):
    """Twelve quiet pairs are enough where the ratio is clearly on one side."""
    decision = judge_pairs(logs(ratio, 12), limit, look=1)

    assert decision.ruling is ruling
    assert decision.ratio == pytest.approx(ratio, rel=0.01)
    assert decision.interval[0] <= decision.ratio <= decision.interval[1]


def test_at_the_limit_errors_are_rare():
    """A model exactly at its limit is failed and passed no more often than allowed; mostly it is too close to call."""
    found = [play(1.03, 1.03, 0.01, seed).ruling for seed in range(400)]

    assert found.count(Ruling.FAIL) <= 4
    assert found.count(Ruling.PASS) <= 20
    assert found.count(Ruling.INCONCLUSIVE) >= 376


@pytest.mark.parametrize("bias", [-0.9 * FLOOR, 0.9 * FLOOR])
def test_what_one_process_cannot_know_decides_nothing(bias):
    """A bias below the floor neither fails nor passes a model at its limit, however many and quiet the pairs."""
    decision = judge_pairs(logs(1.03 * math.exp(bias), 96, 1e-6), 1.03, look=4, final=True)

    assert decision.ruling is Ruling.INCONCLUSIVE
    assert "too close to call" in decision.reason


def test_few_pairs_are_not_judged():
    """Below seven pairs there is no verdict, and the reason says how many are needed."""
    assert judge_pairs(logs(2.0, 6), 1.03, look=1).ruling is Ruling.CONTINUE

    decision = judge_pairs(logs(2.0, 6), 1.03, look=1, final=True)
    assert decision.reason == "a comparison needs at least 7 pairs; 6 were made"
    assert judge_pairs(logs(2.0, 7), 1.03, look=1, final=True).ruling is Ruling.FAIL


def test_a_wider_floor_takes_a_fail_back():
    """What the self-check found is added to what cannot be known."""
    assert judge_pairs(logs(1.05, 24), 1.03, look=2).ruling is Ruling.FAIL
    assert judge_pairs(logs(1.05, 24), 1.03, look=2, floor=0.03).ruling is Ruling.CONTINUE


@pytest.mark.parametrize(("series", "limit", "look"), [([], 1.0, 1), ([0.0], 0.0, 1), ([0.0], 1.0, 0), ([0.0], 1.0, 7)])
def test_senseless_arguments(series, limit, look):
    """No pairs, no limit and no such look are errors of the caller."""
    with pytest.raises(ValueError, match=r"must lie|at least one"):
        judge_pairs(series, limit, look=look)
