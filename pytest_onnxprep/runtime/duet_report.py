"""A finished duet in words and figures."""

from __future__ import annotations

import math
from typing import Any

from pytest_onnxprep.runtime.duet import STRETCHED, Duet, dropped
from pytest_onnxprep.runtime.sampler import Samples
from pytest_onnxprep.spec.comparison import Comparison
from pytest_onnxprep.stats.quantiles import quantile
from pytest_onnxprep.stats.sequential import QUIET_SHARE, Ruling
from pytest_onnxprep.stats.words import in_ms, percent


class DuetReport:
    """Words and figures for one comparison."""

    def __init__(self, duet: Duet, comparison: Comparison, rival: str) -> None:
        self.duet, self.comparison, self.rival = duet, comparison, rival
        self.decision = duet.decision
        self.is_regression = comparison.name == "max_regression"

    def figures(self) -> dict[str, Any]:
        """JSON-able; times in milliseconds, shares of 1, unknown interval ends None."""
        duet, (low, high) = self.duet, self.decision.interval
        return {
            "requirement": self.comparison.name,
            "value": self.comparison.value,
            "against": self.comparison.against,
            "rival": self.rival,
            "ratio": round(self.decision.ratio, 6),
            "ratio_interval": [_known(low), _known(high)],
            "ratio_limit": round(self.comparison.limit, 6),
            ("regression" if self.is_regression else "speedup"): round(
                self.decision.ratio - 1 if self.is_regression else 1 / self.decision.ratio, 6
            ),
            "pairs": self.decision.pairs,
            "burst": duet.bursts[0],
            "rival_burst": duet.bursts[1],
            "sessions": duet.sessions,
            "min_ms": _ms(duet.model, 0.0),
            "p50_ms": _ms(duet.model, 0.5),
            "p95_ms": _ms(duet.model, 0.95),
            "rival_min_ms": _ms(duet.rival, 0.0),
            "rival_p50_ms": _ms(duet.rival, 0.5),
            "rival_p95_ms": _ms(duet.rival, 0.95),
            "preempted_share": round(duet.preempted_share, 4),
            "steal_share": None if duet.steal_share is None else round(duet.steal_share, 4),
            "others_share": None if duet.others_share is None else round(duet.others_share, 4),
            "stretch": round(duet.stretch, 2),
            "self_check": None if duet.self_check is None else round(duet.self_check, 6),
            "elapsed_s": round(duet.elapsed_s, 3),
        }

    def summary(self) -> str:
        """One line."""
        pairs = f"{self.decision.pairs} pairs"
        if self.decision.ruling is Ruling.PASS and self.is_regression:
            return f"{self._found()}, within {self.comparison}, {pairs}"
        if self.decision.ruling in (Ruling.PASS, Ruling.FAIL):
            return f"{self._found()}, {_asked(self.comparison)}, {pairs}"
        return f"{self.comparison} undecided: {self._found()}; {self._reason()}, {pairs}"

    def details(self) -> str:
        """The summary, a table of both sides, and one hint."""
        duet = self.duet
        lines = [self.summary(), "", f"{'':14}{'this model ms':>14}{'the other ms':>14}{'ratio':>8}"]
        for name, q in (("fastest call", 0.0), ("p50", 0.5), ("p95", 0.95)):
            mine, other = _seconds(duet.model, q), _seconds(duet.rival, q)
            lines.append(f"{name:<14}{in_ms(mine):>14}{in_ms(other):>14}{mine / other:>8.3f}")
        stolen = "unknown" if duet.steal_share is None else percent(duet.steal_share)
        copies = duet.self_check
        made = f"{self.decision.pairs} pairs of bursts of {_calls(*duet.bursts)}"
        lines += [
            "",
            f"the other: {self.rival}",
            f"judged is the median of the bursts' ratios; {made}, {duet.sessions} pairs of sessions, "
            f"{duet.elapsed_s:.2g} s",
            f"{percent(duet.preempted_share)} of calls preempted, CPU time stolen by the host: {stolen}"
            + ("" if copies is None else f", two sessions of one model differ by {100 * copies:.2f} %"),
            f"Hint: {self._hint()}",
        ]
        return "\n".join(lines)

    def _found(self) -> str:
        low, high = self.decision.interval
        if not self.is_regression:
            interval = f"{1 / high:.3g}..{1 / low:.3g}" if low > 0 and math.isfinite(high) else "unknown"
            return f"{1 / self.decision.ratio:.3g} times as fast as {self.rival} (95 % interval {interval})"
        change = 100 * (self.decision.ratio - 1)
        digits = 0 if abs(change) >= 99.95 else 1
        sign = "slower" if change > 0 else "faster"
        how = "as fast as" if abs(change) < 0.05 else f"{abs(change):.{digits}f} % {sign} than"
        ends = f"{100 * (low - 1):+.{digits}f}..{100 * (high - 1):+.{digits}f} %"
        interval = ends if math.isfinite(high) else "unknown"
        return f"{how} {self.rival} (95 % interval {interval})"

    def _noise(self) -> list[str]:
        noise = []
        if self.duet.is_single and self.duet.preempted_share > QUIET_SHARE:
            noise.append(f"{percent(self.duet.preempted_share)} of calls preempted")
        if (self.duet.steal_share or 0.0) > QUIET_SHARE:
            noise.append(f"{percent(self.duet.steal_share or 0.0)} of CPU time stolen by the host")
        if self.duet.stretch > STRETCHED:
            noise.append(f"bursts took {self.duet.stretch:.1f} times as long as their work")
        return noise

    def _reason(self) -> str:
        noise = self._noise()
        if not noise or self.decision.reason.startswith("machine"):
            return self.decision.reason
        return f"machine noisy: {', '.join(noise)}"

    def _hint(self) -> str:
        if self.decision.ruling is Ruling.FAIL and not self.is_regression:
            return "measure at the sizes that matter (at=): small inputs time the call rather than the model."
        if self.decision.ruling is Ruling.FAIL:
            return "compare the two files: operators, number of nodes, precision, layout."
        if self._noise():
            return "run latency items alone (no xdist, no other jobs), or raise max_time_s."
        return "the ratio sits at its limit: allow a little more, or raise max_time_s for a narrower interval."


def _asked(comparison: Comparison) -> str:
    if comparison.name == "max_regression":
        return f"max_regression is {100 * comparison.value:g} %"
    return f"min_speedup is {comparison.value:g}"


def _calls(mine: int, other: int) -> str:
    calls = f"{mine} call{'s' * (mine > 1)}" if mine == other else f"{mine} and {other} calls"
    left_out = max(dropped(mine), dropped(other))
    return f"{calls} (up to the first {left_out} left out)" if left_out else calls


def _seconds(taken: Samples, q: float) -> float:
    return quantile(sorted(taken.seconds), q)


def _ms(taken: Samples, q: float) -> float:
    return round(_seconds(taken, q) * 1e3, 9)


def _known(end: float) -> float | None:
    return round(end, 6) if math.isfinite(end) and end > 0 else None
