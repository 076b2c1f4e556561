"""The state of one parity check: what to run, what was tried, and what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pytest_onnxprep.checks.arbiter import Arbiter, Ruling
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.expected import Expected
from pytest_onnxprep.checks.oracle import reference_of
from pytest_onnxprep.compare.conditioning import Cause
from pytest_onnxprep.compare.elementwise import Difference
from pytest_onnxprep.compare.outputs import Comparison, Rule, compare_outputs
from pytest_onnxprep.compare.tasks import TASK_METRICS
from pytest_onnxprep.errors import OnnxPrepError, ReferenceRefused, SpecError, closest
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.fuzz.masks import OF_PADDING
from pytest_onnxprep.fuzz.nudge import nudged, shifted
from pytest_onnxprep.runtime import watchdog
from pytest_onnxprep.spec.check_requests import ParityRequest
from pytest_onnxprep.spec.signature import Signature

Arrays = Mapping[str, np.ndarray]

#: An answer that changes by this part of a difference, with nothing but rounding for a cause, explains it.
_MOVES = 4
#: What makes an example outside its tolerance ill-conditioned; ties and padding are simply right.
_MOVED = (Cause.ILL_CONDITIONED, Cause.ROUNDING)


@dataclass
class Failure:
    """One example that does not match."""

    example: Example
    feeds: Arrays
    expected: Arrays
    comparison: Comparison | None
    refusal: str = ""
    ruling: Ruling | None = None
    unrepeatable: bool = False


@dataclass
class Progress:
    """What has been tried so far."""

    examples: int = 0
    refused: int = 0
    ill_conditioned: int = 0
    unsettled: int = 0
    first_refusal: str = ""
    first_ill_conditioned: str = ""
    max_abs: float = 0.0
    worst_output: str = ""
    worst_tolerance: tuple[float, float] = (0.0, 0.0)
    worst_ratio: float = 0.0
    worst_example: Example | None = None
    last_good: Example | None = None
    last_ratio: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    tried: dict[str, tuple[int, int]] = field(default_factory=dict)
    stopped_early: bool = False
    corners_left: int = 0
    started: float = field(default_factory=time.monotonic)
    seconds_to_failure: float | None = None

    def note(self, example: Example, comparison: Comparison) -> None:
        """Count one compared example, and remember the largest error within its tolerance."""
        self.examples += 1
        self.last_ratio = 0.0
        for difference in comparison.differences:
            if difference.max_abs >= self.max_abs and difference.matches:
                self.max_abs = difference.max_abs
                self.worst_output = difference.output
                self.worst_tolerance = (difference.atol, difference.rtol)
            if difference.max_abs:
                self.last_ratio = max(self.last_ratio, difference.max_abs / (difference.scale or 1.0))
        for name, value in comparison.metrics.items():
            self.metrics[name] = min(value, self.metrics.get(name, value))
        for name, count in comparison.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        if not example.sample:
            tried = self.tried
            for name, size in example.sizes.items():
                low, high = tried.get(name, (size, size))
                if size <= low or size >= high:
                    tried[name] = (min(low, size), max(high, size))

    def note_unquestioned(self, example: Example, comparison: Comparison) -> None:
        """Remember an example that is right, and the one with the largest error that nobody has looked at twice."""
        if not example.sample:
            self.last_good = example
        for difference in comparison.differences:
            if difference.max_abs > self.worst_ratio * difference.scale and difference.scale and not example.sample:
                self.worst_ratio = difference.max_abs / difference.scale
                self.worst_example = example

    def note_ill_conditioned(self, example: Example, *, settled: bool) -> None:
        """Count an example that is outside its tolerance for no fault of the file; ``settled`` if float64 proved it."""
        self.ill_conditioned += 1
        self.unsettled += not settled
        self.first_ill_conditioned = self.first_ill_conditioned or str(example)


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
            magnitudes=2 if request.tolerance.is_derived else int(bool(request.rtol)),
        )
        self.progress = Progress()
        self.reference = reference_of(case.model, case.request.oracle)
        self.arbiter = Arbiter(self.model, self.reference, self.rule.tolerance_of, self._padding_masks())
        self.memo_key = f"{self.signature.canonical()} {sorted(self.maker.recipes.items())} {self._makers()}"
        self.answers = None
        if request.oracle == "framework":
            self.answers = Expected(case, self.reference, self.memo_key, shareable=not self._makers())
        self._run_session = case.model.session.run
        self._name = f"the ONNX model of {case.model.source.label}"
        self._output_names = case.model.output_names
        #: Examples that every run of this test tries.
        self.planned: list[Example] = []
        self._refused_recipes: set[tuple[str, str]] = set()
        self._accepted_recipes: set[tuple[str, str]] = set()

    def check(
        self,
        example: Example,
        feeds: dict[str, np.ndarray] | None = None,
        *,
        counted: bool = True,
        look: Callable[[Difference], bool] | None = None,
    ) -> Failure | None:
        """Run one example; None when it matches, or differs by no more than rounding.

        Args:
            example: what to run.
            feeds: its arrays, where they are not to be made.
            counted: whether it is one of the examples the report speaks of.
            look: which outputs within their tolerance the arbiter has to see all the same.

        Raises:
            ReferenceRefused: the framework does not take it.
        """
        expected: Arrays
        if feeds is None:
            feeds = self.maker.feeds(example)
            expected = self.expected(example, feeds)
        else:
            expected = self.reference(feeds)
        look = look or self.arbiter.suspicious
        try:
            values = watchdog.run(self._run_session, self._output_names, feeds, self._name)
        except OnnxPrepError:
            raise
        except Exception as error:
            return Failure(example, feeds, expected, None, " ".join(str(error).split()))
        actual = dict(zip(self._output_names, values, strict=True))
        comparison = compare_outputs(expected, actual, self.rule)
        if self.answers is not None and self.answers.is_unproven(example) and _questionable(comparison, look):
            expected = self.answers.ask(example, feeds)
            comparison = compare_outputs(expected, actual, self.rule)
        if counted:
            self.progress.note(example, comparison)
        if comparison.misses:
            if not self._moves_too(feeds, expected, comparison):
                return Failure(example, feeds, expected, comparison)
            if counted:
                self.progress.note_ill_conditioned(example, settled=False)
            return None
        questioned = ill = False
        settled = True
        for index, difference in enumerate(comparison.differences):
            if difference.matches and not look(difference):
                continue
            questioned = True
            ruling = self.arbiter.rule(feeds, expected, actual, difference)
            if ruling.fails:
                if difference.matches:
                    differs = replace(difference, kind="values", what="differs")
                    others = comparison.differences[:index] + comparison.differences[index + 1 :]
                    comparison = replace(comparison, differences=(differs, *others))
                return Failure(example, feeds, expected, comparison, ruling=ruling)
            if not difference.matches and ruling.cause in _MOVED:
                ill, settled = True, settled and ruling.settled
        if counted and ill:
            self.progress.note_ill_conditioned(example, settled=settled)
        if counted and not questioned:
            self.progress.note_unquestioned(example, comparison)
        return None

    def _moves_too(self, feeds: Arrays, expected: Arrays, comparison: Comparison) -> bool:
        """Whether the reference's own answer changes about as much in float64, or where its inputs move by an epsilon.

        A box at the threshold, equally good ones, two tokens equally likely: the whole answer changes, for no fault of
        the file.
        """
        missed = {miss.metric: miss.value for miss in comparison.misses}
        if not missed.keys() <= set(TASK_METRICS):
            return False
        for answer, other in self._other_answers(feeds, expected):
            moved = compare_outputs(answer, other, self.rule).metrics
            if all((1 - moved[metric]) * _MOVES >= 1 - value for metric, value in missed.items()):
                return True
        return False

    def _other_answers(self, feeds: Arrays, expected: Arrays) -> Iterator[tuple[Arrays, Arrays]]:
        """An answer of the reference, and another that is as good."""
        wide = self.arbiter.in_double(feeds)
        if wide is not None:
            yield expected, wide
        for moved in (*nudged(feeds, self.signature), *shifted(feeds, self.signature)):
            with suppress(ReferenceRefused):
                yield expected, self.reference(moved)
        with suppress(ReferenceRefused):
            yield from self.model.source.answers_apart(feeds, self.signature)

    def second_look(self) -> Failure | None:
        """Hold the largest error that passed unquestioned against float64: a small fault hides below the tolerance."""
        worst = self.progress.worst_example
        if worst is None or not self.rule.has_derived:
            return None
        return self.check(worst, counted=False, look=self.arbiter.worth_a_look)

    def expected(self, example: Example, feeds: Arrays) -> Arrays:
        """The reference's outputs, remembered for the other variants of the same model while they are small."""
        return self.reference(feeds) if self.answers is None else self.answers.get(example, feeds)

    def _padding_masks(self) -> list[str]:
        """The 0/1 integers that a tokenizer makes; a boolean mask is part of the model, and may hide what it likes."""
        specs = self.signature.inputs
        recipes = self.maker.recipes.items()
        return [name for name, kinds in recipes if kinds[0] in OF_PADDING and "int" in specs[name].dtype]

    def _makers(self) -> list[int]:
        """What else decides the values: the user's own functions, by identity."""
        own = [self.signature.generate, *(spec.values for spec in self.signature.inputs.values())]
        return [id(value) for value in own if value is not None and not isinstance(value, str)]

    def visit(self, example: Example) -> Failure | None:
        """Run one example, counting the ones the framework refuses."""
        if self._refused_recipes:
            example = self._without_refused_recipes(example)
        try:
            failure = self.check(example)
        except ReferenceRefused as error:
            self.progress.refused += 1
            self.progress.first_refusal = self.progress.first_refusal or f"{example}: {error}"
            self._blame_recipes(example)
            return None
        self._accepted_recipes.update(example.recipes.items())
        return failure

    def _without_refused_recipes(self, example: Example) -> Example:
        if not self._refused_recipes & set(example.recipes.items()):
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
        return bool(self.outcome(example))

    def outcome(self, example: Example) -> bool | None:
        """Whether an example fails; None where the framework refuses it."""
        try:
            return self.check(example, counted=False) is not None
        except ReferenceRefused:
            return None


def _questionable(comparison: Comparison, look: Callable[[Difference], bool]) -> bool:
    """Whether an example is more than an undisputed match."""
    return bool(comparison.misses) or any(not d.matches or look(d) for d in comparison.differences)


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
        "ill_conditioned": progress.ill_conditioned,
    }
    if run.arbiter.own_error is not None:
        figures["own_error"] = run.arbiter.own_error
    if progress.metrics:
        figures["metrics"] = dict(progress.metrics)
    if progress.counts:
        figures["compared"] = dict(progress.counts)
    assumed = [record for record in run.model.provenance.get("narrowed", ()) if not record["minor"]]
    if assumed:
        figures["narrowed"] = [
            {key: record[key] for key in ("guard", "declared", "file", "line", "code")} for record in assumed
        ]
    if progress.corners_left:
        figures["corners_left"] = progress.corners_left
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
