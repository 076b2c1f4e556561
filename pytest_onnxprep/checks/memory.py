"""``memory_budget``: peak memory of a fresh process that holds ONNX Runtime and the model only."""

from __future__ import annotations

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.sizes import at_sizes, shown_sizes, told_at
from pytest_onnxprep.errors import MemoryBudgetExceeded
from pytest_onnxprep.runtime.memory import measure_children
from pytest_onnxprep.spec.resource_requests import MemoryRequest
from pytest_onnxprep.spec.verdict import CheckResult

#: What a failing check is raised as.
FINDING = MemoryBudgetExceeded


def run(case: Case) -> CheckResult:
    """Measure and judge.

    Raises:
        SpecError: ``at`` names an unknown dim, or a size outside its range.
        OnnxPrepError: the model cannot be measured.
    """
    request: MemoryRequest = case.request
    sizes, feeds = at_sizes(case.model.signature, request.at[0], "memory_budget(at=)")
    found = measure_children(
        case.model.path,
        feeds,
        budgets=request.budgets,
        threads=request.threads,
        provider=request.provider or case.model.provider,
        custom_ops=case.model.custom_ops,
        children=request.children,
    )
    summary = found.summary + shown_sizes(sizes)
    return CheckResult(found.verdict, summary, {**found.figures, "at": sizes}, told_at(found.details, sizes))
