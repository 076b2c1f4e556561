"""``startup_budget``: loading the model and its first run, in fresh processes."""

from __future__ import annotations

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.sizes import at_sizes, shown_sizes, told_at
from pytest_onnxprep.errors import StartupBudgetExceeded
from pytest_onnxprep.runtime.startup import measure_startup
from pytest_onnxprep.spec.resource_requests import StartupRequest
from pytest_onnxprep.spec.verdict import CheckResult

#: What a failing check is raised as.
FINDING = StartupBudgetExceeded


def run(case: Case) -> CheckResult:
    """Measure and judge.

    Raises:
        SpecError: ``at`` names an unknown dim, or a size outside its range.
        OnnxPrepError: the model cannot be measured.
    """
    request: StartupRequest = case.request
    sizes, feeds = at_sizes(case.model.signature, request.at[0], "startup_budget(at=)")
    found = measure_startup(
        case.model.path,
        feeds,
        budgets=request.budgets,
        threads=request.threads,
        provider=request.provider or case.model.provider,
        custom_ops=case.model.custom_ops,
        max_time_s=request.max_time_s,
    )
    return CheckResult(
        found.verdict, found.summary + shown_sizes(sizes), {**found.figures, "at": sizes}, told_at(found.details, sizes)
    )
