"""Hold a session's latency to absolute budgets."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError, SpecError, closest
from pytest_onnxprep.runtime.latency_report import BUDGETS, LatencyReport
from pytest_onnxprep.runtime.sampler import Clock, Probe, Samples, collector_off, sample, warm_up
from pytest_onnxprep.spec.verdict import Verdict
from pytest_onnxprep.stats.sequential import EXTREME_CALLS, LOOKS, Budget, Decision, Evidence, Ruling, judge

#: Calls made when there is nothing to decide.
UNBUDGETED_CALLS = 256
#: A fail is not believed from a shorter spell than this while there is time for more: a neighbour's burst may fill it.
MIN_FAIL_S = 0.5

_VERDICTS = {Ruling.PASS: Verdict.PASS, Ruling.FAIL: Verdict.FAIL}


@dataclass(frozen=True)
class LatencyMeasurement:
    """What the calls took and what that says about the budgets.

    Args:
        verdict: ``PASS``, ``FAIL`` or ``INCONCLUSIVE``.
        summary: one line: figure, interval, budget, number of calls, and the reason of anything but a pass.
        samples_s: every timed call in order, seconds.
        figures: JSON-able; times in milliseconds, shares of 1, unknown interval ends None.
        details: table of all percentiles against their budgets, and a hint; empty for a pass.
    """

    verdict: Verdict
    summary: str
    samples_s: list[float]
    figures: dict[str, Any]
    details: str = ""


def measure(
    session: Any,
    feeds: Mapping[str, Any],
    *,
    budgets: Mapping[str, float],
    threads: int | None,
    max_time_s: float = 3.0,
    clock: Clock = time.perf_counter_ns,
    probe: Probe | None = None,
) -> LatencyMeasurement:
    """Warm up, then time ``session.run`` until every budget is decided or the time is over.

    The verdict is that of `pytest_onnxprep.stats.sequential.judge`. Warming up (0.2 s, up to a second or three calls
    for slow models) comes on top of ``max_time_s``; slow models may take up to twice of it to get four calls.

    Args:
        session: an ``onnxruntime.InferenceSession``, best made by `make_session` with the same ``threads``.
        feeds: input name -> array, made beforehand.
        budgets: any of `BUDGETS` -> milliseconds. Empty: measure only, and pass.
        threads: threads of the session's pool; None for ONNX Runtime's default.
        max_time_s: seconds of sampling.
        clock: monotonic nanoseconds.
        probe: the operating system's account; made here if None.

    Raises:
        SpecError: an unknown budget, or a limit or time that is not a positive number.
        OnnxPrepError: ONNX Runtime cannot run the model on these feeds.
    """
    checked = _checked(budgets, max_time_s)
    sampling = _Sampling(session, feeds, probe or Probe(threads), clock, max_time_s)
    decision = sampling.until_decided(checked)
    report = LatencyReport(
        evidence=sampling.evidence,
        steal_share=sampling.steal_share,
        others_share=sampling.others_share,
        elapsed_s=sampling.elapsed_s,
        budgets=checked,
        decision=decision,
        threads=threads,
        provider=session.get_providers()[0],
    )
    verdict = _VERDICTS.get(decision.ruling, Verdict.INCONCLUSIVE)
    details = "" if verdict is Verdict.PASS else report.details()
    return LatencyMeasurement(verdict, report.summary(), sampling.taken.seconds, report.figures(), details)


def describe(
    taken: Samples, *, steal_share: float | None, others_share: float | None, threads: int | None, provider: str
) -> dict[str, Any]:
    """The figures of `measure` for calls that were made for another purpose and held to no budget."""
    return LatencyReport(
        evidence=Evidence(taken.seconds, taken.disturbed, taken.floors, steal_share or 0.0),
        steal_share=steal_share,
        others_share=others_share,
        elapsed_s=sum(taken.seconds),
        budgets=[],
        decision=Decision(Ruling.PASS, ()),
        threads=threads,
        provider=provider,
    ).figures()


def _checked(budgets: Mapping[str, float], max_time_s: float) -> list[Budget]:
    """The budgets in the terms of `judge`.

    Raises:
        SpecError: see `measure`.
    """
    if not _is_positive(max_time_s):
        raise SpecError(f"max_time_s must be a positive number of seconds, not {max_time_s!r}")
    checked = []
    for name, limit in budgets.items():
        if name not in BUDGETS:
            raise SpecError(f"unknown latency budget {name!r}{closest(name, BUDGETS)} Accepted: {', '.join(BUDGETS)}.")
        if not _is_positive(limit):
            raise SpecError(f"{name} must be a positive number of milliseconds, not {limit!r}")
        checked.append(Budget(name.removesuffix("_ms"), limit / 1e3, BUDGETS[name]))
    return checked


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


class _Sampling:
    """Takes samples until they suffice."""

    def __init__(self, session: Any, feeds: Mapping[str, Any], probe: Probe, clock: Clock, max_time_s: float) -> None:
        self.call = (session.run, [output.name for output in session.get_outputs()], feeds)
        self.probe = probe
        self.clock = clock
        self.max_time_s = max_time_s
        self.allowed = round(max_time_s * 1e9)
        self.taken = Samples()
        self.start = 0
        self.elapsed_s = 0.0
        self.steal_share: float | None = None
        self.others_share: float | None = None

    @property
    def evidence(self) -> Evidence:
        """Everything so far."""
        taken = self.taken
        shares = self.steal_share or 0.0, self.others_share or 0.0
        return Evidence(taken.seconds, taken.disturbed, taken.floors, *shares)

    def until_decided(self, budgets: Sequence[Budget]) -> Decision:
        """Warm up, then look at 128, 256, ... calls, and at whatever there is when time ends.

        Raises:
            OnnxPrepError: the model does not run.
        """
        with collector_off():
            try:
                warm_up(*self.call, limit_s=max(1.0, self.max_time_s), clock=self.clock)
            except Exception as error:
                raise OnnxPrepError(f"the model cannot be timed, ONNX Runtime refuses to run it: {error}") from error
            self.start = self.clock()
            self._take(EXTREME_CALLS, 2 * self.allowed)
            if budgets:
                return self._looks(budgets)
            self._take(UNBUDGETED_CALLS, self.allowed)
            return Decision(Ruling.PASS, ())

    def _looks(self, budgets: Sequence[Budget]) -> Decision:
        """One look after the other until a verdict."""
        for look, calls in enumerate(LOOKS, start=1):
            self._take(calls, self.allowed)
            final = look == len(LOOKS) or self.elapsed_s >= self.max_time_s
            decision = judge(self.evidence, budgets, look=look, final=final)
            hasty = decision.ruling is Ruling.FAIL and self.elapsed_s < MIN_FAIL_S
            if final or (decision.ruling is not Ruling.CONTINUE and not hasty):
                break
        return decision

    def _take(self, calls: int, allowed: int) -> None:
        """Sample up to a total number of calls or nanoseconds; the very first call is made however late it is."""
        made, deadline = len(self.taken.seconds), self.start + allowed
        missing = calls - made
        if missing > 0 and (not made or self.clock() < deadline):
            sample(*self.call, self.taken, rounds=missing, deadline=deadline, probe=self.probe, clock=self.clock)
        self.elapsed_s = (self.clock() - self.start) / 1e9
        self.steal_share, self.others_share = self.probe.steal_share(), self.probe.others_share()
