"""The binomial tail against exact sums and tables."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_onnxprep.stats.binomial import binomial_cdf, binomial_sf, incomplete_beta, student_t_quantile

PROBABILITIES = st.floats(0.001, 0.999)
TRIALS = st.floats(0.5, 5000)


def exact_cdf(k: int, n: int, p: Fraction) -> Fraction:
    """The sum of the binomial formula in whole numbers."""
    return sum((math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))


@settings(deadline=None)
@given(n=st.integers(1, 40), percent=st.integers(0, 100), data=st.data())
def test_whole_numbers_agree_with_the_exact_sum(n, percent, data):
    """At whole k and n the tails are the sums of the binomial formula."""
    k = data.draw(st.integers(0, n))
    p = Fraction(percent, 100)

    assert binomial_cdf(k, n, float(p)) == pytest.approx(float(exact_cdf(k, n, p)), abs=1e-12)
    assert binomial_sf(k, n, float(p)) == pytest.approx(float(1 - exact_cdf(k - 1, n, p)), abs=1e-12)


@settings(deadline=None)
@given(n=TRIALS, p=PROBABILITIES, data=st.data())
def test_tails_are_complementary(n, p, data):
    """P(X <= k) and P(X >= k + 1) make one, for real k and n too."""
    k = data.draw(st.floats(-1, n + 1))

    assert binomial_cdf(k, n, p) + binomial_sf(k + 1, n, p) == pytest.approx(1, abs=1e-9)


@settings(deadline=None)
@given(n=TRIALS, p=PROBABILITIES, data=st.data())
def test_cdf_grows_with_the_count(n, p, data):
    """A larger count never has a smaller probability of being reached from below."""
    low, high = sorted(data.draw(st.lists(st.floats(-2, n + 1), min_size=2, max_size=2)))

    assert binomial_cdf(low, n, p) <= binomial_cdf(high, n, p) + 1e-10


@settings(deadline=None)
@given(n=TRIALS, k=st.floats(0, 100), ps=st.lists(PROBABILITIES, min_size=2, max_size=2))
def test_cdf_falls_with_the_probability(n, k, ps):
    """A likelier event is counted at most as rarely."""
    assert binomial_cdf(k, n, max(ps)) <= binomial_cdf(k, n, min(ps)) + 1e-10


@pytest.mark.parametrize(
    ("k", "n", "p", "cdf"),
    [
        (-1, 10, 0.5, 0),
        (-3, 10, 0.5, 0),
        (10, 10, 0.5, 1),
        (12, 10, 0.5, 1),
        (0, 10, 0, 1),
        (9, 10, 1, 0),
        (0, 0, 0.5, 1),
    ],
)
def test_edges(k, n, p, cdf):
    """Counts outside 0..n and certain or impossible events have their obvious probability."""
    assert binomial_cdf(k, n, p) == cdf
    assert binomial_sf(k + 1, n, p) == 1 - cdf


def test_large_counts_keep_their_digits():
    """A tail of 4096 calls agrees with the exact sum to eleven digits."""
    exact = float(exact_cdf(180, 4096, Fraction(1, 20)))

    assert binomial_cdf(180, 4096, 0.05) == pytest.approx(exact, abs=1e-11)


@pytest.mark.parametrize(("n", "p"), [(-1, 0.5), (10, -0.1), (10, 1.1), (math.nan, 0.5), (10, math.nan)])
def test_impossible_distributions_are_refused(n, p):
    """A negative number of trials or a probability outside 0..1 is an error, not a number."""
    with pytest.raises(ValueError, match="must"):
        binomial_cdf(1, n, p)


def test_beta_shapes_must_be_positive():
    """The beta function of a shape that is not positive is refused."""
    with pytest.raises(ValueError, match="positive"):
        incomplete_beta(0, 1, 0.5)


@settings(deadline=None)
@given(a=st.floats(0.1, 1000), b=st.floats(0.1, 1000), x=st.integers(0, 64).map(lambda part: part / 64))
def test_incomplete_beta_mirrors(a, b, x):
    """I_x(a, b) and I_(1-x)(b, a) make one."""
    assert incomplete_beta(a, b, x) + incomplete_beta(b, a, 1 - x) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("p", "freedom", "expected"),
    [
        (0.975, 1, 12.70620),
        (0.975, 3, 3.18245),
        (0.95, 10, 1.81246),
        (0.995, 30, 2.75000),
        (0.5, 4, 0),
        (0.05, 10, -1.81246),
    ],
)
def test_student_t_table(p, freedom, expected):
    """Quantiles of Student's t are those of the printed tables."""
    assert student_t_quantile(p, freedom) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("p", "freedom"), [(0, 3), (1, 3), (0.9, 0)])
def test_student_t_refuses_certainty(p, freedom):
    """No value is reached with certainty, and there is no t without freedom."""
    with pytest.raises(ValueError, match="freedom"):
        student_t_quantile(p, freedom)
