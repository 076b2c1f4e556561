"""``max_regression`` and ``min_speedup``: who the other side is, and what the comparison says."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts import baseline as baselines
from pytest_onnxprep.artifacts.baseline import Baseline
from pytest_onnxprep.artifacts.composed_model import ComposedModel
from pytest_onnxprep.artifacts.onnx_model import OnnxModel, all_nodes, qualified_name
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.duet import Side, duet, function_side, onnx_side, session_side
from pytest_onnxprep.runtime.duet_report import DuetReport
from pytest_onnxprep.runtime.sampler import Samples
from pytest_onnxprep.sources.load import places
from pytest_onnxprep.sources.onnx_file import look_at, try_out
from pytest_onnxprep.spec.comparison import BASELINE, FRAMEWORK, Comparison
from pytest_onnxprep.spec.verdict import Verdict
from pytest_onnxprep.stats.sequential import Ruling

_VERDICTS = {Ruling.PASS: Verdict.PASS, Ruling.FAIL: Verdict.FAIL}
_SAVE = "save one with --onnxprep-save-baseline DIR on the main branch"


@dataclass(frozen=True)
class Rivals:
    """Where the other side of a comparison is found.

    Args:
        key: test and variant, the same on every machine and under xdist.
        variant: the item's own, as ``against=`` would name it.
        base: the folder of the test.
        export: makes another variant of the same test, by its id.
        load: folder of baselines to compare with.
        save: folder of baselines to save to.
        environment: describes this machine.
    """

    key: str
    variant: str
    base: Path
    export: Callable[[str], OnnxModel]
    load: Path | None = None
    save: Path | None = None
    environment: Callable[[], Mapping[str, Any]] = dict


@dataclass(frozen=True)
class Part:
    """What one requirement of a mark came to.

    Args:
        verdict: the outcome; ``SKIP`` where there was nothing to compare with.
        summary: one line.
        figures: JSON-able.
        details: the whole text of anything but a pass.
        samples: the model's own calls, where it was timed.
        is_waived: of a skip, whether there is nothing that ought to have been judged.
    """

    verdict: Verdict
    summary: str
    figures: dict[str, Any] = field(default_factory=dict)
    details: str = ""
    samples: Samples | None = None
    is_waived: bool = False


def compare(case: Case, comparison: Comparison, feeds: Mapping[str, Any], session: Any) -> Part:
    """Time the model beside the other side of a comparison.

    Raises:
        OnnxPrepError: there ought to be another side, and it cannot be had.
    """
    if comparison.against == BASELINE:
        return _with_baseline(case, comparison, feeds, session)
    if comparison.against == FRAMEWORK:
        return _with_framework(case, comparison, feeds)
    rivals = _rivals(case)
    if comparison.is_file:
        path = _file(rivals.base, comparison.against)
        return _duet(case, comparison, feeds, _side(case, f"the file {path.name}", path, feeds), path)
    if comparison.against == rivals.variant:
        summary = f"{comparison}: this is the variant the others are compared with"
        return Part(Verdict.SKIP, summary, is_waived=True)
    other = rivals.export(comparison.against)
    theirs = other.layout.filed_feeds(case.model.layout.declared_feeds(feeds))
    side = _model_side(case, f"the variant {comparison.against}", other, theirs)
    return _duet(case, comparison, feeds, side, None if other.parts else other.path)


def save(case: Case, session: Any, at: str, figures: Mapping[str, Any]) -> Path | None:
    """Make the model a baseline where that is asked for."""
    rivals: Rivals | None = case.rivals
    if rivals is None or rivals.save is None or case.model.parts:  # a baseline is one file
        return None
    kept = {name: figures.get(name) for name in ("min_ms", "p50_ms", "p95_ms", "mean_ms", "n", "threads", "provider")}
    return baselines.save(
        rivals.save, rivals.key, case.model, session, environment=rivals.environment(), at=at, figures=kept
    )


def _with_baseline(case: Case, comparison: Comparison, feeds: Mapping[str, Any], session: Any) -> Part:
    rivals = _rivals(case)
    if isinstance(case.model, ComposedModel):
        raise case.model.refusal(
            str(comparison),
            "and a baseline is one",
            "compare the whole with against='framework' or another variant, or its parts in tests of their own",
        )
    if rivals.load is None:
        if rivals.save is not None:
            summary = f"{comparison}: no --onnxprep-baseline DIR was given to compare with"
            return Part(Verdict.SKIP, summary, is_waived=True)
        return Part(
            Verdict.SKIP, f"{comparison} not judged: no --onnxprep-baseline DIR was given to compare with ({_SAVE})"
        )
    found = baselines.load(rivals.load, rivals.key)
    if found is None and rivals.save is not None:
        summary = f"{comparison}: there is no baseline yet in {rivals.load} to compare with"
        return Part(Verdict.SKIP, summary, {"baseline": None}, is_waived=True)
    if found is None:
        there = "it has none for this test and variant" if rivals.load.is_dir() else "there is no such folder"
        summary = f"{comparison} not judged: no baseline in {rivals.load}: {there}; {_SAVE}"
        return Part(Verdict.INCONCLUSIVE, summary, {"baseline": None}, f"{summary}\nlooked for: {rivals.key}")
    told = _about(found, rivals)
    changes = baselines.signature_changes(found.signature, baselines.signature_of(session))
    if changes:
        told["signature_changes"] = changes
        summary = (
            f"{comparison} not judged: the signature is not that of {found.label}: {'; '.join(changes)}; "
            "save a new baseline once the change is on the main branch"
        )
        return Part(Verdict.INCONCLUSIVE, summary, {"baseline": told}, summary)
    part = _duet(case, comparison, feeds, _side(case, found.label, found.path, feeds), found.path)
    return _of_baseline(part, told, is_same=baselines.is_same_file(found, case.model))


def _of_baseline(part: Part, told: dict[str, Any], *, is_same: bool) -> Part:
    """Say what the reader of a comparison with a baseline has to know."""
    told["identical"] = is_same
    verdict, summary, details = part.verdict, part.summary, part.details
    if is_same and verdict is Verdict.FAIL:
        verdict = Verdict.INCONCLUSIVE
        summary = f"machine unfair: the file is the baseline's, byte for byte, yet seemed {summary}"
        details = f"{summary}\n\n{details}"
    if not told["same_machine"]:
        where = f"made on another machine ({told['machine_changes'][0]}); both files were timed here, side by side"
        summary = f"{summary}; the baseline was {where}"
        listed = "\n".join(f"  {line}" for line in told["machine_changes"])
        details = f"{details}\n\nthe baseline was made on another machine; both files were timed here:\n{listed}"
    figures = {**part.figures, "verdict": verdict.value, "baseline": told}
    return Part(verdict, summary, figures, "" if verdict is Verdict.PASS else details, part.samples)


def _about(found: Baseline, rivals: Rivals) -> dict[str, Any]:
    changes = baselines.machine_changes(found.environment, baselines.fingerprint(rivals.environment()))
    return {
        "saved": found.saved,
        "commit": found.commit,
        "path": str(found.path),
        "same_machine": not changes,
        "machine_changes": changes,
        "figures_then": dict(found.figures),
    }


def _with_framework(case: Case, comparison: Comparison, feeds: Mapping[str, Any]) -> Part:
    source = case.model.source
    if source.framework == "onnx":  # two files: both with all optimisations
        path = Path(source.model)
        return _duet(case, comparison, feeds, _side(case, f"the source {path.name}", path, feeds), path)
    run = functools.partial(source.run, feeds, case.model.signature)
    with source.limited_to(case.request.threads) as is_limited:
        name = f"the eager {source.framework} model{'' if is_limited else ', which chooses its threads itself'}"
        part = _duet(case, comparison, feeds, function_side(name, run), None)
    threads: int | str = case.request.threads if is_limited else f"{source.framework}'s own"
    part.figures["rival_threads"] = threads
    return part


def _duet(case: Case, comparison: Comparison, feeds: Mapping[str, Any], rival: Side, file: Path | None) -> Part:
    request = case.request
    model = _model_side(case, "the model", case.model, feeds)
    found = duet(model, rival, limit=comparison.limit, threads=request.threads, max_time_s=request.duet_time_s)
    report = DuetReport(found, comparison, rival.name)
    verdict = _VERDICTS.get(found.decision.ruling, Verdict.INCONCLUSIVE)
    details = "" if verdict is Verdict.PASS else report.details()
    if file is not None and not case.model.parts and verdict is Verdict.FAIL:
        details = "\n".join(filter(None, [details, _operators(case.model, file)]))
    figures = report.figures() | {"verdict": verdict.value}
    return Part(verdict, report.summary(), figures, details, found.model)


def _operators(model: OnnxModel, other: Path) -> str:
    """What operators one file has more of than the other."""
    import onnx

    theirs = Counter(qualified_name(node) for node in all_nodes(onnx.load(str(other), load_external_data=False)))
    mine = model.operators
    names = sorted({*theirs, *mine}, key=lambda name: (-abs(mine[name] - theirs[name]), name))
    changed = [f"{name} {theirs[name]} -> {mine[name]}" for name in names if theirs[name] != mine[name]]
    if not changed:
        return f"operators: the same in both files, so weights, shapes or attributes differ\nthe other file: {other}"
    more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
    return f"operators, the other -> this: {', '.join(changed[:8])}{more}\nthe other file: {other}"


def _model_side(case: Case, name: str, model: OnnxModel, feeds: Mapping[str, Any]) -> Side:
    make = functools.partial(model.open_session, provider=case.request.provider, threads=case.request.threads)
    return session_side(name, make, feeds)


def _side(case: Case, name: str, path: Path, feeds: Mapping[str, Any]) -> Side:
    provider = case.request.provider or case.model.provider
    look_at(path)  # it was made elsewhere
    try_out(path, feeds, case.model.custom_ops)
    return onnx_side(
        name, path, feeds, provider=provider, threads=case.request.threads, custom_ops=case.model.custom_ops
    )


def _rivals(case: Case) -> Rivals:
    found: Rivals | None = case.rivals
    if found is None:
        raise OnnxPrepError("a comparison needs the test it belongs to; use @latency_budget on a test")
    return found


def _file(base: Path, name: str) -> Path:
    path = Path(name).expanduser()
    candidates = places(path, base)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " and ".join(map(str, candidates))
    raise OnnxPrepError(f"latency_budget(against={name!r}): there is no such file (looked for {looked})")
