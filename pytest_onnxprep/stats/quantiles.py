"""Percentiles with the interval they deserve, and how many independent calls dependent ones are worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from pytest_onnxprep.stats.binomial import binomial_cdf, binomial_sf, student_t_quantile


def quantile(sorted_samples: Sequence[float], q: float) -> float:
    """The ``q``-quantile by nearest rank: the ``ceil(q n)``-th smallest sample.

    The inverse of the empirical distribution function (type 1 of Hyndman & Fan, 1996; the percentile of MLPerf).
    It is always a sample that was seen, and it lies within a limit exactly when at least a share ``q`` of the samples
    does, so it never contradicts a count of violations. numpy's default interpolates instead.

    Args:
        sorted_samples: in increasing order, any unit; the answer has the same.
        q: 0..1; 0 gives the smallest sample.

    Raises:
        ValueError: no samples, or ``q`` outside 0..1.
    """
    if not sorted_samples:
        raise ValueError("a quantile needs at least one sample")
    if not 0 <= q <= 1:
        raise ValueError(f"q must lie in 0..1, not {q!r}")
    n = len(sorted_samples)
    rank = math.ceil(q * n - 1e-9)  # 0.07 * 100 is 7.000000000000001
    return sorted_samples[max(rank, 1) - 1]


def quantile_interval(
    sorted_samples: Sequence[float], q: float, n_effective: float | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """A two-sided confidence interval for the ``q``-quantile, without any assumption on the distribution.

    Order statistics ``[x_(l), x_(u)]``: ``l`` is the largest rank with ``P(Bin(n, q) < l) <= (1 - confidence) / 2``,
    ``u`` the smallest with ``P(Bin(n, q) >= u) <= (1 - confidence) / 2``; ranks are scaled by ``n_effective / n``.

    Args:
        sorted_samples: in increasing order, any unit.
        q: strictly between 0 and 1.
        n_effective: how many independent samples these are worth; all of them if None.
        confidence: strictly between 0 and 1.

    Returns:
        ``(low, high)`` in the unit of the samples; an end that so few samples cannot give is infinite.

    Raises:
        ValueError: no samples, or an argument out of range.
    """
    n = len(sorted_samples)
    if n == 0:
        raise ValueError("an interval needs at least one sample")
    if not 0 < q < 1 or not 0 < confidence < 1:
        raise ValueError(f"q and confidence must lie strictly between 0 and 1, not {q!r} and {confidence!r}")
    effective = float(n) if n_effective is None else min(float(n_effective), float(n))
    if not effective > 0:
        raise ValueError(f"n_effective must be positive, not {n_effective!r}")
    tail, scale = (1 - confidence) / 2, effective / n
    low = _last(n, lambda rank: binomial_cdf((rank - 1) * scale, effective, q) <= tail)
    beyond = _last(n, lambda rank: binomial_sf(rank * scale, effective, q) > tail)
    return (
        sorted_samples[low - 1] if low else -math.inf,
        sorted_samples[beyond] if beyond < n else math.inf,
    )


def _last(n: int, holds: Callable[[int], bool]) -> int:
    """The largest rank in 1..n for which a condition holds that ends once and for all; 0 if it never does."""
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def design_effect(flags: Sequence[bool], block: int = 32) -> float:
    """By how much dependence between neighbours inflates the variance of a share; never below 1.

    ``Var(count per block) / (block * share * (1 - share))`` over consecutive blocks (Kish's design effect with blocks
    as clusters). Divide the number of samples by it to get the effective number. With fewer than four blocks the
    blocks are made shorter; below eight samples nothing can be said and the answer is 1.

    Args:
        flags: one per call, in the order they were made.
        block: calls per block.

    Raises:
        ValueError: a block shorter than one call.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, not {block!r}")
    n = len(flags)
    block = min(block, n // 4)
    share = sum(flags) / n if n else 0.0
    if block < 2 or share in (0.0, 1.0):
        return 1.0
    counts = [sum(flags[start : start + block]) for start in range(0, n - block + 1, block)]
    return max(1.0, statistics.variance(counts) / (block * share * (1 - share)))


def mean_bounds(samples: Sequence[float], alpha: float, block: int = 32) -> tuple[float, float]:
    """One-sided lower and upper confidence bounds on the mean, by batch means.

    Means of consecutive batches are nearly independent and nearly normal even where calls are neither (Law & Kelton,
    *Simulation Modeling and Analysis*); Student's t over them. With fewer than four batches the batches are shorter.

    Args:
        samples: in the order they were taken, any unit.
        alpha: error allowed for each bound, strictly between 0 and 0.5.
        block: samples per batch.

    Returns:
        ``(low, high)`` in the unit of the samples; infinite with fewer than four samples.
    """
    block = max(1, min(block, len(samples) // 4))
    means = [statistics.fmean(samples[at : at + block]) for at in range(0, len(samples) - block + 1, block)]
    if len(means) < 4:
        return -math.inf, math.inf
    centre = statistics.fmean(means)
    margin = student_t_quantile(1 - alpha, len(means) - 1) * statistics.stdev(means) / math.sqrt(len(means))
    return centre - margin, centre + margin
