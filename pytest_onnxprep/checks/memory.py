"""``memory_budget``: peak memory of a fresh process that holds ONNX Runtime and the model only."""

from __future__ import annotations

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.fresh import held_to_budgets
from pytest_onnxprep.errors import MemoryBudgetExceeded
from pytest_onnxprep.runtime.memory import measure_children
from pytest_onnxprep.spec.verdict import CheckResult

#: What a failing check is raised as.
FINDING = MemoryBudgetExceeded


def run(case: Case) -> CheckResult:
    """Measure and judge: see `held_to_budgets`."""
    return held_to_budgets(case, "memory_budget", measure_children, largest=True, children=case.request.children)
