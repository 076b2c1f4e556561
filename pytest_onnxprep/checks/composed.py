"""Parity of what consists of several files: every part on its own, then the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pytest_onnxprep.artifacts.composed_model import ComposedModel
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.spec.check_requests import ParityRequest, read_parity
from pytest_onnxprep.spec.composition import Ensemble, Pipeline, stage_of
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: A part gets at most this share (one in so many) of the examples and of the time of the whole.
_SHARE = 2
_FEWEST = 8


def run_parts(case: Case, run: Callable[[Case], CheckResult]) -> CheckResult:
    """Hold every part to parity on what really reaches it, then the whole to its reference.

    Args:
        case: the composed model and its request.
        run: the check of one model.
    """
    model = case.model
    assert isinstance(model, ComposedModel)
    figures: dict[str, Any] = {}
    untold: CheckResult | None = None
    for name, part in model.parts.items():
        result = run(_part_case(case, name, part))
        figures[name] = _brief(result)
        if result.verdict is Verdict.INCONCLUSIVE:
            untold = untold or _told(model, name, result, figures)
        elif result.verdict is not Verdict.PASS:
            return _told(model, name, result, figures)
    result = run(case)
    told = {**result.figures, "parts": figures, **_joints(model)}
    if result.verdict is not Verdict.PASS or untold is not None:
        return replace(result if result.verdict is not Verdict.PASS else untold or result, figures=told)
    held = ", ".join(f"{name} {found['examples']}" for name, found in figures.items())
    return replace(result, summary=f"{result.summary}; parts held to parity: {held} examples", figures=told)


def _part_case(case: Case, name: str, part: OnnxModel) -> Case:
    folder, share = case.replay_folder, max(_SHARE, len(case.model.parts))
    examples = max(_FEWEST, (case.request.max_examples or case.examples) // share)
    request = _part_request(case, name)
    if case.request.max_examples and not request.max_examples:
        request = replace(request, max_examples=examples)
    return replace(
        case,
        model=part,
        request=request,
        examples=examples,
        max_s=case.max_s / share,
        samples={},
        replay_folder=folder and folder.with_name(f"{folder.name}-{name}"),
        title=f"{case.title} {name}" if case.title else "",
    )


def _part_request(case: Case, name: str) -> ParityRequest:
    """The part's own arguments; else a derived tolerance: the numbers of the test are those of the whole answer."""
    whole: ParityRequest = case.request
    own: Mapping[str, Any] = _own_arguments(case.model.source.model).get(name, {})
    if own:
        return read_parity(**{"oracle": whole.oracle, **own})
    if case.model.source.framework not in ("pipeline", "ensemble"):  # buckets: the same model, the same outputs
        return replace(whole, max_examples=None)
    return ParityRequest(oracle=whole.oracle, special_values=whole.special_values)


def _own_arguments(model: Any) -> dict[str, Mapping[str, Any]]:
    parts = model.stages if isinstance(model, Pipeline) else model.members if isinstance(model, Ensemble) else ()
    return {part.name: stage_of(part).parity for part in parts}


def _brief(result: CheckResult) -> dict[str, Any]:
    kept = ("examples", "max_abs", "worst_output", "atol", "rtol", "refused", "ill_conditioned", "sizes_tried")
    return {"verdict": result.verdict.value, **{key: result.figures[key] for key in kept if key in result.figures}}


def _joints(model: ComposedModel) -> dict[str, Any]:
    found = model.provenance.get("joints")
    return {"joints": list(found)} if found else {}


def _told(model: ComposedModel, name: str, result: CheckResult, figures: Mapping[str, Any]) -> CheckResult:
    """A part's failure, as the whole's."""
    what = {"pipeline": "stage", "ensemble": "member"}.get(model.composition.kind, "bucket")
    summary = f"{what} {name!r}: {result.summary}"
    # What fails are a part's inputs: they are no samples of the whole.
    lines = [line for line in result.message.splitlines() if not line.startswith("  pin it ") or what == "bucket"]
    details = "\n".join([f"{what} {name!r} of {model.source.label}", *lines])
    return replace(
        result,
        summary=summary,
        details=details,
        figures={**result.figures, "part": name, "parts": dict(figures), **_joints(model)},
    )
