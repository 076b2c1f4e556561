"""Is a latency within its budget? A verdict that may also be "cannot tell".

Calls over the limit are counted and the count is tested against the share the percentile allows, at a few looks of
geometrically growing size (group-sequential testing; peeking at every call would find a "violation" by luck half the
time). Other programs only ever add time, so a pass under noise is a pass, while a fail needs a certificate that it was
the model and not the machine.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_onnxprep.stats.binomial import binomial_cdf, binomial_sf
from pytest_onnxprep.stats.quantiles import design_effect, mean_bounds, quantile, quantile_interval
from pytest_onnxprep.stats.words import interval_ms, percent

#: Number of calls at each look. The error allowance is split evenly over them.
LOOKS = (128, 256, 512, 1024, 2048, 4096)
#: Chance of passing a model that is exactly at, or beyond, its budget.
ALPHA_PASS = 0.05
#: Chance of failing a model that is exactly at, or within, its budget.
ALPHA_FAIL = 0.01
#: Largest share of preempted calls, and of stolen CPU time, of a machine that counts as quiet.
QUIET_SHARE = 0.03
#: Largest share of the machine's CPUs that other processes may use: one that copies memory slows the others' calls
#: without preempting a single one.
QUIET_OTHERS = 0.1
#: Fewer calls than this cannot show that a machine is quiet.
QUIET_CALLS = 32
#: Fewest calls from which a mean may pass.
MEAN_CALLS = 8
#: Slow models: this many calls, all of them this many times over the limit, are enough to fail.
EXTREME_CALLS = 4
EXTREME_FACTOR = 2


class Ruling(enum.Enum):
    """``CONTINUE``: take more samples. ``INCONCLUSIVE``: there are no more to be had."""

    PASS = enum.auto()
    FAIL = enum.auto()
    CONTINUE = enum.auto()
    INCONCLUSIVE = enum.auto()


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit on one figure.

    Args:
        name: as messages show it, such as ``"p95"`` or ``"mean"``.
        limit: seconds.
        q: which quantile must be at or below the limit, 0..1; None for the mean.
    """

    name: str
    limit: float
    q: float | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All calls made so far.

    Args:
        samples: seconds per call, in order.
        disturbed: per call, whether the machine took the CPU away during it.
        floors: per call, seconds it would have needed on an undisturbed machine at the very least (its CPU time);
            empty where unknown. Only read for disturbed calls.
        steal_share: share of the CPU time wanted that the host gave to somebody else, 0..1.
        others_share: share of the machine's CPUs that other processes used, 0..1.
    """

    samples: Sequence[float]
    disturbed: Sequence[bool]
    floors: Sequence[float] = ()
    steal_share: float = 0.0
    others_share: float = 0.0

    @property
    def preempted_share(self) -> float:
        """Share of calls that were disturbed, 0..1."""
        return sum(self.disturbed) / len(self.disturbed) if self.disturbed else 0.0

    @property
    def is_calm(self) -> bool:
        """Whether neither preemption nor steal nor other processes were seen to speak of."""
        taken = max(self.preempted_share, self.steal_share)
        return taken <= QUIET_SHARE and self.others_share <= QUIET_OTHERS

    def clean(self) -> list[float]:
        """Seconds per call with the machine's part taken off; calls of which nothing can be said are left out.

        Where the host stole time, calls are shortened by the stolen share: they do not show which of them it hit.
        """
        floors: Sequence[float | None] = self.floors or [None] * len(self.samples)
        kept = [
            floor if bad else seconds for seconds, bad, floor in zip(self.samples, self.disturbed, floors, strict=True)
        ]
        shrink = 1.0 if self.steal_share <= QUIET_SHARE else 1 - self.steal_share
        return [seconds * shrink for seconds in kept if seconds is not None]

    def certificate(self, limit: float, alpha: float) -> str:
        """Why calls over the limit are the model's doing and not the machine's; ``""`` if they may not be.

        - ``"quiet"``: at most 3 % of calls were preempted, at most 3 % of CPU time stolen, at most 10 % of the
          machine used by others.
        - ``"quartile"``: even the lower quartile of the undisturbed calls is over the limit, tested at ``alpha``.
        - ``"twofold"``: every undisturbed call, and there are four or more, took over twice the limit.
        """
        if self.is_calm and len(self.samples) >= QUIET_CALLS:
            return "quiet"
        clean = self.clean()
        over = sum(seconds > limit for seconds in clean)
        if clean and binomial_sf(over, len(clean), 0.75) <= alpha:
            return "quartile"
        return "twofold" if is_extreme(clean, limit) else ""


@dataclass(frozen=True, slots=True)
class BudgetRuling:
    """What the evidence says about one budget.

    Args:
        budget: the budget.
        ruling: ``CONTINUE`` where it is undecided.
        estimate: the measured figure, seconds.
        interval: its 95 % confidence interval, seconds; an unknown end is infinite.
        certificate: of a fail, see `Evidence.certificate`.
        is_over: whether it would be a fail if there were a certificate.
    """

    budget: Budget
    ruling: Ruling
    estimate: float
    interval: tuple[float, float]
    certificate: str = ""
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict over all budgets.

    Args:
        ruling: the outcome.
        budgets: each budget's own, in the order given.
        reason: of an inconclusive outcome, such as ``"too close to call (p95 9.80..11.3 ms around 10 ms)"``.
        calls_needed: of one that lacks calls, how many would do at the least; else 0.
    """

    ruling: Ruling
    budgets: tuple[BudgetRuling, ...]
    reason: str = ""
    calls_needed: int = 0


