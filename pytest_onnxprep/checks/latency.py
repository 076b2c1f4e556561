"""``latency_budget``: percentiles of ``session.run`` at fixed sizes."""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.artifacts.composed_model import ComposedSession
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import LatencyBudgetExceeded
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.runtime.latency import measure
from pytest_onnxprep.spec.check_requests import LatencyRequest
from pytest_onnxprep.spec.verdict import CheckResult

#: What a failing check is raised as.
FINDING = LatencyBudgetExceeded


def run(case: Case) -> CheckResult:
    """Measure and judge; the samples (seconds) are left in ``case.extras["samples_s"]``.

    Raises:
        SpecError: ``at`` names an unknown dim, or a size outside its range.
    """
    request: LatencyRequest = case.request
    model = case.model
    signature = model.signature
    sizes = signature.check_sizes(request.at[0], "latency_budget(at=)")
    maker = Maker(signature)
    feeds = maker.feeds(maker.plain(sizes))
    session = model.open_session(provider=request.provider, threads=request.threads)
    found = measure(session, feeds, budgets=request.budgets, threads=request.threads, max_time_s=request.max_time_s)
    case.extras["samples_s"] = found.samples_s
    where = ", ".join(f"{name}={size}" for name, size in sizes.items())
    summary = f"{found.summary}; measured at {where}" if where else found.summary
    details = f"{found.details}\nmeasured at {where or 'fixed sizes'}" if found.details else ""
    return CheckResult(found.verdict, summary, {**found.figures, "at": sizes, **_parts(session)}, details)


def _parts(session: Any) -> dict[str, Any]:
    """Of several files run in one timed call: what a call of each takes, and how many there were."""
    if not isinstance(session, ComposedSession):
        return {}
    found = {name: sorted(spent) for name, spent in session.spent_ns.items() if spent}
    return {"parts_p50_ms": {name: spent[len(spent) // 2] / 1e6 for name, spent in found.items()}}


def run_once(case: Case) -> None:
    """Run the model once at the sizes of the budget, without timing it."""
    request: LatencyRequest = case.request
    signature = case.model.signature
    maker = Maker(signature)
    feeds = maker.feeds(maker.plain(signature.check_sizes(request.at[0], "latency_budget(at=)")))
    case.model.open_session(provider=request.provider, threads=request.threads).run(None, feeds)
