"""Rules on a difference: the file's fault, or the rounding that both sides are entitled to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.other_evaluations import OtherEvaluations
from pytest_onnxprep.compare.choices import is_free
from pytest_onnxprep.compare.conditioning import Cause, Evidence, agree_in_double, distance, judge
from pytest_onnxprep.compare.elementwise import Difference, finite_scale
from pytest_onnxprep.compare.padding import is_hidden
from pytest_onnxprep.compare.rounding_errors import (
    chances,
    epsilons_of,
    is_finite,
    relative_error,
    wrong_elements,
)
from pytest_onnxprep.compare.ties import choice_behind, is_quantised, is_tie
from pytest_onnxprep.compare.underflow import is_underflow
from pytest_onnxprep.errors import ReferenceRefused
from pytest_onnxprep.fuzz.nudge import nudged
from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.probe import Probe
from pytest_onnxprep.sources.base import Double, RoundingDouble
from pytest_onnxprep.spec.tolerance import EPSILON, Tolerance

Arrays = Mapping[str, np.ndarray]
_T = TypeVar("_T")

#: Seconds a check may spend on float64; after that the nudges alone decide.
DOUBLE_S = 5.0
#: And these many more on differences that would fail without it.
URGENT_S = 12.0
#: A difference up to this many epsilons of the output's scale needs no explanation.
QUIET = 16
#: The largest error of a run is looked at from this many epsilons on.
HANDFUL = 4
#: ONNX Runtime's error against float64 is no cause for suspicion up to this many times the framework's own.
FAIR = 4
#: Other roundings that are looked at, of the framework's program and of the file's graph.
ROUNDINGS = 16
GRAPH_ROUNDINGS = 4
#: Differences are of one size up to this factor: how far rounding carries depends on the example.
ALIKE = 4
#: Scales of an output that say what is usual for it.
_SCALES = 64


_FAULTS = (Cause.DIFFERENT, Cause.LESS_PRECISE, Cause.UNEXPLAINED)


@dataclass(frozen=True)
class Ruling:
    """What the arbiter found.

    Attributes:
        fails: whether the check fails.
        cause: why the outputs differ.
        own_error: the reference's own rounding error there, relative to the output's scale; None where unknown.
        settled: whether framework and file were seen to agree in float64, so that the example says something all the
            same.
    """

    fails: bool
    cause: Cause
    own_error: float | None = None
    settled: bool = False


class Arbiter:
    """Looks at the examples on which the framework and the file are further apart than rounding usually is.

    Args:
        model: the file and its source.
        reference: the framework's outputs on some feeds.
        tolerance_of: output name -> its tolerance.
        masks: the inputs that are padding masks, as a tokenizer makes them.
    """

    def __init__(
        self,
        model: OnnxModel,
        reference: Callable[[Arrays], Arrays],
        tolerance_of: Callable[[str], Tolerance],
        masks: Sequence[str] = (),
    ) -> None:
        self._masks = masks
        self._model = model
        self._reference = reference
        self._tolerance_of = tolerance_of
        self._double_s = DOUBLE_S
        self._urgent_s = URGENT_S
        self._is_urgent = False
        self._settled: dict[str, float] = {}
        self._graph = model.in_double()
        #: Whether there is one graph to look into; of a pipeline there are several.
        self._is_one_file = not model.parts
        self._chances = chances(model.graph_proto.graph) if self._is_one_file else frozenset()
        self._choices_s = self._noise_s = DOUBLE_S
        self._others = OtherEvaluations(model, self._graph)
        self._allowed: dict[str, float] = {}
        self._scales: dict[str, list[float]] = {}
        self.own_error: float | None = None

    def suspicious(self, difference: Difference) -> bool:
        """Whether an output within its derived tolerance deserves a second look."""
        if not self._tolerance_of(difference.output).is_derived:
            return False
        scales = self._scales.setdefault(difference.output, [])
        if len(scales) < _SCALES:
            scales.append(difference.scale)
        if self._is_small_chance(difference):
            return False
        return epsilons_of(difference) > self._allowed.get(difference.output, QUIET)

    def worth_a_look(self, difference: Difference) -> bool:
        """Whether the largest error of a whole run is more than a handful of roundings."""
        if self._is_small_chance(difference):
            return False
        return self._tolerance_of(difference.output).is_derived and epsilons_of(difference) > HANDFUL

    def _is_small_chance(self, difference: Difference) -> bool:
        """Whether a probability is off by roundings of 1: kernels of Sigmoid and Softmax promise no more near 0."""
        eps = EPSILON.get(difference.dtype, 0.0)
        return difference.output in self._chances and difference.max_abs <= HANDFUL * eps

    def rule(self, feeds: Arrays, expected: Arrays, actual: Arrays, difference: Difference) -> Ruling:
        """Rule on one output that is outside its tolerance, or suspicious.

        Args:
            feeds: the example.
            expected: the framework's outputs.
            actual: ONNX Runtime's outputs.
            difference: the output in question.
        """
        if difference.kind in ("missing", "dtype"):
            return Ruling(True, Cause.DIFFERENT)
        name = difference.output
        reference, value = expected[name], actual[name]
        if reference.dtype.kind in "OSU" or not reference.size:
            return Ruling(not difference.matches, Cause.DIFFERENT)
        if difference.kind != "shape" and self._is_padding(feeds, difference, reference, value):
            return Ruling(False, Cause.PADDING)
        if difference.kind == "nan" and not all(map(is_finite, feeds.values())):
            return Ruling(True, Cause.UNEXPLAINED)  # the user's own NaN came out as something else
        if not difference.matches and self._is_strict(difference, reference):
            return Ruling(True, Cause.UNEXPLAINED)
        if reference.dtype.kind in "iu" and difference.kind == "values" and self._is_tie(feeds, name, reference, value):
            return Ruling(False, Cause.TIE)
        one_step = reference.dtype.name in ("int8", "uint8") and difference.kind == "values" and difference.max_abs <= 1
        if one_step and self._is_one_file and is_quantised(self._model.graph_proto.graph, name):
            return Ruling(False, Cause.ROUNDING)
        wide = reference.dtype.name != "float64"
        self._is_urgent = not difference.matches
        if self._is_settled(difference):
            return Ruling(False, Cause.ILL_CONDITIONED)
        truth = self._truth(feeds, name) if wide else None
        own = relative_error(truth, reference)
        self.own_error = max(own or 0.0, self.own_error or 0.0) if own is not None else self.own_error
        if difference.matches and (truth is None or self._is_fair(truth, reference, value)):
            self._allow(difference)
            return Ruling(False, Cause.ROUNDING, own)
        graph = self._graph_value(feeds, name) if wide else None
        if difference.kind == "shape":
            return self._rule_on_shape(feeds, name, reference, value, truth, graph)
        wrong = wrong_elements(difference, reference, value)
        depth = max((array.size for array in feeds.values()), default=0)
        evidence = Evidence(reference, value, truth, graph, usual_scale=self._usual_scale(name), depth=depth)
        cause = judge(evidence, wrong)
        if cause is Cause.UNEXPLAINED and getattr(self._double(), "speaks_for_rounding", False):
            for rounded in self._rounded(feeds, name):
                evidence = replace(evidence, nudged=[*evidence.nudged, rounded])
                if judge(evidence, wrong) is Cause.ILL_CONDITIONED:  # the framework's own kernels are as far apart
                    self._settle(difference)
                    return Ruling(False, Cause.ILL_CONDITIONED, own, settled=True)
        if cause in (Cause.UNEXPLAINED, Cause.LESS_PRECISE, Cause.ROUNDING):
            evidence = replace(evidence, nudged=[*evidence.nudged, *self._nudged(feeds, name)])
            cause = judge(evidence, wrong)
        if cause in (Cause.UNEXPLAINED, Cause.LESS_PRECISE):
            for rounded in self._rounded(feeds, name):
                evidence = replace(evidence, nudged=[*evidence.nudged, rounded])
                cause = judge(evidence, wrong)
                if cause not in (Cause.UNEXPLAINED, Cause.LESS_PRECISE):
                    break
        if cause is Cause.UNEXPLAINED and truth is None:
            for rounded in self._graph_rounded(feeds, name, expected, actual, graph):
                evidence = replace(evidence, nudged=[*evidence.nudged, rounded])
                cause = judge(evidence, wrong)
                if cause is not Cause.UNEXPLAINED:
                    self._settle(difference)
                    break
        if cause in _FAULTS and self._is_free_choice(feeds, difference, reference, wrong):
            return Ruling(False, Cause.TIE, own)
        if cause in _FAULTS and self._is_underflow(feeds, name, reference, value):
            return Ruling(False, Cause.ROUNDING, own, settled=True)
        if difference.matches:
            fails = cause in (Cause.DIFFERENT, Cause.LESS_PRECISE)
            if not fails:
                self._allow(difference)
        else:
            fails = cause not in (Cause.ILL_CONDITIONED, Cause.ROUNDING)
        settled = not fails and agree_in_double(evidence, wrong)
        if settled:
            self._settle(difference)
        return Ruling(fails, cause, own, settled)

    def _settle(self, difference: Difference) -> None:
        """Remember how large a difference of this output was seen to be rounding."""
        if difference.kind == "values":
            name = difference.output
            self._settled[name] = max(self._settled.get(name, 0.0), epsilons_of(difference))

    def _is_settled(self, difference: Difference) -> bool:
        """Whether time for float64 is over, after it settled differences of this size of this output as rounding."""
        if self._time_left() > 0 or difference.kind != "values":
            return False
        return 0 < epsilons_of(difference) <= ALIKE * self._settled.get(difference.output, 0.0)

    def _is_padding(self, feeds: Arrays, difference: Difference, reference: np.ndarray, value: np.ndarray) -> bool:
        """Whether the outputs differ only where they stand for padding."""
        hidden = [is_hidden(feeds[name], reference.shape, difference.output) for name in self._masks]
        if not hidden or not np.any(hidden):
            return False
        return not bool(np.any(wrong_elements(difference, reference, value) & ~np.logical_or.reduce(hidden)))

    def _is_tie(self, feeds: Arrays, name: str, reference: np.ndarray, value: np.ndarray) -> bool:
        """Whether an index output names other ones of equal values."""
        if not self._is_one_file:
            return False
        proto = self._model.graph_proto
        choice = choice_behind(proto.graph, name)
        if choice is None:
            return False
        graph = Graph(proto, self._model.custom_ops)
        probe = Probe(graph, self._model.path.resolve().parent, feeds, time.monotonic() + DOUBLE_S)
        found = probe.fetch([choice.values, choice.indices])
        if len(found) < 2:
            return False
        return is_tie(choice, found[choice.values], found[choice.indices], reference, value)

    def _is_free_choice(self, feeds: Arrays, difference: Difference, reference: np.ndarray, wrong: np.ndarray) -> bool:
        """Whether the outputs differ in what follows from choosing one of several equals."""
        if reference.dtype.kind not in "fiu" or self._choices_s <= 0 or not self._is_one_file:
            return False
        started = time.monotonic()
        try:
            others = self._others.choices(feeds, difference.output)
        finally:
            self._choices_s -= time.monotonic() - started
        allowed = difference.atol + difference.rtol * np.abs(reference.astype(np.float64))
        return is_free(reference, others, wrong, allowed)

    def _is_underflow(self, feeds: Arrays, name: str, reference: np.ndarray, value: np.ndarray) -> bool:
        """Whether the outputs differ because one side takes denormal inputs for zero."""
        try:
            run = (self._reference, self._model.run)
            return is_underflow(feeds, name, reference, value, *run, self._tolerance_of(name))
        except Exception:  # refused: no verdict
            return False

    def _is_strict(self, difference: Difference, reference: np.ndarray) -> bool:
        """Whether a tolerance given in numbers is below ordinary rounding: numpy's rule is meant then."""
        tolerance = self._tolerance_of(difference.output)
        if tolerance.is_derived or difference.kind != "values" or reference.dtype.kind != "f":
            return False
        atol, _ = Tolerance().resolve(reference.dtype.name, difference.scale)
        return difference.max_abs <= atol

    def _is_fair(self, truth: np.ndarray, reference: np.ndarray, value: np.ndarray) -> bool:
        """Whether ONNX Runtime is about as far from float64 as the framework is."""
        if truth.shape != reference.shape:
            return False
        eps = EPSILON.get(reference.dtype.name, 0.0)
        own = float(distance(reference.astype(np.float64), truth).max())
        error = float(distance(value.astype(np.float64), truth).max())
        return error <= FAIR * (own + eps * finite_scale(truth))

    def _allow(self, difference: Difference) -> None:
        """Explained once, errors of this size are not looked at again; never more than 64 epsilons."""
        allowed = min(1.5 * epsilons_of(difference), 64.0)
        self._allowed[difference.output] = max(self._allowed.get(difference.output, QUIET), allowed)

    def _rule_on_shape(
        self,
        feeds: Arrays,
        name: str,
        reference: np.ndarray,
        value: np.ndarray,
        truth: np.ndarray | None,
        graph: np.ndarray | None,
    ) -> Ruling:
        """A size that depends on values (``nonzero``, NMS) may hang on a threshold."""
        if truth is not None and graph is not None and truth.shape != graph.shape:
            return Ruling(True, Cause.DIFFERENT)
        shapes = {other.shape for other in self._nudged(feeds, name)} | ({truth.shape} if truth is not None else set())
        if shapes <= {reference.shape}:
            shapes |= {other.shape for other in self._rounded(feeds, name)}
        if value.shape in shapes or (shapes - {reference.shape}):
            return Ruling(False, Cause.ILL_CONDITIONED)
        return Ruling(True, Cause.UNEXPLAINED)

    def in_double(self, feeds: Arrays) -> Arrays | None:
        """The framework's outputs in float64; None where there are none, or time for them is over."""
        double = self._double()
        return self._timed(lambda: double(feeds)) if double is not None else None

    def _truth(self, feeds: Arrays, name: str) -> np.ndarray | None:
        """The framework's output in float64."""
        outputs = self.in_double(feeds)
        return None if outputs is None else outputs.get(name)

    def _double(self) -> Double | None:
        """The model's twin in float64, made once for all of its variants that call their outputs alike."""
        memo, signature = self._model.source.memo, self._model.signature
        key = f"in_double {', '.join(signature.outputs or ())}"
        if key not in memo:
            memo[key] = self._timed(lambda: self._model.source.in_double(signature))
        double: Double | None = memo[key]
        return double

    def _rounded(self, feeds: Arrays, name: str) -> Iterator[np.ndarray]:
        """The framework's output where every operation rounds another way."""
        double = self._double()
        if not isinstance(double, RoundingDouble):
            return
        for seed in range(ROUNDINGS):
            outputs = self._timed(partial(double.rounded, feeds, seed))
            if outputs is None:
                return
            yield outputs[name]

    def _graph_rounded(
        self, feeds: Arrays, name: str, expected: Arrays, actual: Arrays, exact: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """The framework's output, moved as far as the file's own rounding moves the file's: of what has no float64."""
        reference, value = expected[name], actual[name]
        if reference.dtype.name not in EPSILON or value.shape != reference.shape:
            return
        for seed in range(GRAPH_ROUNDINGS):
            rounded = None
            if exact is not None and exact.shape == reference.shape:
                rounded, around = self._timed(partial(self._others.rounded, feeds, name, reference.dtype, seed)), exact
            if rounded is None and self._noise_s > 0:  # no float64 of it, or too late: the file, with noise in it
                started = time.monotonic()
                rounded, around = self._others.noisy(feeds, name), value
                self._noise_s -= time.monotonic() - started
            if rounded is None or rounded.shape != reference.shape:
                return
            yield reference.astype(np.float64) + (rounded.astype(np.float64) - around)

    def _usual_scale(self, name: str) -> float:
        scales = self._scales.get(name)
        return float(np.median(scales)) if scales else 0.0

    def _graph_value(self, feeds: Arrays, name: str) -> np.ndarray | None:
        outputs = self._timed(lambda: self._graph.run(feeds))
        return None if outputs is None else outputs.get(name)

    def _timed(self, work: Callable[[], _T]) -> _T | None:
        if self._time_left() <= 0:
            return None
        started = time.monotonic()
        try:
            return work()
        finally:
            spent = time.monotonic() - started
            if self._double_s > 0:
                self._double_s -= spent
            else:
                self._urgent_s -= spent

    def _time_left(self) -> float:
        return max(self._double_s, self._urgent_s if self._is_urgent else 0.0)

    def _nudged(self, feeds: Arrays, name: str) -> list[np.ndarray]:
        found = []
        for moved in nudged(feeds, self._model.signature):
            try:
                found.append(self._reference(moved)[name])
            except ReferenceRefused:
                continue
        return found
