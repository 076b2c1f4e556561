"""Items per second of a model in fresh processes, against a budget, and over batch sizes and thread counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_onnxprep.runtime.child_measure import ChildMeasure
from pytest_onnxprep.runtime.child_process import POWERCAP, Feeds, run_child
from pytest_onnxprep.runtime.fresh_runs import FreshRuns, process_of, run_fresh
from pytest_onnxprep.runtime.memory import TIMEOUT_S, completed, median
from pytest_onnxprep.runtime.neighbours import Neighbours, usable_cores
from pytest_onnxprep.spec.verdict import Verdict
from pytest_onnxprep.stats.fresh import Process, is_quiet
from pytest_onnxprep.stats.sequential import Ruling
from pytest_onnxprep.stats.words import in_ms, percent

#: Seconds of runs in each judged process, and runs at least.
JUDGED_S = 0.25
RUNS = 3
#: The same for each point of the sweep; no point is begun when a process has spent ``SWEEP_STOP_S`` on its points.
SWEEP_S = 0.15
SWEEP_STOP_S = 8.0
#: A further thread must bring more than that to be worth it.
WORTH = 0.05


@dataclass(frozen=True)
class Load:
    """What is run.

    Args:
        path: the ONNX file.
        feeds: the judged inputs.
        items: how many items one run of them takes in.
        counted: what is counted: the name of a dim, or ``runs``.
        others: number of items -> inputs, for the sweep; empty for none over batch sizes.
        custom_ops: libraries of custom operators.
    """

    path: str | Path
    feeds: Feeds
    items: int
    counted: str
    others: Mapping[int, Feeds] = field(default_factory=dict)
    custom_ops: tuple[str, ...] = ()


@dataclass(frozen=True)
class ThroughputMeasurement:
    """Items per second and what that says about the budget.

    Args:
        verdict: ``PASS``, ``FAIL`` or ``INCONCLUSIVE``.
        summary: one line.
        figures: JSON-able.
        details: the sweep and a hint; empty for a pass.
    """

    verdict: Verdict
    summary: str
    figures: dict[str, Any]
    details: str = ""


@dataclass(frozen=True)
class Point:
    """One point of the sweep. The rate is that of the fastest run: other programs can only have slowed the others.

    Args:
        threads: intra-op threads.
        items: items of a run.
        run_s: seconds of the fastest run.
        cores_used: CPU seconds per second.
        evidence: all runs of it.
    """

    threads: int
    items: int
    run_s: float
    cores_used: float
    evidence: Process

    @property
    def per_s(self) -> float:
        """Items per second."""
        return self.items / self.run_s

    def figures(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "threads": self.threads,
            "items": self.items,
            "per_s": round(self.per_s, 3),
            "run_ms": round(self.run_s * 1e3, 6),
            "cores_used": round(self.cores_used, 3),
        }


def measure_throughput(
    load: Load,
    *,
    min_per_s: float,
    threads: int = 1,
    provider: str | None = None,
    sweep: bool = True,
    max_time_s: float = 30.0,
) -> ThroughputMeasurement:
    """Run the model without a pause in five to eleven fresh processes, then once for each point of the sweep.

    Args:
        load: what is run.
        min_per_s: items per second demanded.
        threads: intra-op threads.
        provider: execution provider; None is the CPU's.
        sweep: whether to measure other batch sizes and thread counts too.
        max_time_s: no further judged process is started after that, beyond the fifth.

    Raises:
        OnnxPrepError: the model cannot be measured.
    """

    def child() -> ChildMeasure:
        found = run_child(
            load.path,
            load.feeds,
            provider=provider,
            threads=threads,
            runs=RUNS,
            min_time_s=JUDGED_S,
            timeout_s=TIMEOUT_S,
            custom_ops=load.custom_ops,
        )
        return completed(found, "the throughput")

    def read(one: ChildMeasure) -> dict[str, Process]:
        timing = one.timings[0]
        return {"item_s": process_of(timing.span, threads, per=len(timing.samples_s) * load.items)}

    runs = run_fresh(child, read, {"item_s": 1 / min_per_s}, max_time_s=max_time_s)
    neighbours = Neighbours()
    points = _sweep(load, threads, provider) if sweep else []
    quiet = bool(points) and is_quiet([point.evidence for point in points], neighbours.surroundings())
    report = _Report(load, runs, points, min_per_s, threads, quiet)
    return ThroughputMeasurement(runs.verdict, report.summary(), report.figures(), report.details())


def recommended_threads(points: Sequence[Point], items: int) -> int | None:
    """The fewest threads that come within 5 % of the best rate at this batch size; None where nothing was measured."""
    rates = {point.threads: point.per_s for point in points if point.items == items}
    if not rates:
        return None
    best = max(rates.values())
    return min(threads for threads, rate in rates.items() if rate >= (1 - WORTH) * best)


def thread_counts(cores: int, asked: int) -> list[int]:
    """1, 2, 4, ... up to the usable cores, these themselves, and what was asked for."""
    counts = {asked, cores}
    count = 1
    while count <= cores:
        counts.add(count)
        count *= 2
    return sorted(counts)


def _sweep(load: Load, asked: int, provider: str | None) -> list[Point]:
    """A process per thread count, the judged size first, then the others from small to large."""
    sizes = [load.items, *sorted(set(load.others) - {load.items})]
    points = []
    for threads in thread_counts(usable_cores(), asked):
        found = completed(
            run_child(
                load.path,
                load.feeds,
                provider=provider,
                threads=threads,
                runs=RUNS,
                min_time_s=SWEEP_S,
                more_feeds=[load.others[size] for size in sizes[1:]],
                stop_after_s=SWEEP_STOP_S,
                timeout_s=TIMEOUT_S,
                custom_ops=load.custom_ops,
            ),
            "the throughput",
        )
        points += [
            Point(threads, size, min(timing.samples_s), timing.span.cores_used, process_of(timing.span, threads))
            for size, timing in zip(sizes, found.timings, strict=False)
        ]
    return sorted(points, key=lambda point: (point.threads, point.items))


class _Report:
    """Words and figures."""

    def __init__(
        self,
        load: Load,
        runs: FreshRuns,
        points: Sequence[Point],
        min_per_s: float,
        threads: int,
        quiet: bool,
    ) -> None:
        self.load, self.runs, self.points, self.quiet = load, runs, points, quiet
        self.min_per_s, self.threads = min_per_s, threads
        self.per_s = 1 / runs.value("item_s")
        slow, fast = (1 / end for end in reversed(runs.interval("item_s")))
        self.range = (slow, fast)
        self.recommended = recommended_threads(points, load.items)

    def figures(self) -> dict[str, Any]:
        """JSON-able."""
        timings = [one.timings[0] for one in self.runs.children]
        joules = [timing.energy_j / len(timing.samples_s) for timing in timings if timing.energy_j is not None]
        return {
            "per_s": round(self.per_s, 3),
            "per_s_range": [round(end, 3) for end in self.range],
            "items": self.load.items,
            "counted": self.load.counted,
            "run_ms": round(median([timing.median_s for timing in timings]) * 1e3, 6),
            "cores_used": round(median([timing.span.cores_used for timing in timings]), 3),
            "energy_j_per_run": round(median(joules), 9) if joules else None,
            "energy": "CPU packages, idle power and other processes included"
            if joules
            else f"not available: no readable energy counter in {POWERCAP}",
            "sweep": [point.figures() for point in self.points],
            "recommended_threads": self.recommended,
            "sweep_quiet": self.quiet if self.points else None,
            "budget": {"min_per_s": self.min_per_s},
            **self.runs.figures(),
        }

    def summary(self) -> str:
        """One line."""
        low, high = self.range
        figure = f"{_rate(self.per_s)} {self._what()} ({_rate(low)}..{_rate(high)}, {self._threads(self.threads)})"
        ruling = self.runs.rulings["item_s"]
        demanded = f"{self.min_per_s:.10g}"
        if ruling is Ruling.PASS:
            told = f"{figure}, at least {demanded} demanded"
        elif ruling is Ruling.FAIL:
            short = percent(1 - self.per_s / self.min_per_s)
            told = f"{figure}, {short} short of the {demanded} demanded"
        else:
            told = f"{figure} against {demanded} demanded: {self.runs.why_inconclusive('item_s')}"
        return f"{told} (median of {len(self.runs.children)} fresh processes)"

    def details(self) -> str:
        """The summary, the sweep and a hint."""
        if self.runs.verdict is Verdict.PASS:
            return ""
        lines = [f"throughput: {self.summary()}"]
        if self.points:
            lines += ["", f"{'threads':>9}{self.load.counted:>12}{'per second':>12}{'run ms':>10}{'cores used':>12}"]
            lines += [
                f"{point.threads:>9}{point.items:>12}{_rate(point.per_s):>12}{in_ms(point.run_s):>10}"
                f"{point.cores_used:>12.2f}"
                for point in self.points
            ]
            busy = "" if self.quiet else "; the machine was busy, so compare with care"
            lines.append(f"(fastest run of one process each{busy})")
        return "\n".join([*lines, "", f"Hint: {self._hint()}"])

    def _hint(self) -> str:
        if self.runs.verdict is Verdict.INCONCLUSIVE:
            return "run throughput items alone (no xdist, no other jobs), and leave 25 to 35 % below what you measure."
        enough = [point for point in self.points if point.per_s >= self.min_per_s]
        if enough:
            first = min(enough, key=lambda point: (point.threads, point.items))
            size = f" and {self.load.counted}={first.items}" if self.load.counted != "runs" else ""
            return f"{self._threads(first.threads)}{size} would do ({_rate(first.per_s)} a second)."
        return "no thread count and batch size of the sweep is enough: a smaller or quantised model, or more cores."

    def _what(self) -> str:
        return (
            "runs a second"
            if self.load.counted == "runs"
            else f"items a second at {self.load.counted}={self.load.items}"
        )

    @staticmethod
    def _threads(count: int) -> str:
        return "1 thread" if count == 1 else f"{count} threads"


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
