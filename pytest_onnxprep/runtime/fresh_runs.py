"""Time something in one fresh process after the other until its budgets are decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.runtime.child_measure import ChildMeasure, Span
from pytest_onnxprep.runtime.neighbours import Neighbours
from pytest_onnxprep.spec.verdict import Verdict
from pytest_onnxprep.stats.fresh import LOOKS, Process, Surroundings, is_quiet, judge_processes
from pytest_onnxprep.stats.sequential import QUIET_OTHERS, QUIET_SHARE, Ruling
from pytest_onnxprep.stats.words import percent

_VERDICTS = {Ruling.PASS: Verdict.PASS, Ruling.FAIL: Verdict.FAIL}


@dataclass(frozen=True)
class FreshRuns:
    """Fresh processes and what they say about each budget.

    Args:
        children: in order.
        series: figure -> one `Process` per child.
        rulings: budgeted figure -> its ruling.
        around: what the rest of the machine did.
        conditions: what the machine allowed: clock, quota, throttling, load, thread settings.
    """

    children: tuple[ChildMeasure, ...]
    series: Mapping[str, tuple[Process, ...]]
    rulings: Mapping[str, Ruling]
    around: Surroundings
    conditions: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """The worst: one figure that fails fails all."""
        rulings = set(self.rulings.values())
        if Ruling.FAIL in rulings:
            return Verdict.FAIL
        return Verdict.PASS if rulings <= {Ruling.PASS} else Verdict.INCONCLUSIVE

    def value(self, name: str) -> float:
        """The median."""
        values = sorted(one.value for one in self.series[name])
        return values[len(values) // 2]

    def interval(self, name: str) -> tuple[float, float]:
        """Smallest and largest, the interval of the median at 94 % and more."""
        values = [one.value for one in self.series[name]]
        return min(values), max(values)

    def why_inconclusive(self, name: str) -> str:
        """The reason, in words."""
        processes = self.series[name]
        if is_quiet(processes, self.around):
            return "too close to call"
        waited = sorted(one.waited_share for one in processes)[len(processes) // 2]
        reasons = []
        if waited > QUIET_SHARE:
            reasons.append(f"{percent(waited)} of the time spent waiting for a CPU")
        if (self.around.steal_share or 0.0) > QUIET_SHARE:
            reasons.append(f"{percent(self.around.steal_share or 0.0)} of CPU time stolen by the host")
        if self.around.others_share is not None and self.around.others_share > QUIET_OTHERS:
            reasons.append(f"other processes used {percent(self.around.others_share)} of the CPUs")
        return f"machine noisy: {', '.join(reasons) or 'it does not say what other processes do'}"

    def figures(self) -> dict[str, Any]:
        """How it was measured, JSON-able."""
        last = self.children[-1]
        return {
            "children": len(self.children),
            "threads": last.threads_asked,
            "process_threads": last.threads,
            "provider": last.provider,
            "others_share": _rounded(self.around.others_share),
            "steal_share": _rounded(self.around.steal_share),
            "conditions": dict(self.conditions),
        }


def run_fresh(
    child: Callable[[], ChildMeasure],
    read: Callable[[ChildMeasure], Mapping[str, Process]],
    limits: Mapping[str, float],
    *,
    max_time_s: float,
) -> FreshRuns:
    """Run children until every limit is decided or the time is over; five in any case.

    Args:
        child: runs one, and raises where it did not do its work.
        read: its figures.
        limits: figure -> at most that.
        max_time_s: no child is started after that.
    """
    neighbours = Neighbours()
    started = time.monotonic()
    children: list[ChildMeasure] = []
    series: dict[str, list[Process]] = {}
    rulings: dict[str, Ruling] = {}
    for look in LOOKS:
        while len(children) < look:
            # The first look is complete whatever it takes: fewer processes can decide nothing.
            if len(children) >= LOOKS[0] and time.monotonic() - started >= max_time_s:
                break
            children.append(child())
            for name, process in read(children[-1]).items():
                series.setdefault(name, []).append(process)
        final = look == LOOKS[-1] or time.monotonic() - started >= max_time_s
        around = neighbours.surroundings()
        rulings = {name: judge_processes(series[name], limit, around, final=final) for name, limit in limits.items()}
        if final or Ruling.CONTINUE not in rulings.values() or Ruling.FAIL in rulings.values():
            break
    done = {name: Ruling.INCONCLUSIVE if one is Ruling.CONTINUE else one for name, one in rulings.items()}
    told = {name: tuple(one) for name, one in series.items()}
    return FreshRuns(tuple(children), told, done, around, neighbours.conditions())


def process_of(span: Span, threads: int, *, per: float = 1.0) -> Process:
    """A span as evidence, divided by how often something happened in it.

    What a process needs at least is its CPU time, shared evenly by its threads. Not the time without the waiting for a
    CPU: the kernel books that late and not whole (measured: 2.5 ms "undisturbed" of a run of 1 ms beside 15 others).
    """
    return Process(span.wall_s / per, min(span.cpu_s / threads, span.wall_s) / per, span.waited_share)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
