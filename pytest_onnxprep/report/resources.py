"""What the budgets of fresh processes measured, for the second table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.report.figures import number


@dataclass(frozen=True, slots=True)
class Against:
    """A figure and its budget, or None."""

    value: float
    budget: float | None

    @property
    def share(self) -> float:
        """How much of an upper limit is used; 0 without one."""
        return self.value / self.budget if self.budget else 0.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Memory, start-up and throughput of a row; of several sizes the one with the least room."""

    peak_mb: Against | None = None
    model_mb: Against | None = None
    arena_mb: float | None = None
    load_ms: Against | None = None
    first_run_ms: Against | None = None
    per_s: Against | None = None
    cores_used: float | None = None
    threads: float | None = None
    sweep_quiet: bool = True

    @property
    def measured(self) -> bool:
        """Whether there is anything to show."""
        return any(one is not None for one in (self.peak_mb, self.load_ms, self.per_s))


def resources(by_check: Mapping[str, Sequence[Mapping[str, Any]]]) -> Resources:
    """Gather the figures of one row's checks."""
    memory = _tightest(by_check.get("memory", ()), "peak_mb")
    startup = by_check.get("startup", ())
    loaded, ran = _tightest(startup, "load_ms"), _tightest(startup, "first_run_ms")
    # The least room: the rate that is lowest for what is demanded of it.
    rate = max(by_check.get("throughput", ()), key=_demand, default={})
    return Resources(
        peak_mb=_against(memory, "peak_mb"),
        model_mb=_against(memory, "model_mb"),
        arena_mb=number(memory.get("arena_mb")),
        load_ms=_against(loaded, "load_ms"),
        first_run_ms=_against(ran, "first_run_ms"),
        per_s=_against(rate, "per_s", "min_per_s"),
        cores_used=number(rate.get("cores_used")),
        threads=number(rate.get("recommended_threads")),
        sweep_quiet=rate.get("sweep_quiet") is not False,
    )


def _against(figures: Mapping[str, Any], name: str, budget: str = "") -> Against | None:
    value = number(figures.get(name))
    limits = figures.get("budget")
    limit = number(limits.get(budget or name)) if isinstance(limits, Mapping) else None
    return None if value is None else Against(value, limit)


def _tightest(found: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    def room(figures: Mapping[str, Any]) -> tuple[float, float]:
        one = _against(figures, name)
        return (-1.0, 0.0) if one is None else (one.share, one.value)

    return max(found, key=room, default={})


def _demand(figures: Mapping[str, Any]) -> float:
    one = _against(figures, "per_s", "min_per_s")
    return -1.0 if one is None or one.budget is None or one.value <= 0 else one.budget / one.value
