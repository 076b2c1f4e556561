"""Latency items are pytest-benchmark's: its options mean what they mean, and its JSON holds exactly our samples."""

from __future__ import annotations

import json

import pytest

SOURCE = """
@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
@parity(max_examples=1)
@latency_budget(p95_ms=200, p99_ms=500, at={"batch": 2}, max_time_s=5)
@size_budget(mb=1)
def test_x(onnx_model): pass

def test_plain(): pass
"""
LATENCY = "test_x[torchscript-opset17-latency]"


def benchmark_json(story, *args):
    """Run with --benchmark-json and read it."""
    outcome = story(SOURCE, "--benchmark-json=bench.json", *args)
    return outcome, json.loads((story.path / "bench.json").read_text())


def test_only(story):
    """--benchmark-only runs the latency item and skips the others."""
    outcome = story(SOURCE, "--benchmark-only")

    assert outcome.verdicts.pop(LATENCY) == "pass"
    assert [name for name, verdict in outcome.verdicts.items() if verdict != "skip"] == [LATENCY]
    outcome.result.assert_outcomes(passed=1, skipped=4)


def test_skip(story):
    """--benchmark-skip skips the latency item and runs the others."""
    outcome = story(SOURCE, "--benchmark-skip")

    assert outcome.verdict("latency") == "skip"
    outcome.result.assert_outcomes(passed=4, skipped=1)


def test_disable(story):
    """--benchmark-disable runs the model once, measures nothing and says so."""
    outcome = story(SOURCE, "--benchmark-disable")

    assert outcome.verdict("latency") == "skip"
    assert "--benchmark-disable" in outcome.one("latency")["summary"]
    outcome.result.assert_outcomes(passed=4, skipped=1)


def test_the_json_holds_the_latency_item_and_nothing_else(story):
    """One benchmark, named after the item."""
    _, found = benchmark_json(story)

    assert [entry["name"] for entry in found["benchmarks"]] == [LATENCY]
    assert found["benchmarks"][0]["fullname"] == f"test_story.py::{LATENCY}"


def test_the_statistics_are_those_of_our_samples(story):
    """n, min, max, median and mean of pytest-benchmark agree with the figures of the check."""
    outcome, found = benchmark_json(story)
    figures = outcome.one("latency")["figures"]
    stats = found["benchmarks"][0]["stats"]

    assert len(stats["data"]) == stats["rounds"] == figures["n"] >= 100
    assert stats["iterations"] == 1
    assert stats["min"] * 1e3 == pytest.approx(figures["min_ms"], abs=1e-8)
    assert stats["mean"] * 1e3 == pytest.approx(figures["mean_ms"], abs=1e-8)
    ordered = sorted(stats["data"])
    assert ordered[0] * 1e3 <= figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= ordered[-1] * 1e3 + 1e-8
    assert figures["p50_ms"] == pytest.approx(stats["median"] * 1e3, rel=0.05)


def test_extra_info_has_the_agreed_keys(story):
    """Percentiles, interval, sample sizes, budget and verdict stand beside the statistics."""
    outcome, found = benchmark_json(story)
    extra = found["benchmarks"][0]["extra_info"]["onnxprep"]

    assert set(extra) >= {
        "p50_ms",
        "p90_ms",
        "p95_ms",
        "p95_interval_ms",
        "p99_ms",
        "n",
        "effective_n",
        "preempted_share",
        "budget",
        "verdict",
    }
    low, high = extra["p95_interval_ms"]
    assert low <= extra["p95_ms"]
    assert high is None or extra["p95_ms"] <= high
    assert extra["budget"] == {"p95_ms": 200, "p99_ms": 500}
    assert extra["verdict"] == outcome.verdict("latency")
    assert 0 <= extra["preempted_share"] <= 1


def test_a_failing_budget_is_in_the_json_too(story):
    """A budget that is missed fails its item and still leaves its numbers."""
    story.write(SOURCE.replace("p95_ms=200, p99_ms=500", "p50_ms=0.0001").replace("max_time_s=5", "max_time_s=1"))
    outcome = story.run("--benchmark-json=bench.json")
    extra = json.loads((story.path / "bench.json").read_text())["benchmarks"][0]["extra_info"]["onnxprep"]

    assert outcome.verdict("latency") == extra["verdict"] == "fail"
    assert "p50" in outcome.one("latency")["summary"]
    assert "over" in outcome.one("latency")["summary"]
    assert "budget" in outcome.text
    outcome.result.assert_outcomes(passed=4, failed=1)


def test_the_whole_report_is_in_the_benchmark_json(story):
    """The records of all checks travel with pytest-benchmark's file."""
    _, found = benchmark_json(story)

    assert found["onnxprep"]["schema"] == "onnxprep-report/1"
    assert {record["check"] for record in found["onnxprep"]["results"]} == {"export", "parity", "latency", "size"}
    assert "packages" in found["machine_info"]["onnxprep"]


def test_save_and_compare(story):
    """--benchmark-save stores a run that --benchmark-compare finds; a regression there is no finding of ours."""
    storage = f"--benchmark-storage=file://{story.path}/bench"
    story(SOURCE, storage, "--benchmark-save=first")
    outcome = story(SOURCE, storage, "--benchmark-compare")

    saved = list((story.path / "bench").rglob("*first.json"))
    assert len(saved) == 1
    assert json.loads(saved[0].read_text())["benchmarks"][0]["extra_info"]["onnxprep"]["n"] >= 100
    assert "(0001_first)" in outcome.text
    assert outcome.verdict("latency") == "pass"


def test_the_table_of_pytest_benchmark_is_printed(story):
    """The usual table shows the latency item."""
    text = story(SOURCE).text

    assert "Legend:" in text
    assert any(line.startswith(LATENCY[:20]) for line in text.splitlines())


def test_without_pytest_benchmark(story):
    """``-p no:benchmark`` measures and judges all the same."""
    outcome = story(SOURCE, "-p", "no:benchmark")

    assert outcome.counts() == {"pass": 4}
    assert outcome.one("latency")["figures"]["n"] >= 100


def test_the_users_own_benchmarks_are_left_alone(story):
    """A plain benchmark test times with its own clock."""
    story.write(SOURCE + "\ndef test_own(benchmark): benchmark.pedantic(sum, args=([1],), rounds=3)\n")
    story.run("--benchmark-json=bench.json")
    entries = {e["name"]: e for e in json.loads((story.path / "bench.json").read_text())["benchmarks"]}

    assert entries["test_own"]["stats"]["rounds"] == 3
    assert "onnxprep" not in entries["test_own"]["extra_info"]


def test_sizes_left_out_are_the_smallest_that_are_not_empty(story):
    """Without at= a dim of 0..16 in steps of 4 is timed at 4."""
    source = SOURCE.replace(', at={"batch": 2}', "").replace(
        "inputs=X,", "inputs=X, dims={'batch': Dim(0, 16, multiple_of=4)},"
    )

    assert story(source).one("latency")["figures"]["at"] == {"batch": 4}


def test_each_size_of_a_list_is_a_benchmark(story):
    """at=[...] gives a benchmark each, with the sizes it was measured at."""
    story.write(SOURCE.replace('at={"batch": 2}', 'at=[{"batch": 2}, {"batch": 8}]'))
    story.run("--benchmark-json=bench.json", "-m", "latency_budget")
    found = json.loads((story.path / "bench.json").read_text())["benchmarks"]

    assert [entry["extra_info"]["onnxprep"]["at"] for entry in found] == [{"batch": 2}, {"batch": 8}]
