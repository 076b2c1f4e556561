"""``parity``: ONNX Runtime against the untouched framework model, over corners, samples and fuzzed examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.reference import check_reference
from pytest_onnxprep.compare.outputs import Comparison, Rule, compare_outputs
from pytest_onnxprep.errors import Finding, ReferenceRefused, SourceError, SpecError, closest
from pytest_onnxprep.fuzz.corners import corner_sizes
from pytest_onnxprep.fuzz.draw import StopDrawing, draw_examples
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.fuzz.shrink import shrink
from pytest_onnxprep.spec.requests import ParityRequest
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: Seconds after which no further random example is started; corners and samples are always run.
TIME_BUDGET_S = 20.0

Arrays = Mapping[str, np.ndarray]


@dataclass
class Failure:
    """One example that does not match."""

    example: Example
    feeds: Arrays
    expected: Arrays
    comparison: Comparison | None
    refusal: str = ""


@dataclass
class Progress:
    """What has been tried so far."""

    examples: int = 0
    refused: int = 0
    first_refusal: str = ""
    max_abs: float = 0.0
    worst_output: str = ""
    worst_tolerance: tuple[float, float] = (0.0, 0.0)
    metrics: dict[str, float] = field(default_factory=dict)
    tried: dict[str, tuple[int, int]] = field(default_factory=dict)
    stopped_early: bool = False

    def note(self, example: Example, comparison: Comparison) -> None:
        """Count one compared example."""
        self.examples += 1
        for difference in comparison.differences:
            if difference.max_abs >= self.max_abs:
                self.max_abs = difference.max_abs
                self.worst_output = difference.output
                self.worst_tolerance = (difference.atol, difference.rtol)
        for name, value in comparison.metrics.items():
            self.metrics[name] = min(value, self.metrics.get(name, value))
        if not example.sample:
            for name, size in example.sizes.items():
                low, high = self.tried.get(name, (size, size))
                self.tried[name] = (min(low, size), max(high, size))


class ParityRun:
    """The state of one parity check."""

    def __init__(self, case: Case) -> None:
        request: ParityRequest = case.request
        self.case = case
        self.model = case.model
        self.signature = case.model.signature
        self.rule = make_rule(request, case.model.output_names)
        self.maker = Maker(self.signature, special_values=request.special_values)
        self.progress = Progress()
        self.reference = _oracle(case)
        self._run_session = case.model.session.run
        self._output_names = case.model.output_names
        self._refused_recipes: set[tuple[str, str]] = set()
        self._accepted_recipes: set[tuple[str, str]] = set()

    def check(self, example: Example, feeds: dict[str, np.ndarray] | None = None) -> Failure | None:
        """Run one example; None when it matches.

        Raises:
            ReferenceRefused: the framework does not take it.
        """
        if feeds is None:
            feeds = self.maker.feeds(example)
        expected = self.reference(feeds)
        try:
            values = self._run_session(self._output_names, feeds)
        except Exception as error:
            return Failure(example, feeds, expected, None, " ".join(str(error).split()))
        comparison = compare_outputs(expected, dict(zip(self._output_names, values, strict=True)), self.rule)
        self.progress.note(example, comparison)
        return None if comparison.passed else Failure(example, feeds, expected, comparison)

    def visit(self, example: Example) -> Failure | None:
        """Run one example, counting the ones the framework refuses."""
        example = self._without_refused_recipes(example)
        try:
            failure = self.check(example)
        except ReferenceRefused as error:
            self.progress.refused += 1
            self.progress.first_refusal = self.progress.first_refusal or f"{example}: {error}"
            self._blame_recipes(example)
            return None
        self._accepted_recipes |= set(example.recipes.items())
        return failure

    def _without_refused_recipes(self, example: Example) -> Example:
        if not self._refused_recipes or not self._refused_recipes & set(example.recipes.items()):
            return example
        recipes = {
            name: self.maker.recipes[name][0] if (name, kind) in self._refused_recipes else kind
            for name, kind in example.recipes.items()
        }
        return Example(example.sizes, recipes, example.seed)

    def _blame_recipes(self, example: Example) -> None:
        """An embedding refuses negative numbers at any size: stop using a recipe that plain values do not need."""
        plain = self.maker.plain(example.sizes, example.seed)
        suspects = set(example.recipes.items()) - set(plain.recipes.items()) - self._accepted_recipes
        if not suspects:
            return
        try:
            self.reference(self.maker.feeds(plain))
        except ReferenceRefused:
            return
        self._refused_recipes |= suspects

    def still_fails(self, example: Example) -> bool:
        """For shrinking: a refused example does not fail."""
        try:
            return self.check(example) is not None
        except ReferenceRefused:
            return False


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
            failure = (run.check(smallest) if smallest != failure.example else None) or failure
    except Finding as finding:
        return finding.result
    finally:
        case.model.source.restore(state)
    if failure is not None:
        from pytest_onnxprep.checks.parity_report import failed

        return failed(run, failure)
    return _passed(run)


def _search(run: ParityRun) -> Failure | None:
    """Corners, then what Hypothesis draws, until one fails."""
    started = time.monotonic()
    request: ParityRequest = run.case.request
    limit = request.max_examples or run.case.examples
    found: list[Failure] = []
    done = 0
    for example in corner_examples(run.maker)[:limit]:
        if done == 0:
            check_reference(run.case.model, run.maker, example, run.reference)
        done += 1
        failure = run.visit(example)
        if failure is not None:
            return failure

    def visit(example: Example) -> None:
        if time.monotonic() - started > TIME_BUDGET_S:
            run.progress.stopped_early = True
            raise StopDrawing
        failure = run.visit(example)
        if failure is not None:
            found.append(failure)
            raise StopDrawing

    draw_examples(run.maker, limit - done, visit)
    return found[0] if found else None


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


def base_figures(run: ParityRun) -> dict[str, Any]:
    """The figures of a pass and of a failure alike."""
    progress = run.progress
    figures: dict[str, Any] = {
        "examples": progress.examples,
        "refused": progress.refused,
        "max_abs": progress.max_abs,
        "worst_output": progress.worst_output,
        "atol": progress.worst_tolerance[0],
        "rtol": progress.worst_tolerance[1],
        "tightest": {"atol": progress.max_abs, "rtol": 0.0},
        "sizes_tried": {name: list(sizes) for name, sizes in progress.tried.items()},
        "oracle": run.case.request.oracle,
    }
    if progress.metrics:
        figures["metrics"] = dict(progress.metrics)
    if progress.first_refusal:
        figures["first_refusal"] = progress.first_refusal
    return figures


def coverage(signature: Signature, tried: Mapping[str, tuple[int, int]]) -> str:
    """``batch 1-8 of 1-8, seq 1-128 of 1-512``."""
    parts = []
    for name, (low, high) in tried.items():
        dim = signature.dims[name]
        parts.append(f"{name} {low}-{high} of {dim.smallest}-{dim.largest}")
    return ", ".join(parts)


def make_rule(request: ParityRequest, outputs: list[str]) -> Rule:
    """The comparison rule of a request.

    Raises:
        SpecError: ``outputs=`` names an output the model does not have.
    """
    per_output = request.outputs or {}
    for name in per_output:
        if name not in outputs:
            raise SpecError(
                f"parity(outputs=): the model has no output {name!r}{closest(name, outputs)} It has: {', '.join(outputs)}."
            )
    # A list selects outputs; a mapping gives tolerances and leaves the other outputs at the common one.
    only = tuple(per_output) if per_output and all(value is None for value in per_output.values()) else None
    own = {name: tolerance for name, tolerance in per_output.items() if tolerance is not None}
    return Rule(request.tolerance, own, only, dict(request.metrics))


def _oracle(case: Case) -> Callable[[Arrays], Arrays]:
    if case.request.oracle == "framework":
        return case.model.reference
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(case.model.path))
    names = case.model.output_names

    def evaluate(feeds: Arrays) -> Arrays:
        try:
            return dict(zip(names, evaluator.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise ReferenceRefused(f"{type(error).__name__}: {error}") from error

    return evaluate
