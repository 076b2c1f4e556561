"""``parity``: ONNX Runtime against the untouched framework model, over corners, samples and fuzzed examples."""

from __future__ import annotations

import time

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.parity_report import failed
from pytest_onnxprep.checks.parity_run import Failure, ParityRun, base_figures, coverage
from pytest_onnxprep.checks.reference import check_reference
from pytest_onnxprep.errors import Finding, ParityError, ReferenceRefused, SourceError
from pytest_onnxprep.fuzz.corners import corner_sizes
from pytest_onnxprep.fuzz.draw import draw_examples
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.fuzz.shrink import shrink
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: Seconds after which no further random example is started; corners and samples are always run.
TIME_BUDGET_S = 20.0

#: What a failing check is raised as.
FINDING = ParityError


def run(case: Case) -> CheckResult:
    """Hold the file to parity.

    Raises:
        SourceError: the framework refuses every example, or the samples do not fit the signature.
        SpecError: ``outputs=`` names an output the model does not have.
    """
    run = ParityRun(case)
    state = case.model.source.state()
    try:
        failure = _samples(run) or _search(run)
        if failure is not None:
            smallest = shrink(failure.example, run.still_fails, run.maker)
            failure = (run.check(smallest, counted=False) if smallest != failure.example else None) or failure
    except Finding as finding:
        return finding.result
    finally:
        case.model.source.restore(state)
    return _passed(run) if failure is None else failed(run, failure)


def _search(run: ParityRun) -> Failure | None:
    """Corners, then what Hypothesis draws, until one fails."""
    started = time.monotonic()
    limit = run.request.max_examples or run.case.examples
    corners = corner_examples(run.maker)[:limit]
    check_reference(run.case.model, run.maker, corners[0], run.reference)
    for example in corners:
        failure = run.visit(example)
        if failure is not None:
            return failure
    for example in _drawn(run, limit - len(corners)):
        if time.monotonic() - started > TIME_BUDGET_S:
            run.progress.stopped_early = True
            break
        failure = run.visit(example)
        if failure is not None:
            return failure
    return None


def _drawn(run: ParityRun, count: int) -> list[Example]:
    """Hypothesis's examples, the same for every variant of a model: they are then comparable, and drawn once."""
    memo = run.case.model.source.memo
    key = f"drawn {count} {run.memo_key}"
    if key not in memo:
        memo[key] = draw_examples(run.maker, count)
    drawn: list[Example] = memo[key]
    return drawn


def corner_examples(maker: Maker) -> list[Example]:
    """Every corner of the sizes, the recipes taken in turn; each recipe of each input occurs at least once."""
    corners = corner_sizes(maker.signature)
    widest = max((len(kinds) for kinds in maker.recipes.values()), default=1)
    examples = []
    for index in range(max(len(corners), widest)):
        # Recipes beyond the corners run at the traced sizes.
        sizes = corners[index] if index < len(corners) else corners[0]
        recipes = {name: kinds[index % len(kinds)] for name, kinds in maker.recipes.items()}
        examples.append(Example(sizes, recipes, index))
    return examples


def _samples(run: ParityRun) -> Failure | None:
    for name, feeds in run.case.samples.items():
        try:
            failure = run.check(Example({}, {}, sample=name), feeds)
        except ReferenceRefused as error:
            raise SourceError(f"the framework refuses sample {name}: {error}") from error
        if failure is not None:
            return failure
    return None


def _passed(run: ParityRun) -> CheckResult:
    progress = run.progress
    if not progress.examples:
        raise SourceError(
            f"the framework refused all {progress.refused} examples, so nothing was compared; first refusal: "
            f"{progress.first_refusal}\nCorrect inputs= (value ranges: TensorSpec(low=, high=)) or the ranges in dims=."
        )
    figures = base_figures(run)
    refused = f", {progress.refused} refused by the framework" if progress.refused else ""
    summary = f"{progress.examples} examples agree, max |error| {progress.max_abs:.2g}{refused}"
    if figures["sizes_tried"]:
        summary += f"; sizes tried: {coverage(run.signature, progress.tried)}"
    if progress.stopped_early:
        summary += f"; stopped after {TIME_BUDGET_S:.0f} s"
    return CheckResult(Verdict.PASS, summary, figures)
