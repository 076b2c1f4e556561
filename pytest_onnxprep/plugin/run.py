"""Running one check item."""

from __future__ import annotations

import importlib
import os
import re
import traceback
from typing import Any

import pytest

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks import latency
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import (
    ContractViolation,
    ExportFailed,
    Finding,
    Inconclusive,
    OnnxPrepError,
    ReferenceUnavailable,
    SpecError,
)
from pytest_onnxprep.marks import CHECKS
from pytest_onnxprep.plugin.engine import Prepared, engine_of
from pytest_onnxprep.plugin.items import CheckItem
from pytest_onnxprep.plugin.keys import RESULT
from pytest_onnxprep.plugin.option_checks import mark_of, module_of
from pytest_onnxprep.plugin.options import effort, option
from pytest_onnxprep.plugin.rivals import rivals_of
from pytest_onnxprep.spec.verdict import CheckResult, Verdict
from pytest_onnxprep.spec.visible import visible

#: Checks whose figures the other workers of xdist would change. Memory is not one of them.
_TIMED = ("latency", "startup", "throughput", "profile")


def run_item(item: CheckItem) -> object | None:
    """Run the item's check; None lets pytest run the body, which only the check ``export`` has."""
    __tracebackhide__ = True
    try:
        result = _check(item)
    except Finding as finding:
        item.stash[RESULT] = finding.result
        raise finding.with_traceback(None) from None
    except ReferenceUnavailable as error:
        item.stash[RESULT] = CheckResult(Verdict.SKIP, str(error))
        raise pytest.skip.Exception(str(error), _use_item_location=True) from None
    except (OnnxPrepError, SpecError) as error:
        item.stash[RESULT] = CheckResult(Verdict.ERROR, _first_line(error))
        raise error.with_traceback(None) from None
    except Exception as error:
        # A defect of the plugin, or a framework that broke in a way nobody foresaw: say so, keep the trace at hand.
        text = f"{type(error).__name__}: {error}"
        item.stash[RESULT] = CheckResult(Verdict.ERROR, f"unexpected {text}"[:300])
        item.add_report_section("call", "onnxprep trace", visible(traceback.format_exc()))
        raise OnnxPrepError(f"the check {item.cell.check!r} broke off unexpectedly: {text}") from None
    item.stash[RESULT] = result
    for title, text in result.sections:
        item.add_report_section("call", title, text)
    _settle(item, result)
    return None if item.cell.check == "export" else True


def export_of(item: CheckItem) -> OnnxModel:
    """The item's exported model.

    Raises:
        Finding: the export failed or broke the contract.
        OnnxPrepError: source, exporter or cache are at fault.
    """
    return engine_of(item.config).export(_prepared(item), item.cell.export, item.cell.variant, item.path.parent)


def _check(item: CheckItem) -> CheckResult:
    cell = item.cell
    unmeasured = _unmeasured(item) if cell.check in _TIMED else ""
    if unmeasured and os.environ.get("PYTEST_XDIST_WORKER"):
        item.stash[RESULT] = CheckResult(Verdict.SKIP, unmeasured)
        raise pytest.skip.Exception(unmeasured, _use_item_location=True)
    engine = engine_of(item.config)
    prepared = _prepared(item)
    try:
        model = engine.export(prepared, cell.export, cell.variant, item.path.parent)
    except (ExportFailed, ContractViolation) as finding:
        raise _not_judged(item, finding) from None
    examples, max_s, all_corners = effort(item.config)
    case = Case(
        model,
        cell.request,
        examples=examples,
        max_s=max_s,
        all_corners=all_corners,
        samples={name: model.layout.filed_feeds(feeds) for name, feeds in prepared.samples.items()},
        references=engine.references,
        replay_folder=engine.replays / _slug(item.nodeid),
        title=item.nodeid,
        work_folder=engine.replays.parent,
        timed=not os.environ.get("PYTEST_XDIST_WORKER"),
        rivals=rivals_of(item, engine, prepared) if cell.check == "latency" else None,
        base=item.path.parent,
    )
    if unmeasured:
        latency.run_once(case)
        item.stash[RESULT] = CheckResult(Verdict.SKIP, unmeasured)
        raise pytest.skip.Exception(unmeasured, _use_item_location=True)
    result: CheckResult = _room(item).run(case)
    item.cell = cell._replace(variant=model.variant)  # what was guessed at collection is known now
    if cell.check == "export":
        item.funcargs["onnx_model"] = model
    if cell.check == "latency":
        _hand_over(item, case, result)
    return result


