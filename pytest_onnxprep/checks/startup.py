"""``startup_budget``: loading the model and its first run, in fresh processes."""

from __future__ import annotations

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.fresh import held_to_budgets
from pytest_onnxprep.errors import StartupBudgetExceeded
from pytest_onnxprep.runtime.startup import measure_startup
from pytest_onnxprep.spec.verdict import CheckResult

#: What a failing check is raised as.
FINDING = StartupBudgetExceeded


def run(case: Case) -> CheckResult:
    """Measure and judge: see `held_to_budgets`."""
    return held_to_budgets(case, "startup_budget", measure_startup, largest=False, max_time_s=case.request.max_time_s)