def judge(evidence: Evidence, budgets: Sequence[Budget], *, look: int, final: bool = False) -> Decision:
    """Pass if every budget passes, fail if any fails, else continue or, at the final look, give up with a reason.

    A pass of all needs each to pass, so the pass allowance is not divided among budgets; the fail allowance is.

    Args:
        evidence: all calls so far, the earlier looks' included.
        budgets: at least one.
        look: number of this look, from 1. If the first is also the final one nothing else is tested and it may spend
            the whole error allowance; otherwise each look spends an equal part.
        final: whether there will be no further samples.

    Raises:
        ValueError: no samples, no budgets, or a look number outside 1..6.
    """
    if not evidence.samples or not budgets:
        raise ValueError("a verdict needs at least one sample and one budget")
    if not 1 <= look <= len(LOOKS):
        raise ValueError(f"look must lie in 1..{len(LOOKS)}, not {look!r}")
    looks = 1 if final and look == 1 else len(LOOKS)
    alpha_pass, alpha_fail = ALPHA_PASS / looks, ALPHA_FAIL / (looks * len(budgets))
    rulings = tuple(
        _judge_mean(budget, evidence, alpha_pass, alpha_fail)
        if budget.q is None
        else _judge_quantile(budget, budget.q, evidence, alpha_pass, alpha_fail)
        for budget in budgets
    )
    found = {ruling.ruling for ruling in rulings}
    if Ruling.FAIL in found:
        return Decision(Ruling.FAIL, rulings)
    if found == {Ruling.PASS}:
        return Decision(Ruling.PASS, rulings)
    if not final:
        return Decision(Ruling.CONTINUE, rulings)
    reason, needed = _why_undecided(rulings, evidence, alpha_pass)
    return Decision(Ruling.INCONCLUSIVE, rulings, reason, needed)


def minimum_calls(q: float, violations: int = 0, alpha: float = ALPHA_PASS) -> int:
    """Fewest calls that can show a ``q``-quantile to be within its limit when this many of them are over it.

    The smallest ``n`` with ``P(Bin(n, 1 - q) <= violations) <= alpha``: MLPerf's early-stopping rule at tolerance 0
    (``loadgen/early_stopping.cc``). For p95 at 95 %: 59, 93, 124, ...

    Raises:
        ValueError: ``q`` or ``alpha`` not strictly between 0 and 1.
    """
    if not 0 < q < 1 or not 0 < alpha < 1:
        raise ValueError(f"q and alpha must lie strictly between 0 and 1, not {q!r} and {alpha!r}")
    low, high = violations, violations + 1
    while binomial_cdf(violations, high, 1 - q) > alpha:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(violations, middle, 1 - q) > alpha else (low, middle)
    return high


