"""Rules on a difference: the file's fault, or the rounding that both sides are entitled to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compare.conditioning import Cause, Evidence, distance, judge
from pytest_onnxprep.compare.elementwise import Difference
from pytest_onnxprep.compare.padding import is_hidden
from pytest_onnxprep.compare.ties import choice_behind, is_quantised, is_tie
from pytest_onnxprep.errors import ReferenceRefused
from pytest_onnxprep.fuzz.nudge import nudged
from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.probe import Probe
from pytest_onnxprep.runtime.double_graph import DoubleGraph
from pytest_onnxprep.spec.tolerance import EPSILON, Tolerance

Arrays = Mapping[str, np.ndarray]
_T = TypeVar("_T")

#: Seconds a check may spend on float64; after that the nudges alone decide.
DOUBLE_S = 5.0
#: A difference up to this many epsilons of the output's scale needs no explanation.
QUIET = 16
#: The largest error of a run is looked at from this many epsilons on.
HANDFUL = 4
#: ONNX Runtime's error against float64 is no cause for suspicion up to this many times the framework's own.
FAIR = 4


@dataclass(frozen=True)
class Ruling:
    """What the arbiter found.

    Attributes:
        fails: whether the check fails.
        cause: why the outputs differ.
        own_error: the reference's own rounding error there, relative to the output's scale; None where unknown.
    """

    fails: bool
    cause: Cause
    own_error: float | None = None


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
        self._graph = DoubleGraph(model.path)
        self._allowed: dict[str, float] = {}
        self.own_error: float | None = None

    def suspicious(self, difference: Difference) -> bool:
        """Whether an output within its derived tolerance deserves a second look."""
        if not self._tolerance_of(difference.output).is_derived:
            return False
        return _epsilons(difference) > self._allowed.get(difference.output, QUIET)

    def worth_a_look(self, difference: Difference) -> bool:
        """Whether the largest error of a whole run is more than a handful of roundings."""
        return self._tolerance_of(difference.output).is_derived and _epsilons(difference) > HANDFUL

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
        if difference.kind == "nan" and not all(map(_is_finite, feeds.values())):
            return Ruling(True, Cause.UNEXPLAINED)  # the user's own NaN came out as something else
        if not difference.matches and self._is_strict(difference, reference):
            return Ruling(True, Cause.UNEXPLAINED)
        if reference.dtype.kind in "iu" and difference.kind == "values" and self._is_tie(feeds, name, reference, value):
            return Ruling(False, Cause.TIE)
        if reference.dtype.name in ("int8", "uint8") and difference.kind == "values" and difference.max_abs <= 1:
            if is_quantised(self._model.graph_proto.graph, name):
                return Ruling(False, Cause.ROUNDING)
        wide = reference.dtype.name != "float64"
        truth = self._truth(feeds, name) if wide else None
        own = _relative(truth, reference)
        self.own_error = max(own or 0.0, self.own_error or 0.0) if own is not None else self.own_error
        if difference.matches and (truth is None or self._is_fair(truth, reference, value)):
            self._allow(difference)
            return Ruling(False, Cause.ROUNDING, own)
        graph = self._graph_value(feeds, name) if wide else None
        if difference.kind == "shape":
            return self._rule_on_shape(feeds, name, reference, value, truth, graph)
        wrong = _wrong(difference, reference, value)
        cause = judge(Evidence(reference, value, truth, graph), wrong)
        if cause in (Cause.UNEXPLAINED, Cause.LESS_PRECISE, Cause.ROUNDING):
            moved = self._nudged(feeds, name)
            cause = judge(Evidence(reference, value, truth, graph, moved), wrong) if moved else cause
        if difference.matches:
            fails = cause in (Cause.DIFFERENT, Cause.LESS_PRECISE)
            if not fails:
                self._allow(difference)
        else:
            fails = cause not in (Cause.ILL_CONDITIONED, Cause.ROUNDING)
        return Ruling(fails, cause, own)

    def _is_padding(self, feeds: Arrays, difference: Difference, reference: np.ndarray, value: np.ndarray) -> bool:
        """Whether the outputs differ only where they stand for padding."""
        hidden = [is_hidden(feeds[name], reference.shape) for name in self._masks]
        if not hidden or not np.any(hidden):
            return False
        return not bool(np.any(_wrong(difference, reference, value) & ~np.logical_or.reduce(hidden)))

    def _is_tie(self, feeds: Arrays, name: str, reference: np.ndarray, value: np.ndarray) -> bool:
        """Whether an index output names other ones of equal values."""
        proto = self._model.graph_proto
        choice = choice_behind(proto.graph, name)
        if choice is None:
            return False
        probe = Probe(Graph(proto), self._model.path.resolve().parent, feeds, time.monotonic() + DOUBLE_S)
        found = probe.fetch([choice.values, choice.indices])
        if len(found) < 2:
            return False
        return is_tie(choice, found[choice.values], found[choice.indices], reference, value)

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
        return error <= FAIR * (own + eps * _scale(truth))

    def _allow(self, difference: Difference) -> None:
        """Explained once, errors of this size are not looked at again; never more than 64 epsilons."""
        allowed = min(1.5 * _epsilons(difference), 64.0)
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
        if value.shape in shapes or (shapes - {reference.shape}):
            return Ruling(False, Cause.ILL_CONDITIONED)
        return Ruling(True, Cause.UNEXPLAINED)

    def _truth(self, feeds: Arrays, name: str) -> np.ndarray | None:
        """The framework's output in float64. The twin is made once per model, for all of its variants."""
        memo = self._model.source.memo
        if "in_double" not in memo:
            memo["in_double"] = self._timed(lambda: self._model.source.in_double(self._model.signature))
        double = memo["in_double"]
        outputs = self._timed(lambda: double(feeds)) if double is not None else None
        return None if outputs is None else outputs.get(name)

    def _graph_value(self, feeds: Arrays, name: str) -> np.ndarray | None:
        outputs = self._timed(lambda: self._graph.run(feeds))
        return None if outputs is None else outputs.get(name)

    def _timed(self, work: Callable[[], _T]) -> _T | None:
        if self._double_s <= 0:
            return None
        started = time.monotonic()
        try:
            return work()
        finally:
            self._double_s -= time.monotonic() - started

    def _nudged(self, feeds: Arrays, name: str) -> list[np.ndarray]:
        found = []
        for moved in nudged(feeds, self._model.signature):
            try:
                found.append(self._reference(moved)[name])
            except ReferenceRefused:
                continue
        return found


def _epsilons(difference: Difference) -> float:
    """The largest error in epsilons of the output's scale; 0 where neither is a float's."""
    unit = EPSILON.get(difference.dtype, 0.0) * difference.scale
    return difference.max_abs / unit if unit else 0.0


def _wrong(difference: Difference, reference: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The elements to explain: outside the tolerance, or, where none is, the ones furthest apart."""
    expected = reference.astype(np.float64)
    error = distance(value.astype(np.float64), expected)
    if difference.matches:
        return np.asarray(error >= error.max() / 4)
    allowed = difference.atol + difference.rtol * np.where(np.isfinite(expected), np.abs(expected), 0.0)
    return np.asarray(error > allowed)


def _relative(truth: np.ndarray | None, reference: np.ndarray) -> float | None:
    if truth is None or truth.shape != reference.shape:
        return None
    scale = _scale(truth)
    own = float(distance(reference.astype(np.float64), truth).max())
    return own / scale if scale else own


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind not in "f" or bool(np.isfinite(array).all())


def _scale(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0
