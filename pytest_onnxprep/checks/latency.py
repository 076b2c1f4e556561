"""``latency_budget``: percentiles of ``session.run`` at fixed sizes, and its time beside another model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_onnxprep.artifacts.composed_model import ComposedSession
from pytest_onnxprep.checks import rivals
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.rivals import Part
from pytest_onnxprep.checks.sizes import at_sizes
from pytest_onnxprep.errors import LatencyBudgetExceeded
from pytest_onnxprep.machine import conditions
from pytest_onnxprep.runtime.latency import describe, measure
from pytest_onnxprep.runtime.sampler import Samples
from pytest_onnxprep.spec.check_requests import LatencyRequest
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: What a failing check is raised as.
FINDING = LatencyBudgetExceeded

#: Worst first; a part that had nothing to compare with is dealt with on its own.
_SEVERITY = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.SKIP, Verdict.PASS)


def run(case: Case) -> CheckResult:
    """Measure and judge; the samples (seconds) are left in ``case.extras["samples_s"]``.

    Raises:
        SpecError: ``at`` names an unknown dim, or a size outside its range.
        OnnxPrepError: what the model is to be compared with cannot be had.
    """
    request: LatencyRequest = case.request
    sizes, feeds = at_sizes(case.model.signature, request.at[0], "latency_budget(at=)")
    where = ", ".join(f"{name}={size}" for name, size in sizes.items())
    session = case.model.open_session(provider=request.provider, threads=request.threads)
    finish = conditions()
    compared = [rivals.compare(case, one, feeds, session) for one in request.comparisons]
    timed = next((part.samples for part in compared if part.samples is not None), None)
    figures: dict[str, Any] = {}
    parts: list[Part] = []
    if request.budgets or timed is None:
        found = measure(session, feeds, budgets=request.budgets, threads=request.threads, max_time_s=request.max_time_s)
        parts = [Part(found.verdict, found.summary, details=found.details)] if request.budgets else []
        case.extras["samples_s"], figures = found.samples_s, found.figures
    else:
        case.extras["samples_s"], figures = timed.seconds, _described(timed, compared, request, session)
    parts += compared
    figures |= _comparisons(compared) | {"at": sizes, "conditions": finish(), **_files(session)}
    result = _settled(parts, figures, where, is_saving=_is_saving(case))
    return _saved(case, session, result, where or "fixed sizes")


def _files(session: Any) -> dict[str, Any]:
    """Of several files run in one timed call: what a call of each takes."""
    if not isinstance(session, ComposedSession):
        return {}
    found = {name: sorted(spent) for name, spent in session.spent_ns.items() if spent}
    return {"parts_p50_ms": {name: spent[len(spent) // 2] / 1e6 for name, spent in found.items()}}


def run_once(case: Case) -> None:
    """Run the model once at the sizes of the budget, without timing it."""
    _, feeds = at_sizes(case.model.signature, case.request.at[0], "latency_budget(at=)")
    case.model.open_session(provider=case.request.provider, threads=case.request.threads).run(None, feeds)


def _described(timed: Samples, compared: Sequence[Part], request: LatencyRequest, session: Any) -> dict[str, Any]:
    """The figures of calls that were made for a comparison."""
    figures = next(part.figures for part in compared if part.samples is timed)
    shares = {name: figures.get(name) for name in ("steal_share", "others_share")}
    return describe(timed, **shares, threads=request.threads, provider=session.get_providers()[0])


def _comparisons(compared: Sequence[Part]) -> dict[str, Any]:
    """What each comparison found, and the ratio that matters on top."""
    if not compared:
        return {}
    told: dict[str, Any] = {"comparisons": [{**part.figures, "summary": part.summary} for part in compared]}
    for part in compared:
        for name in ("regression", "speedup", "baseline"):
            if name in part.figures:
                told.setdefault(name, part.figures[name])
    return told


def _is_saving(case: Case) -> bool:
    return case.rivals is not None and case.rivals.save is not None


def _settled(parts: Sequence[Part], figures: Mapping[str, Any], where: str, *, is_saving: bool) -> CheckResult:
    """All requirements of the mark must hold; those that do not come first in what is said."""
    ordered = sorted(parts, key=lambda part: _SEVERITY.index(part.verdict))
    verdict = ordered[0].verdict
    if verdict is Verdict.SKIP and ordered[-1].verdict is Verdict.PASS:
        # What was not judged must not hide behind what passed, unless there was nothing to judge.
        unjudged = [part for part in parts if part.verdict is Verdict.SKIP and not part.is_waived]
        verdict = Verdict.INCONCLUSIVE if unjudged else Verdict.PASS
    measured = f"measured at {where}" if where else ""
    summary = "; ".join(filter(None, [*(part.summary for part in ordered), measured]))
    texts = [part.details or part.summary for part in ordered if part.verdict is not Verdict.PASS]
    met = [f"met: {part.summary}" for part in ordered if part.verdict is Verdict.PASS and texts]
    details = ""
    if verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        details = "\n\n".join([*texts, *met]) + f"\n{measured or 'measured at fixed sizes'}"
    if is_saving and verdict is Verdict.FAIL:
        summary += "; not saved as a baseline, for it does not meet its requirements"
    return CheckResult(verdict, summary, figures, details)


def _saved(case: Case, session: Any, result: CheckResult, where: str) -> CheckResult:
    """Make the model a baseline if that is asked for and it deserves it."""
    if result.verdict is Verdict.FAIL:
        return result
    if _is_saving(case) and case.model.parts:
        why = f"a baseline is one file, and this model has {len(case.model.parts)} ({', '.join(case.model.parts)})"
        figures = {**result.figures, "baseline_saved": None, "baseline_left_out": why}
        return replace(result, summary=f"{result.summary}; no baseline is saved: {why}", figures=figures)
    record = rivals.save(case, session, where, result.figures)
    if record is None:
        return result
    figures = {**result.figures, "baseline_saved": str(record)}
    return CheckResult(result.verdict, f"saved as the baseline; {result.summary}", figures, result.details)