def percentile_with_interval(sorted_samples: Sequence[float], samples: Sequence[float], q: float) -> Estimate:
    """The quantile, its 95 % interval and the effective number of calls behind them.

    Args:
        sorted_samples: ``samples`` in increasing order.
        samples: seconds, in the order they were taken.
        q: strictly between 0 and 1.
    """
    estimate = quantile(sorted_samples, q)
    effective = len(samples) / design_effect([seconds > estimate for seconds in samples])
    return Estimate(estimate, quantile_interval(sorted_samples, q, effective), effective)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure in seconds, its 95 % interval in seconds, and how many independent calls it rests on."""

    value: float
    interval: tuple[float, float]
    effective_n: float


def is_extreme(seconds: Sequence[float], limit: float) -> bool:
    """Whether there are at least four calls and each took more than twice the limit.

    No test of significance, but contention seldom doubles even the fastest call, and a model of half a second a call
    cannot be called often enough for a test.
    """
    return len(seconds) >= EXTREME_CALLS and min(seconds) > EXTREME_FACTOR * limit


def _judge_quantile(budget: Budget, q: float, evidence: Evidence, alpha_pass: float, alpha_fail: float) -> BudgetRuling:
    """Test the number of calls over the limit against the share the quantile allows."""
    flags = [seconds > budget.limit for seconds in evidence.samples]
    deff = design_effect(flags)
    effective, over = len(flags) / deff, sum(flags) / deff
    estimate = percentile_with_interval(sorted(evidence.samples), evidence.samples, q)
    shown = estimate.value, estimate.interval
    if binomial_cdf(over, effective, 1 - q) <= alpha_pass:
        return BudgetRuling(budget, Ruling.PASS, *shown)
    if binomial_sf(over, effective, 1 - q) > alpha_fail and not is_extreme(evidence.samples, budget.limit):
        return BudgetRuling(budget, Ruling.CONTINUE, *shown)
    certificate = evidence.certificate(budget.limit, alpha_fail)
    return BudgetRuling(budget, Ruling.FAIL if certificate else Ruling.CONTINUE, *shown, certificate, is_over=True)


def _judge_mean(budget: Budget, evidence: Evidence, alpha_pass: float, alpha_fail: float) -> BudgetRuling:
    """Hold the confidence bounds of the mean against the limit."""
    shown = sum(evidence.samples) / len(evidence.samples), mean_bounds(evidence.samples, 0.025)
    if len(evidence.samples) >= MEAN_CALLS and mean_bounds(evidence.samples, alpha_pass)[1] <= budget.limit:
        return BudgetRuling(budget, Ruling.PASS, *shown)
    low = mean_bounds(evidence.samples, alpha_fail)[0]
    if low <= budget.limit and not is_extreme(evidence.samples, budget.limit):
        return BudgetRuling(budget, Ruling.CONTINUE, *shown)
    certificate = evidence.certificate(budget.limit, alpha_fail)
    return BudgetRuling(budget, Ruling.FAIL if certificate else Ruling.CONTINUE, *shown, certificate, is_over=True)


def _why_undecided(rulings: Sequence[BudgetRuling], evidence: Evidence, alpha_pass: float) -> tuple[str, int]:
    """The reason in words, and the number of calls needed where that is what is missing."""
    undecided = [ruling for ruling in rulings if ruling.ruling is Ruling.CONTINUE]
    # The likeliest fail first; then the one that needs most calls.
    first = max(undecided, key=lambda ruling: (ruling.is_over, ruling.budget.q or 0.0))
    budget, made = first.budget, len(evidence.samples)
    needed = max(QUIET_CALLS, MEAN_CALLS if budget.q is None else minimum_calls(budget.q, alpha=alpha_pass))
    if made < needed:
        return f"{budget.name} needs at least {needed} calls; {made} {'was' if made == 1 else 'were'} made", needed
    around = f"{budget.name} {interval_ms(first.interval)} ms around {budget.limit * 1e3:g} ms"
    if evidence.is_calm:
        return f"too close to call ({around})", 0
    noise = []
    if evidence.preempted_share > QUIET_SHARE:
        noise.append(f"{percent(evidence.preempted_share)} of calls preempted")
    if evidence.steal_share > QUIET_SHARE:
        noise.append(f"{percent(evidence.steal_share)} of CPU time stolen by the host")
    if evidence.others_share > QUIET_OTHERS:
        noise.append(f"other processes used {percent(evidence.others_share)} of the CPUs")
    return f"machine noisy: {', '.join(noise)} ({around})", 0
