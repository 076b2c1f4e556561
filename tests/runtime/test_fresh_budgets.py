"""Budgets over fresh processes: from what the children told to verdict, figures and words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime import fresh_runs, memory, neighbours, startup, throughput
from pytest_onnxprep.runtime.child_limits import Limits
from pytest_onnxprep.runtime.child_measure import ChildMeasure, Outcome
from pytest_onnxprep.spec.verdict import Verdict
from pytest_onnxprep.stats.fresh import Process, Surroundings

MB = 1_000_000
QUIET = Surroundings(0.0, 0.0)
BUSY = Surroundings(0.5, 0.0)


def told(
    *, peak: float = 100, base: float = 50, load: float = 0.1, first: float = 0.02, run: float = 0.01
) -> ChildMeasure:
    """A child as it would have told: megabytes and seconds."""

    def span(seconds: float) -> dict[str, float]:
        return {"wall_s": seconds, "cpu_s": seconds, "waited_s": 0.0}

    def held(now: float, most: float) -> dict[str, int]:
        return {"rss": int(now * MB), "peak": int(most * MB), "anonymous": int(now * MB)}

    known: dict[str, Any] = {
        "stage": "done",
        "import_s": 0.2,
        "baseline": held(base, base),
        "load": span(load),
        "loaded": held(peak - 10, peak),
        "first_run": span(first),
        "steady": held(peak - 10, peak),
        "threads": 1,
        "providers": ["CPUExecutionProvider"],
    }
    timing = {**span(run * 3), "samples_s": [run] * 3, "energy_j": None}
    return ChildMeasure.of(known, [timing], outcome=Outcome.OK, message="", threads_asked=1, limits=Limits())


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the next children tell what is given; the last one goes on telling."""

    def give(module: Any, *found: ChildMeasure, around: Surroundings = QUIET) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def turns() -> Iterator[ChildMeasure]:
            yield from found
            while True:
                yield found[-1]

        queue = turns()

        def run_child(*args: Any, **arguments: Any) -> ChildMeasure:
            asked.append(arguments)
            return next(queue)

        monkeypatch.setattr(module, "run_child", run_child)
        monkeypatch.setattr(neighbours.Neighbours, "surroundings", lambda self: around)
        return asked

    return give


def test_memory_is_the_median(children: Any) -> None:
    """Of three children the middle one is judged, and the arena comes from a fourth."""
    asked = children(memory, told(peak=90), told(peak=120), told(peak=100))
    found = memory.measure_children("x.onnx", {}, budgets={"peak_mb": 130, "model_mb": 75})

    assert found.verdict is Verdict.PASS
    assert found.figures["peak_mb"] == found.peak_mb == 100
    assert found.figures["model_mb"] == found.model_mb == 50
    assert found.figures["peak_range_mb"] == [90, 120]
    assert [one["arena"] for one in asked] == [False, False, False, True]
    assert found.figures["arena_mb"] is None
    assert found.summary == (
        "peak 100 of 130 MB; model's own share of the peak 50 of 75 MB (median of 3 fresh processes, peaks 90..120 MB)"
    )
    assert found.details == ""


def test_memory_asks_more_children_where_they_do_not_agree(children: Any) -> None:
    """A budget between the smallest and the largest of three is settled by seven."""
    asked = children(memory, told(peak=90), told(peak=120), told(peak=99))
    found = memory.measure_children("x.onnx", {}, budgets={"peak_mb": 110})

    assert len(asked) == 7 + 1
    assert found.verdict is Verdict.PASS
    assert found.figures["children"] == 7


def test_memory_that_is_two_things_is_inconclusive(children: Any) -> None:
    """Three of seven over the budget are neither a pass nor a fail: the next run would say otherwise."""
    children(memory, told(peak=120), told(peak=120), told(peak=90), told(peak=120), told(peak=99))
    found = memory.measure_children("x.onnx", {}, budgets={"peak_mb": 110, "model_mb": 500})

    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.summary.startswith("peak 90..120 MB against 110 MB: too close to call (median of 7 fresh processes")
    assert "memory at its budget" in found.details
    assert "leave the budget 10 % of headroom" in found.details


def test_memory_over_budget_says_where_it_goes(children: Any) -> None:
    """The message has the excess, the parts and a hint."""
    children(memory, told(peak=150, base=50))
    found = memory.measure_children("x.onnx", {}, budgets={"peak_mb": 100})

    assert found.verdict is Verdict.FAIL
    assert "peak 150 MB, 50 over the budget of 100" in found.summary
    assert "ONNX Runtime, NumPy and the inputs" in found.details
    assert "Hint:" in found.details


def test_runtime_alone_over_budget(children: Any) -> None:
    """Where ONNX Runtime alone is over, the hint says that no model could fit."""
    children(memory, told(base=50))

    found = memory.measure_children("x.onnx", {}, budgets={"peak_mb": 40})

    assert "ONNX Runtime alone is over the budget" in found.details


def test_a_child_that_died_is_no_figure(children: Any) -> None:
    """What could not be measured is an error with the child's words, not a fail of the model."""
    dead = ChildMeasure.of(
        {"stage": "load"}, [], outcome=Outcome.ABORTED, message="crashed", threads_asked=1, limits=Limits()
    )
    children(memory, dead)

    with pytest.raises(OnnxPrepError, match="memory cannot be measured in a process of its own: crashed"):
        memory.measure_children("x.onnx", {}, budgets={})


