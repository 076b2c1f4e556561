"""Advice follows from what was observed and what it costs."""

from __future__ import annotations

from collections import Counter

import pytest

from pytest_onnxprep.compose.advisor import MOST_MEASURED, Advice, Bucket, _assigned, _one_dim, _rounded, _several_dims


def test_one_dim_is_cut_where_the_requests_are():
    """Many short requests get a bucket of their own."""
    found = Counter({(4,): 100, (5,): 80, (60,): 1, (64,): 2})
    plans = _one_dim(found, lambda sizes: float(sizes[0]), 2)

    assert plans == [[(64,)], [(5,), (64,)]]


def test_noise_in_a_small_size_is_mended():
    """A smaller size that took longer than a larger one was disturbed."""
    found = Counter({(4,): 10, (8,): 10, (16,): 10})
    costs = {(4,): 9.0, (8,): 2.0, (16,): 4.0}

    # No bucket of its own pays for it, nor does its noise keep it out of one.
    assert _one_dim(found, costs.__getitem__, 3) == [[(16,)], [(8,), (16,)]]


def test_several_dims_are_merged_where_it_costs_least():
    """Sizes near each other share a bucket; one that is far away keeps its own."""
    found = Counter({(10, 10): 5, (11, 10): 5, (100, 20): 1})
    plans = _several_dims(found, lambda sizes: float(sizes[0] * sizes[1]), 2)

    assert plans[-1] == [(11, 10), (100, 20)]
    assert plans[0] == [(100, 20)]


def test_every_request_goes_to_the_smallest_bucket_that_holds_it():
    """No request is left out, and no bucket is empty."""
    found = Counter({(3, 9): 2, (9, 3): 1, (2, 2): 4})
    assigned = _assigned([(9, 9), (4, 4), (50, 50)], found)

    assert assigned == {(4, 4): Counter({(2, 2): 4}), (9, 9): Counter({(3, 9): 2, (9, 3): 1})}


@pytest.mark.parametrize("width", [1, 2, 3])
def test_many_sizes_are_rounded_up_to_few(width):
    """To one of the sizes seen, never down, and the largest stays."""
    found = Counter({tuple(n * (axis + 1) for axis in range(width)): 1 for n in range(1, 200)})
    rounded = _rounded(found)

    assert len(rounded) <= MOST_MEASURED + 1
    assert sum(rounded.values()) == 199
    assert max(rounded) == tuple(199 * (axis + 1) for axis in range(width))


def test_the_table_shows_the_choice_and_the_others():
    """One row per bucket, the whole, and what other numbers of buckets would bring."""
    buckets = (Bucket({"seq": 8}, 30, 0.5, 0.25), Bucket({"seq": 64}, 10, 2.0, 0.5))
    advice = Advice(buckets, 0.875, 0.6, 0.4, {1: (2.0, 0.8), 2: (0.875, 0.4), 3: (0.87, 0.39)})
    lines = advice.table().splitlines()

    assert lines[1].split() == ["seq=8", "30", "75%", "0.5", "25%"]
    assert lines[3].split() == ["all", "40", "100%", "0.875", "40%"]
    assert "2 <-" in advice.table()
    assert lines[-1].split()[-2:] == ["0.6", "0%"]
    assert advice.sizes == [{"seq": 8}, {"seq": 64}]
