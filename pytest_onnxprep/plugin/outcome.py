"""From what a check found to pytest's reports."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_onnxprep.errors import Finding, OnnxPrepError, SpecError
from pytest_onnxprep.plugin.keys import RESULT
from pytest_onnxprep.spec.verdict import CheckResult, Verdict
from pytest_onnxprep.spec.visible import visible


def attach_record(item: Any, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Put the record of a finished item on its report, as plain data that survives xdist."""
    if report.when == "teardown" or (report.when == "setup" and report.passed):
        return
    result = _result(item, call, report)
    missing = call.excinfo is not None and _missing_model(item, call.excinfo.value)
    if missing:
        report.longrepr = missing
        result = CheckResult(Verdict.ERROR, missing)
    cell = item.cell
    report.onnxprep = {  # type: ignore[attr-defined]
        "nodeid": item.nodeid,
        "test": item.originalname,
        "check": cell.check,
        "variant": cell.variant.to_json(),
        "verdict": result.verdict.value,
        "summary": result.summary,
        "figures": _plain(dict(result.figures)),
        "duration_s": round(call.duration, 6),
    }
    told = [("onnxprep_verdict", result.verdict.value), ("onnxprep_summary", result.summary)]
    report.user_properties += told
    item.user_properties += told  # JUnit XML takes them from the report of the teardown


def status(report: Any, record: dict[str, Any]) -> tuple[str, str, Any] | None:
    """Category, letter and word of a report; None leaves it to pytest."""
    if hasattr(report, "wasxfail"):
        return None
    if report.passed and record["verdict"] == Verdict.INCONCLUSIVE.value:
        return "inconclusive", "i", ("INCONCLUSIVE", {"yellow": True})
    if report.failed and record["verdict"] == Verdict.ERROR.value:
        return "error", "E", "ERROR"
    if report.failed and report.when == "setup" and record["verdict"] == Verdict.FAIL.value:
        return "failed", "F", "FAILED"
    return None


def _result(item: Any, call: pytest.CallInfo[None], report: pytest.TestReport) -> CheckResult:
    found: CheckResult | None = item.stash.get(RESULT, None)
    if call.excinfo is None:
        return found or CheckResult(Verdict.ERROR, "the check left no result")
    error = call.excinfo.value
    if report.skipped and not hasattr(report, "wasxfail"):
        if found is not None and found.verdict in (Verdict.SKIP, Verdict.INCONCLUSIVE):
            return found
        return CheckResult(Verdict.SKIP, _line(error))
    if isinstance(error, Finding):
        return error.result
    if found is not None and found.verdict is Verdict.ERROR:
        return found
    if report.when == "call" and found is not None:  # the body of the test raised, after a good export
        verdict = Verdict.FAIL if isinstance(error, (AssertionError, pytest.fail.Exception)) else Verdict.ERROR
        return CheckResult(verdict, f"{type(error).__name__}: {_line(error)}", {**found.figures, "body": "raised"})
    ours = isinstance(error, (OnnxPrepError, SpecError, pytest.fail.Exception, pytest.FixtureLookupError))
    return CheckResult(Verdict.ERROR, _line(error) if ours else f"{type(error).__name__}: {_line(error)}")


def _missing_model(item: Any, error: BaseException) -> str:
    """What to do where neither a source nor the fixture ``model`` is there; empty for any other error."""
    if not isinstance(error, pytest.FixtureLookupError) or error.argname != "model":
        return ""
    if item.cell.export.source is not None:
        return ""
    return (
        f"{item.originalname} has no model: @onnx_export names no source, and there is no fixture 'model'. "
        "Give a zero-argument factory, a model or a path as the first argument of @onnx_export, or define a fixture "
        "called model in this file or in a conftest.py"
    )


def _line(error: BaseException) -> str:
    if isinstance(error, pytest.FixtureLookupError):  # its own text is a tuple
        return f"fixture {error.argname!r} not found"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _plain(value: Any) -> Any:
    """Python's own types only: xdist and JSON take nothing else."""
    if isinstance(value, dict):
        return {visible(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        return _plain(value.item())
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return visible(str(value))
