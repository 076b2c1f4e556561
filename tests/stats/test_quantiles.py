"""Quantiles, their intervals and the design effect."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_onnxprep.stats.quantiles import design_effect, mean_bounds, quantile, quantile_interval

SAMPLES = st.lists(st.floats(0, 1e3), min_size=1, max_size=200).map(sorted)
SHARES = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("n", "q", "rank"),
    [(100, 0.95, 95), (100, 0.07, 7), (20, 0.95, 19), (21, 0.95, 20), (1, 0.99, 1), (10, 0, 1), (10, 1, 10)],
)
def test_quantile_is_the_nearest_rank(n, q, rank):
    """The q-quantile of n samples is the ceil(q n)-th smallest, free of float error in q n."""
    assert quantile(range(1, n + 1), q) == rank


@settings(deadline=None)
@given(samples=SAMPLES, q=SHARES, limit=st.floats(0, 1e3))
def test_quantile_agrees_with_counting(samples, q, limit):
    """The quantile is within a limit exactly when a share q of the samples is."""
    within = sum(sample <= limit for sample in samples)

    assert (quantile(samples, q) <= limit) == (within >= q * len(samples) - 1e-9)


@settings(deadline=None)
@given(samples=SAMPLES, q=SHARES, effective=st.floats(1, 200))
def test_interval_holds_the_quantile_and_widens_with_less_information(samples, q, effective):
    """The interval of fewer effective calls contains that of more."""
    low, high = quantile_interval(samples, q)
    wide_low, wide_high = quantile_interval(samples, q, effective)

    assert low <= quantile(samples, q) <= high
    assert wide_low <= low
    assert wide_high >= high


def test_interval_is_the_textbook_one():
    """For the median of 20 samples the 95 % interval runs from the 6th to the 15th."""
    assert quantile_interval(range(1, 21), 0.5) == (6, 15)


def test_interval_of_too_few_is_open():
    """Twenty calls cannot bound a p95 from above, two cannot bound a median at all."""
    assert quantile_interval(range(20), 0.95)[1] == math.inf
    assert quantile_interval([1.0, 2.0], 0.5) == (-math.inf, math.inf)


def test_interval_covers_the_true_quantile():
    """At least 93 of 100 intervals of simulated p90s hold the true value."""
    rng = random.Random(1)
    held = 0
    for _ in range(100):
        low, high = quantile_interval(sorted(rng.random() for _ in range(200)), 0.9)
        held += low <= 0.9 <= high

    assert held >= 93


@pytest.mark.parametrize(
    "call",
    [
        lambda: quantile([], 0.5),
        lambda: quantile([1.0], 1.5),
        lambda: quantile_interval([], 0.5),
        lambda: quantile_interval([1.0], 1.0),
        lambda: quantile_interval([1.0], 0.5, 0.0),
        lambda: quantile_interval([1.0], 0.5, confidence=1.0),
        lambda: design_effect([True], block=0),
    ],
)
def test_nonsense_is_refused(call):
    """No samples, or an argument out of range, is a ValueError."""
    with pytest.raises(ValueError, match=r"must|needs"):
        call()


@settings(deadline=None)
@given(flags=st.lists(st.booleans(), max_size=400))
def test_design_effect_is_at_least_one(flags):
    """Luck never makes calls worth more than independent ones."""
    assert design_effect(flags) >= 1


def test_design_effect_of_bursts_and_of_none():
    """A block that violates as a whole counts once; what is constant, or hardly there, says nothing."""
    bursts = ([True] * 32 + [False] * 96) * 4

    assert design_effect(bursts) == pytest.approx(32, rel=0.1)
    assert design_effect([True] * 100) == design_effect([False] * 100) == design_effect([True, False] * 3) == 1


def test_design_effect_of_independent_flags_is_small():
    """Independent calls are worth about their number."""
    rng = random.Random(2)

    assert design_effect([rng.random() < 0.05 for _ in range(4096)]) < 1.4


@settings(deadline=None)
@given(samples=st.lists(st.floats(0.001, 1), min_size=4, max_size=300))
def test_mean_bounds_are_ordered_and_widen_with_certainty(samples):
    """Bounds of a smaller error lie outside those of a larger one."""
    low, high = mean_bounds(samples, 0.05)
    wide_low, wide_high = mean_bounds(samples, 0.01)

    assert wide_low <= low <= high <= wide_high


def test_mean_bounds_need_four_samples():
    """Three samples bound nothing; equal ones bound exactly."""
    assert mean_bounds([1.0, 1.0, 1.0], 0.05) == (-math.inf, math.inf)
    assert mean_bounds([2.0] * 128, 0.05) == (2.0, 2.0)
