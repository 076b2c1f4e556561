"""A finished latency measurement in words and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pytest_onnxprep.stats.quantiles import mean_bounds
from pytest_onnxprep.stats.sequential import (
    Budget,
    BudgetRuling,
    Decision,
    Evidence,
    Ruling,
    percentile_with_interval,
)
from pytest_onnxprep.stats.words import in_ms, interval_ms, percent

#: Every budget there is, and its quantile; None is the mean.
BUDGETS: dict[str, float | None] = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "mean_ms": None}

_CERTIFICATES = {
    "quiet": "the machine was quiet",
    "quartile": "even the lower quartile of the undisturbed calls is over",
    "twofold": "every call took over twice the budget",
}


class LatencyReport:
    """Words and figures for one finished sampling."""

    def __init__(
        self,
        *,
        evidence: Evidence,
        steal_share: float | None,
        others_share: float | None,
        elapsed_s: float,
        budgets: Sequence[Budget],
        decision: Decision,
        threads: int | None,
        provider: str,
    ) -> None:
        self.evidence, self.samples = evidence, evidence.samples
        self.steal_share, self.others_share, self.elapsed_s = steal_share, others_share, elapsed_s
        self.decision = decision
        self.limits = {budget.name: budget.limit for budget in budgets}
        self.threads, self.provider = threads, provider
        ordered = sorted(self.samples)
        self.percentiles = {
            name.removesuffix("_ms"): percentile_with_interval(ordered, self.samples, q)
            for name, q in BUDGETS.items()
            if q is not None
        }
        self.mean_s = sum(self.samples) / len(self.samples)
        judged = next((budget.name for budget in budgets if budget.q is not None), "p95")
        self.effective_n = self.percentiles[judged].effective_n

    def figures(self) -> dict[str, Any]:
        """JSON-able; see `LatencyMeasurement`."""
        figures: dict[str, Any] = {f"{name}_ms": _ms(one.value) for name, one in self.percentiles.items()}
        figures |= {"mean_ms": _ms(self.mean_s), "min_ms": _ms(min(self.samples))}
        for name, one in self.percentiles.items():
            if name == "p95" or name in self.limits:
                figures[f"{name}_interval_ms"] = [_ms(end) for end in one.interval]
        if "mean" in self.limits:
            figures["mean_interval_ms"] = [_ms(end) for end in mean_bounds(self.samples, 0.025)]
        return figures | {
            "n": len(self.samples),
            "effective_n": round(self.effective_n, 1),
            "preempted_share": round(self.evidence.preempted_share, 4),
            "steal_share": None if self.steal_share is None else round(self.steal_share, 4),
            "others_share": None if self.others_share is None else round(self.others_share, 4),
            "budget": {f"{name}_ms": _ms(limit) for name, limit in self.limits.items()},
            "threads": self.threads or "default",
            "provider": self.provider,
            "gc": "off",
        }

    def summary(self) -> str:
        """One line."""
        made = f"n={len(self.samples)}"
        if not self.limits:
            p50, p95 = self.percentiles["p50"], self.percentiles["p95"]
            return f"p50 {in_ms(p50.value)} ms, p95 {_figure(p95.value, p95.interval)}, no budget, {made}"
        if self.decision.ruling is Ruling.PASS:
            return f"{'; '.join(f'{_of(one)} within {_limit(one)}' for one in self.decision.budgets)}, {made}"
        if self.decision.ruling is Ruling.FAIL:
            failed = [one for one in self.decision.budgets if one.ruling is Ruling.FAIL]
            found = "; ".join(f"{_of(one)} over {_limit(one)} by {_excess(one)}" for one in failed)
            return f"{found}, {made}; {_CERTIFICATES[failed[0].certificate]}"
        if not self.decision.calls_needed:
            return f"{self.decision.reason}, {made}"
        seconds = math.ceil(1.1 * self.decision.calls_needed * self.mean_s)
        so_far = ", ".join(
            f"{one.budget.name} so far {in_ms(one.estimate)} ms of {_limit(one)}" for one in self.decision.budgets
        )
        return f"{self.decision.reason} in {self.elapsed_s:.2g} s; raise max_time_s to {seconds} ({so_far})"

    def details(self) -> str:
        """The summary, a table, and one hint."""
        lines = [self.summary(), "", f"{'':6}{'measured ms':>12}  {'95 % interval':<22}{'budget ms':>10}"]
        rows = {name: (one.value, one.interval) for name, one in self.percentiles.items()}
        rows["mean"] = (self.mean_s, mean_bounds(self.samples, 0.025))
        rulings = {one.budget.name: one for one in self.decision.budgets}
        for name, (value, interval) in rows.items():
            line = f"{name:<6}{in_ms(value):>12}  {interval_ms(interval):<22}"
            if name in rulings:
                line += f"{rulings[name].budget.limit * 1e3:>10g}  {_word(rulings[name])}"
            lines.append(line.rstrip())
        stolen, others = (
            "unknown" if share is None else percent(share) for share in (self.steal_share, self.others_share)
        )
        lines += [
            "",
            f"{len(self.samples)} calls in {self.elapsed_s:.2g} s (worth {self.effective_n:.0f} independent ones), "
            f"{percent(self.evidence.preempted_share)} preempted, CPU time stolen by the host: {stolen}, "
            f"CPUs used by other processes: {others}",
            f"{self.provider}, threads: {self.threads or 'default'}, fastest call {in_ms(min(self.samples))} ms",
            f"Hint: {self._hint()}",
        ]
        return "\n".join(lines)

    def _hint(self) -> str:
        """What to do next."""
        if self.decision.ruling is not Ruling.FAIL:
            if self.decision.calls_needed:
                return "a percentile needs many calls; for slow models prefer mean_ms or p50_ms, or raise max_time_s."
            if not self.evidence.is_calm:
                return "run latency items alone (no xdist, no other jobs); a busy machine cannot fail a model fairly."
            return "the model sits at its budget; give it 25 to 35 % headroom, or gate on max_regression."
        worst = max(one.estimate / one.budget.limit for one in self.decision.budgets)
        if worst < 1.35:
            return "a budget is an upper limit with 25 to 35 % headroom, not last week's figure; see max_regression."
        if min(self.samples) * 1.5 < self.percentiles["p50"].value or self.mean_s * 2 < self.percentiles["p95"].value:
            return "the fastest calls are far faster than the slow ones: look for work that only some calls do."
        return "every call is slow: compare the graph with the last good one (operators, nodes, precision, threads)."


def _ms(seconds: float) -> float | None:
    """Milliseconds to the picosecond, so that no float noise shows; None for an unknown end."""
    return round(seconds * 1e3, 9) if math.isfinite(seconds) else None


def _figure(value: float, interval: tuple[float, float]) -> str:
    return f"{in_ms(value)} ms (95 % interval {interval_ms(interval)})"


def _of(one: BudgetRuling) -> str:
    return f"{one.budget.name} {_figure(one.estimate, one.interval)}"


def _limit(one: BudgetRuling) -> str:
    return f"{one.budget.limit * 1e3:g} ms"


def _excess(one: BudgetRuling) -> str:
    over = one.estimate - one.budget.limit
    return f"{in_ms(over)} ms ({percent(over / one.budget.limit)})"


def _word(one: BudgetRuling) -> str:
    """The last column of the table."""
    if one.ruling is Ruling.FAIL:
        return f"over by {percent(one.estimate / one.budget.limit - 1)}"
    return "within" if one.ruling is Ruling.PASS else "undecided"
