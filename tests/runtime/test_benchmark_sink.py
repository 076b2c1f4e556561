"""Handing samples to a real pytest-benchmark."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.benchmark_sink import ReplayClock, hand_over

SAMPLES = [0.1, 0.2, 1e-7, 3.3333333333333335e-05, 0.30000000000000004, 123.456, 0.1]

TEST_FILE = f"""
    import pytest
    from pytest_onnxprep.runtime.benchmark_sink import ReplayClock, hand_over

    SAMPLES = {SAMPLES!r}
    clock = ReplayClock()
    other = ReplayClock()

    @pytest.mark.benchmark(timer=clock, group="onnxprep")
    def test_handed_over(benchmark):
        hand_over(benchmark, clock, SAMPLES)

    def test_own_timing(benchmark):
        benchmark.pedantic(sum, args=([1, 2],), rounds=3)
"""

FLAGS = ["-p", "no:onnxprep", "-p", "no:cacheprovider"]


@settings(deadline=None)
@given(samples=st.lists(st.floats(0, 1e6), max_size=50))
def test_replayed_differences_are_the_samples_to_the_last_bit(samples):
    """End minus start is the sample itself, not almost."""
    clock = ReplayClock()
    clock.load(samples)
    replayed = []
    while clock.left:
        start = clock()
        replayed.append(clock() - start)

    assert replayed == samples


def test_an_empty_clock_is_an_ordinary_one():
    """Before loading and after the last sample the clock tells the time."""
    clock = ReplayClock()
    before = time.perf_counter()
    unloaded = clock()
    clock.load([5.0])
    assert (clock(), clock()) == (0.0, 5.0)
    exhausted = clock()

    assert before <= unloaded <= exhausted <= time.perf_counter()


def test_loading_anew_starts_anew():
    """Samples left over from before, and a call half made, are forgotten."""
    clock = ReplayClock()
    clock.load([1.0, 2.0])
    clock()
    clock.load([3.0])

    assert (clock(), clock(), clock.left) == (0.0, 3.0, 0)


def test_pytest_benchmark_holds_exactly_the_samples(pytester):
    """The JSON of pytest-benchmark has our samples, bit for bit and in order, and its own tests are untouched."""
    pytester.makepyfile(TEST_FILE)
    result = pytester.runpytest_inprocess(*FLAGS, "--benchmark-json=out.json")

    result.assert_outcomes(passed=2)
    entries = {entry["name"]: entry for entry in json.loads((pytester.path / "out.json").read_text())["benchmarks"]}
    ours = entries["test_handed_over"]
    assert ours["stats"]["data"] == SAMPLES
    assert (ours["stats"]["rounds"], ours["stats"]["iterations"]) == (len(SAMPLES), 1)
    assert (ours["stats"]["min"], ours["stats"]["max"]) == (min(SAMPLES), max(SAMPLES))
    assert (ours["group"], ours["options"]["timer"]) == ("onnxprep", "replayed_samples")
    assert entries["test_own_timing"]["stats"]["rounds"] == 3


def test_disabled_benchmarks_take_nothing(pytester):
    """Under --benchmark-disable handing over does nothing and the items pass."""
    pytester.makepyfile(TEST_FILE)

    pytester.runpytest_inprocess(*FLAGS, "--benchmark-disable").assert_outcomes(passed=2)


def test_a_foreign_timer_is_noticed(pytester):
    """An item without the clock in its mark would record garbage; it is told so instead."""
    pytester.makepyfile(TEST_FILE.replace("timer=clock", "timer=other"))
    result = pytester.runpytest_inprocess(*FLAGS)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*did not use the clock that replays the samples (7 of 7 are left)*"])


def test_nothing_to_hand_over_is_an_error():
    """Without samples there is no benchmark."""
    with pytest.raises(OnnxPrepError, match="no samples"):
        hand_over(object(), ReplayClock(), [])