def _room(item: CheckItem) -> Any:
    """The module of the item's check: ``run(case) -> CheckResult`` and ``FINDING``, what its failure is raised as."""
    return importlib.import_module(module_of(item.cell.check))


def _prepared(item: CheckItem) -> Prepared:
    """The item's loaded source: what ``onnx_export`` names, or else the fixture ``model``."""
    export = item.cell.export
    value = item.funcargs.get("model") if export.source is None else export.source
    return engine_of(item.config).prepare(export, value, item.path.parent, item.cell.variant.options)


def _not_judged(item: CheckItem, finding: Finding) -> Finding:
    """The export item tells the whole story; the other checks of the variant say in a line why they could not run."""
    if item.cell.check == "export":
        for title, text in finding.result.sections:
            item.add_report_section("call", title, text)
        return finding
    summary = f"not judged, there is no valid export: {finding.result.summary}"
    return type(finding)(CheckResult(Verdict.FAIL, summary))


def _settle(item: CheckItem, result: CheckResult) -> None:
    """Raise what the verdict asks for."""
    __tracebackhide__ = True
    if result.verdict is Verdict.FAIL:
        finding: type[Finding] = _room(item).FINDING
        raise finding(result)
    if result.verdict is Verdict.INCONCLUSIVE:
        mode = option(item.config, "on-inconclusive")
        if mode == "fail":
            raise Inconclusive(result)
        if mode == "skip":
            raise pytest.skip.Exception(f"inconclusive: {result.summary}", _use_item_location=True)
    if result.verdict is Verdict.SKIP:
        raise pytest.skip.Exception(result.summary, _use_item_location=True)


def _unmeasured(item: CheckItem) -> str:
    """Why a timed item cannot be measured in this run, or an empty string."""
    check = item.cell.check
    unsaved = "; no baseline is saved" if check == "latency" and option(item.config, "save-baseline") else ""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        mark = mark_of(check) or CHECKS[check].mark
        return f"not measured under xdist: run {check} items with -n0 (pytest -n0 -m {mark}){unsaved}"
    if check == "latency" and item.config.getoption("benchmark_disable", default=False):
        return f"not measured: --benchmark-disable (the model was run once){unsaved}"
    return ""


def _hand_over(item: CheckItem, case: Case, result: CheckResult) -> None:
    """Make the samples pytest-benchmark's own, with the verdict beside them."""
    benchmark: Any = item.funcargs.get("benchmark")
    if benchmark is None or item.clock is None:
        return
    from pytest_onnxprep.runtime.benchmark_sink import hand_over

    figures = {**result.figures, "verdict": result.verdict.value, "summary": result.summary}
    benchmark.extra_info["onnxprep"] = figures
    hand_over(benchmark, item.clock, case.extras["samples_s"])


def _slug(nodeid: str) -> str:
    """A folder name for a test, short and unique."""
    import hashlib

    name = re.sub(r"[^\w.-]+", "_", nodeid.rpartition("/")[2])[:80].strip("_")
    return f"{name}-{hashlib.blake2b(nodeid.encode(), digest_size=4).hexdigest()}"


def _first_line(error: BaseException) -> str:
    """What went wrong, without the list of what is accepted."""
    return str(error).splitlines()[0].partition("; accepted")[0] if str(error) else type(error).__name__
