"""The state of one parity check: what to run, what was tried, and what failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.compare.outputs import Comparison, Rule, compare_outputs
from pytest_onnxprep.errors import ReferenceRefused, SpecError, closest
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.spec.check_requests import ParityRequest
from pytest_onnxprep.spec.signature import Signature

Arrays = Mapping[str, np.ndarray]

#: Reference outputs kept per model, in bytes: the variants of a model share examples, so each is run once.
MEMO_BYTES = 128_000_000


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
        self.request = request
        self.model = case.model
        self.signature = case.model.signature
        self.rule = make_rule(request, case.model.output_names)
        self.maker = Maker(
            self.signature,
            special_values=request.special_values,
            magnitudes=request.tolerance.is_derived or bool(request.rtol),
        )
        self.progress = Progress()
        self.reference = _oracle(case)
        self.memo_key = f"{self.signature.canonical()} {sorted(self.maker.recipes.items())} {self._makers()}"
        self._run_session = case.model.session.run
        self._output_names = case.model.output_names
        self._refused_recipes: set[tuple[str, str]] = set()
        self._accepted_recipes: set[tuple[str, str]] = set()

    def check(
        self, example: Example, feeds: dict[str, np.ndarray] | None = None, *, counted: bool = True
    ) -> Failure | None:
        """Run one example; None when it matches.

        Raises:
            ReferenceRefused: the framework does not take it.
        """
        expected: Arrays
        if feeds is None:
            feeds = self.maker.feeds(example)
            expected = self._expected(example, feeds)
        else:
            expected = self.reference(feeds)
        try:
            values = self._run_session(self._output_names, feeds)
        except Exception as error:
            return Failure(example, feeds, expected, None, " ".join(str(error).split()))
        comparison = compare_outputs(expected, dict(zip(self._output_names, values, strict=True)), self.rule)
        if counted:
            self.progress.note(example, comparison)
        return None if comparison.passed else Failure(example, feeds, expected, comparison)

    def _expected(self, example: Example, feeds: Arrays) -> Arrays:
        """The reference's outputs, remembered for the other variants of the same model while they are small."""
        if self.request.oracle != "framework":
            return self.reference(feeds)
        memo = self.model.source.memo
        key = f"{example} {self.memo_key}"
        expected: Arrays | None = memo.get(key)
        if expected is None:
            expected = self.reference(feeds)
            size = sum(array.nbytes for array in expected.values())
            if memo.setdefault("bytes", 0) + size <= MEMO_BYTES:
                memo["bytes"] += size
                memo[key] = expected
        return expected

    def _makers(self) -> list[int]:
        """What else decides the values: the user's own functions, by identity."""
        values = [spec.values for spec in self.signature.inputs.values()]
        return [id(self.signature.generate), *(id(value) for value in values)]

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
            return self.check(example, counted=False) is not None
        except ReferenceRefused:
            return False


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
                f"parity(outputs=): the model has no output {name!r}{closest(name, outputs)} "
                f"It has: {', '.join(outputs)}."
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
