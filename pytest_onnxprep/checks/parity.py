"""``parity``: ONNX Runtime against the untouched framework model, over corners, samples and fuzzed examples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.composed import run_parts
from pytest_onnxprep.checks.metamorphic import broken_relation, unrepeatable
from pytest_onnxprep.checks.parity_report import failed
from pytest_onnxprep.checks.parity_run import Failure, ParityRun, base_figures, coverage
from pytest_onnxprep.checks.reference import check_reference
from pytest_onnxprep.errors import Finding, ParityError, ReferenceRefused, SourceError
from pytest_onnxprep.fuzz.draw import climb, draw_examples
from pytest_onnxprep.fuzz.example import Example
from pytest_onnxprep.fuzz.plan import Failures, corner_examples
from pytest_onnxprep.fuzz.shrink import shrink
from pytest_onnxprep.runtime.watchdog import watching
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: What a failing check is raised as.
FINDING = ParityError

#: Corners whose reference is run a second time.
_TWICE = 2
#: Seconds for corners of a reference that is slow (a recurrent network, step by step), after the first ones.
CORNERS_S = 90.0
_FEW_CORNERS = 11
#: Sizes of random examples where each costs a compilation.
_SIZES_COMPILED = 4
#: Random examples from which half are drawn towards larger errors.
_CLIMB = 200
#: A share of ill-conditioned examples, other than those that float64 settled, beyond which nothing can be said.
_TOO_MANY = 0.5


def run(case: Case) -> CheckResult:
    """Hold the file to parity; of several files that answer as one, each file and the whole.

    Raises:
        SourceError: the framework refuses every example, or the samples do not fit the signature.
        SpecError: ``outputs=`` names an output the model does not have.
    """
    with watching():
        return run_parts(case, _run_one) if case.model.parts else _run_one(case)


def _run_one(case: Case) -> CheckResult:
    run = ParityRun(case)
    kept = Failures(case.title)
    state = case.model.source.state()
    try:
        failure = _samples(run) or _search(run, kept)
        if failure is None:
            if run.answers is not None:
                run.answers.keep(run.planned)
            return _passed(run)
        run.progress.seconds_to_failure = time.monotonic() - run.progress.started
        smallest = shrink(failure.example, run.still_fails, run.maker)
        small = (run.check(smallest, counted=False) if smallest != failure.example else None) or failure
        kept.remember(small.example)
        return failed(run, small, _telling(run, failure))
    except Finding as finding:
        return finding.result
    finally:
        case.model.source.restore(state)


def _telling(run: ParityRun, failure: Failure) -> Failure:
    """The failure to localise by: plain values at the sizes first met, where these fail too.

    Of the smallest failing input, often ones of size 1, too many tensors look the same.
    """
    if failure.example.sample:
        return failure
    try:
        plain = run.check(run.maker.plain(failure.example.sizes, failure.example.seed), counted=False)
    except ReferenceRefused:
        return failure
    return plain if plain is not None and (plain.comparison is None) == (failure.comparison is None) else failure


def _search(run: ParityRun, kept: Failures) -> Failure | None:
    """What failed before, the corners, then what Hypothesis draws, until one fails."""
    assumed = run.model.provenance.get("narrowed", ())
    corners = corner_examples(run.maker, [sizes for record in assumed for sizes in record["try"]])
    limit = run.request.max_examples or run.case.examples
    if run.request.max_examples or not run.case.all_corners:
        corners = corners[:limit]
    run.planned = corners
    for example in kept.examples(run.maker):
        failure = run.visit(example)
        if failure is not None:
            return failure
        kept.forget(example)
    checked = run.model.source.memo.setdefault("repeatable", set())
    for index, example in enumerate(corners):
        if index < _TWICE and (run.memo_key, index) not in checked:  # once for all variants
            check_reference(run, example, thorough=index == 0)
            checked.add((run.memo_key, index))
        failure = run.visit(example)
        if failure is not None:
            return failure
        if index >= _FEW_CORNERS and time.monotonic() - run.progress.started > CORNERS_S:
            run.progress.corners_left = len(corners) - index - 1
            break
    left = limit - len(corners)
    climbing = left // 2 if left >= _CLIMB else 0
    for example in _drawn(run, left - climbing):
        failure = run.visit(example)
        if failure is not None:
            return failure
    failure = _climb(run, climbing) or run.second_look()
    if failure is None and run.progress.examples and run.request.oracle == "framework":
        failure = unrepeatable(run, corners[0])
        if failure is None and run.progress.last_good is not None:
            failure = broken_relation(run, corners[0])
    return failure


def _climb(run: ParityRun, count: int) -> Failure | None:
    """Hypothesis's `target()` on the error, for runs long enough that it pays."""
    found: list[Failure] = []

    def score(example: Example) -> float:
        if found or time.monotonic() - run.progress.started > run.case.max_s:
            return 0.0
        failure = run.visit(example)
        if failure is not None:
            found.append(failure)
        return run.progress.last_ratio

    if count > 0:
        climb(run.maker, count, score)
    return found[0] if found else None


def _drawn(run: ParityRun, count: int) -> Iterator[Example]:
    """Hypothesis's examples, the same for every variant of a model: they are then comparable, and drawn once."""
    memo = run.case.model.source.memo
    key = f"drawn {count} {run.memo_key}"
    if key not in memo:
        memo[key] = draw_examples(run.maker, count)
        if run.model.source.compiles_each_size:
            memo[key] = _at_few_sizes(run, memo[key])
    drawn: list[Example] = memo[key]
    for example in drawn:
        if time.monotonic() - run.progress.started > run.case.max_s:
            run.progress.stopped_early = True
            return
        yield example


def _at_few_sizes(run: ParityRun, drawn: list[Example]) -> list[Example]:
    """The corners have tried the sizes; where each new one costs a compilation, random examples are about values."""
    corners = list({tuple(example.sizes.values()): example.sizes for example in run.planned}.values())
    few = corners[: max(_SIZES_COMPILED, len(drawn) // 25)] or [{}]
    return [replace(example, sizes=few[index % len(few)]) for index, example in enumerate(drawn)]


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
    ill = f", {progress.ill_conditioned} of them ill-conditioned" if progress.ill_conditioned else ""
    tried = f"; sizes tried: {coverage(run.signature, progress.tried)}" if figures["sizes_tried"] else ""
    if progress.corners_left:
        tried += f"; {progress.corners_left} corners left out after {CORNERS_S:.0f} s"
    elif progress.stopped_early:
        tried += f"; stopped after {run.case.max_s:.0f} s"
    if progress.unsettled > _TOO_MANY * progress.examples:
        return CheckResult(
            Verdict.INCONCLUSIVE,
            f"{progress.unsettled} of {progress.examples} examples are ill-conditioned: the framework's own "
            f"answer moves as far as the file's when the input moves by a rounding error; the first: "
            f"{progress.first_ill_conditioned}. Give inputs the model is made for (TensorSpec(low=, high=), samples=)"
            f"{refused}{tried}",
            figures,
        )
    empty = [name for name, count in progress.counts.items() if not count]
    if empty:
        return CheckResult(
            Verdict.INCONCLUSIVE,
            f"the framework found nothing in any of {progress.examples} examples, so {empty[0]!r} compares nothing; "
            f"give inputs in which there is something to find (samples=, TensorSpec(values=)){refused}{tried}",
            figures,
        )
    summary = f"{progress.examples} examples agree{ill}, max |error| {progress.max_abs:.2g}{refused}{tried}"
    return CheckResult(Verdict.PASS, summary, figures)