def test_startup_passes_after_five(children: Any) -> None:
    """Five children within both budgets are enough; the figures have both times and a later run's."""
    asked = children(startup, told())
    found = startup.measure_startup("x.onnx", {}, budgets={"load_ms": 150, "first_run_ms": 30})

    assert found.verdict is Verdict.PASS
    assert len(asked) == 5
    assert (found.figures["load_ms"], found.figures["first_run_ms"], found.figures["run_ms"]) == (100, 20, 10)
    assert "load 100 ms (100..100) within 150 ms" in found.summary
    assert found.details == ""


def test_startup_fails_after_eight(children: Any) -> None:
    """Eight over the budget on a quiet machine fail, and only what failed is told."""
    asked = children(startup, told())
    found = startup.measure_startup("x.onnx", {}, budgets={"load_ms": 99, "first_run_ms": 30})

    assert found.verdict is Verdict.FAIL
    assert len(asked) == 8
    assert found.summary.startswith("load 100 ms (100..100), 1.00 ms (1.0 %) over the budget of 99 ms")
    assert "first run" not in found.summary
    assert "Hint: loading" in found.details


def test_startup_on_a_busy_machine_is_inconclusive(children: Any) -> None:
    """The same beside others cannot be told, and the reason is given."""
    asked = children(startup, told(), around=BUSY)
    found = startup.measure_startup("x.onnx", {}, budgets={"load_ms": 99})

    assert found.verdict is Verdict.INCONCLUSIVE
    assert len(asked) == 11
    assert "machine noisy: other processes used 50 % of the CPUs" in found.summary
    assert "run start-up items alone" in found.details


def test_time_ends_the_looking(children: Any) -> None:
    """No sixth child is started when the time is over, and five that disagree are too close to call."""
    asked = children(startup, told(load=0.09), told(load=0.11), told(load=0.09), told(load=0.11), told(load=0.11))
    found = startup.measure_startup("x.onnx", {}, budgets={"load_ms": 100}, max_time_s=1e-9)

    assert len(asked) == 5
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "too close to call" in found.summary


def test_throughput_counts_items(children: Any) -> None:
    """Ten milliseconds a run of four items are 400 items a second."""
    asked = children(throughput, told(run=0.01))
    load = throughput.Load("x.onnx", {}, 4, "batch")
    found = throughput.measure_throughput(load, min_per_s=300, sweep=False)

    assert found.verdict is Verdict.PASS
    assert found.figures["per_s"] == pytest.approx(400)
    assert found.figures["sweep"] == []
    assert found.figures["recommended_threads"] is None
    assert found.figures["energy_j_per_run"] is None
    assert "not available" in found.figures["energy"]
    assert len(asked) == 5
    assert found.summary.startswith("400 items a second at batch=4 (400..400, 1 thread), at least 300 demanded")


def test_throughput_too_low_shows_what_would_do(children: Any) -> None:
    """The failure has the sweep, and says which point of it is enough."""
    slow, fast = told(run=0.01), told(run=0.001)
    children(throughput, *[slow] * 8, fast)
    load = throughput.Load("x.onnx", {}, 4, "batch")
    found = throughput.measure_throughput(load, min_per_s=500)

    assert found.verdict is Verdict.FAIL
    assert "20 % short of the 500 demanded" in found.summary
    assert "threads" in found.details
    assert "1 thread and batch=4 would do (4000 a second)" in found.details


def test_energy_is_told_where_it_is_counted(children: Any) -> None:
    """Joules of the runs, divided by their number."""
    one = told(run=0.01)
    object.__setattr__(one.timings[0], "energy_j", 0.6)
    children(throughput, one)
    found = throughput.measure_throughput(throughput.Load("x.onnx", {}, 1, "runs"), min_per_s=1, sweep=False)

    assert found.figures["energy_j_per_run"] == pytest.approx(0.2)
    assert "idle power" in found.figures["energy"]


def test_thread_counts_of_the_sweep() -> None:
    """Powers of two up to the cores, the cores themselves, and what was asked for."""
    assert throughput.thread_counts(6, 1) == [1, 2, 4, 6]
    assert throughput.thread_counts(2, 4) == [1, 2, 4]
    assert throughput.thread_counts(1, 1) == [1]


def test_recommended_threads_are_the_fewest_that_help() -> None:
    """A thread that brings less than 5 % is not worth it."""
    evidence = Process(1.0, 1.0, 0.0)

    def point(threads: int, run_ms: float, items: int = 1) -> throughput.Point:
        return throughput.Point(threads, items, run_ms / 1e3, 1.0, evidence)

    assert throughput.recommended_threads([point(1, 10), point(2, 6), point(4, 5.9)], 1) == 2
    assert throughput.recommended_threads([point(1, 10), point(2, 9.8), point(2, 1, items=8)], 1) == 1
    assert throughput.recommended_threads([], 1) is None


def test_floor_is_the_cpu_time() -> None:
    """What a process needs at least is what it computed, shared by its threads; never more than it took."""
    span = told().load
    assert span is not None
    waited = type(span)(1.0, 0.9, 0.4)

    assert fresh_runs.process_of(waited, 1) == Process(1.0, 0.9, 0.4)
    assert fresh_runs.process_of(type(span)(1.0, 1.3, 1.7), 1) == Process(1.0, 1.0, 1.0)
    assert fresh_runs.process_of(waited, 2, per=10) == Process(0.1, 0.045, 0.4)


def test_neighbours_are_not_ourselves() -> None:
    """What this process burns is not counted as somebody else's; shares are shares."""
    around = neighbours.Neighbours()
    sum(number * number for number in range(300_000))
    found = around.surroundings()

    assert found.others_share is None or 0 <= found.others_share <= 1
    assert neighbours.usable_cores() >= 1
