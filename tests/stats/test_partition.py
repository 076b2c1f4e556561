"""The cheapest groups of a sorted list, against trying all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pytest_onnxprep.stats.partition import partition


def brute_force(counts: list[float], costs: list[float], groups: int) -> float:
    """The cost of the best of all ways to cut."""
    n = len(counts)
    best = float("inf")
    for k in range(min(groups, n)):
        for cuts in itertools.combinations(range(n - 1), k):
            ends = [*cuts, n - 1]
            starts = [0, *(cut + 1 for cut in cuts)]
            total = sum(sum(counts[a : b + 1]) * costs[b] for a, b in zip(starts, ends, strict=True))
            best = min(best, total)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_it_is_as_cheap_as_the_best_of_all_ways(seed):
    """Dynamic programming misses nothing, and its ends cost what it says."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    counts, costs = list(rng.integers(1, 20, n).astype(float)), list(np.sort(rng.random(n)))
    for groups in (1, 2, 3, n):
        cost, ends = partition(counts, costs, groups)

        assert cost == pytest.approx(brute_force(counts, costs, groups))
        assert len(ends) <= groups
        assert ends[-1] == n - 1
        starts = [0, *(end + 1 for end in ends[:-1])]
        assert cost == pytest.approx(sum(sum(counts[a : b + 1]) * costs[b] for a, b in zip(starts, ends, strict=True)))


def test_nothing_needs_no_group():
    """An empty list costs nothing."""
    assert partition([], [], 3) == (0.0, [])
