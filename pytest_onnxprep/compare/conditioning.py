"""Is a difference the file's fault, or the rounding that both sides are entitled to?

Two mathematically equal programs agree in float64 to far below a float32 rounding error, however ill-conditioned they
are in float32; two different programs still differ. So the framework's model and the ONNX graph are both evaluated in
float64 (the idea of "float32 against its float64 self", Higham, Accuracy and Stability of Numerical Algorithms, 2nd
ed., section 1.7, taken on both sides), and the reference is run again on inputs moved by a few rounding errors, for
what float64 cannot say: whether a threshold or a tie decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from pytest_onnxprep.compare.elementwise import finite_scale
from pytest_onnxprep.spec.tolerance import EPSILON

#: A float64 difference below this many float32 epsilons of the output's scale is the rounding of folded constants.
CONSTANT_ROUNDING = 16
#: An error counts as explained by the reference's own while it is at most this many times as large.
EXPLAINED = 8
#: The file loses precision the framework keeps when its error is this many times the reference's own,
LOST = 64
#: and this many epsilons of the output's scale.
LOST_EPSILONS = 256


#: The largest number of every float dtype that has float64 beside it.
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}


class Cause(Enum):
    """Why two outputs differ."""

    DIFFERENT = "the graph computes something else: the difference stays in float64"
    LESS_PRECISE = "right in float64, in float32 far less accurate than the framework: a kernel's fault"
    ROUNDING = "rounding"
    ILL_CONDITIONED = "the reference itself moves as far under a rounding-sized nudge"
    PADDING = "the answers differ at padding only"
    TIE = "the indices name equal values"
    UNEXPLAINED = "nothing the reference does explains it"


@dataclass(frozen=True)
class Evidence:
    """One output of one example, as computed in every way there is.

    Attributes:
        expected: the framework's output.
        actual: ONNX Runtime's output.
        expected_double: the framework's output in float64, or None.
        actual_double: the graph's output in float64, or None.
        nudged: the framework's outputs on nudged inputs, or rounded another way.
        usual_scale: the largest magnitude of this output in an ordinary example: an error that is small beside it is
            no loss of precision, though the output of this example be tiny.
        depth: terms that may have been summed one by one: n of them may be off by n / 4 epsilons without any fault
            (Higham, section 4.2: each addition rounds by half an epsilon of a partial sum, which is half the sum).
    """

    expected: np.ndarray
    actual: np.ndarray
    expected_double: np.ndarray | None = None
    actual_double: np.ndarray | None = None
    nudged: Sequence[np.ndarray] = ()
    usual_scale: float = 0.0
    depth: int = 0


def judge(evidence: Evidence, wrong: np.ndarray) -> Cause:
    """Say why one output differs.

    Args:
        evidence: the output, of one dtype and shape in both programs.
        wrong: the elements to explain, boolean, of that shape.

    Returns:
        ``DIFFERENT`` and ``LESS_PRECISE`` are the file's fault; ``UNEXPLAINED`` is where nothing speaks for rounding.
    """
    expected, actual = _wide(evidence.expected), _wide(evidence.actual)
    truth = _same_shape(evidence.expected_double, evidence.expected)
    graph = _same_shape(evidence.actual_double, evidence.expected)
    eps = EPSILON.get(evidence.expected.dtype.name, 0.0)
    error = distance(actual, expected)
    own = np.zeros_like(error) if truth is None else distance(expected, truth)
    if truth is not None and graph is not None:
        floor = CONSTANT_ROUNDING * eps * finite_scale(truth)
        apart = distance(graph, truth)
        within = own + distance(actual, graph)
        if _most(apart > within + floor, wrong) or bool(np.any(apart[wrong] > EXPLAINED * _largest(within) + floor)):
            return Cause.DIFFERENT
    if _explains(own, error, wrong):
        return (
            Cause.ILL_CONDITIONED
            if eps == 0 or _largest(error) > 128 * eps * finite_scale(expected)
            else Cause.ROUNDING
        )
    moved = own.copy()
    for other in evidence.nudged:
        if other.shape == expected.shape:
            moved = np.maximum(moved, distance(_wide(other), expected))
    if _explains(moved, error, wrong):
        return Cause.ILL_CONDITIONED
    if truth is None or graph is None:
        return Cause.UNEXPLAINED
    least = max(LOST_EPSILONS, evidence.depth / 4) * eps * max(finite_scale(expected), evidence.usual_scale)
    lost = (error > LOST * moved) & (error > least)
    return Cause.LESS_PRECISE if _most(lost, wrong) else Cause.ROUNDING


def agree_in_double(evidence: Evidence, wrong: np.ndarray) -> bool:
    """Whether framework and file are known to be the same in float64, whatever rounding makes of them.

    Args:
        evidence: the output.
        wrong: the elements in question.
    """
    truth = _same_shape(evidence.expected_double, evidence.expected)
    graph = _same_shape(evidence.actual_double, evidence.expected)
    if truth is None or graph is None:
        return False
    eps = EPSILON.get(evidence.expected.dtype.name, 0.0)
    return bool(np.all(distance(graph, truth)[wrong] <= CONSTANT_ROUNDING * eps * finite_scale(truth)))


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Element-wise ``|a - b|``; 0 for NaN against NaN and equal infinities, infinite for any other clash of these."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a - b)
    special = ~np.isfinite(apart)
    if special.any():
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        apart = np.where(special, np.where(same, 0.0, np.inf), apart)
    return np.asarray(apart)


def _explains(own: np.ndarray, error: np.ndarray, wrong: np.ndarray) -> bool:
    """Whether the reference's own error is of the size of ``error``: at most of the elements, or at its worst."""
    return _most(error <= EXPLAINED * own, wrong) or _largest(error) <= EXPLAINED / 2 * _largest(own)


def _most(condition: np.ndarray, among: np.ndarray) -> bool:
    count = int(np.count_nonzero(among))
    return count > 0 and 2 * int(np.count_nonzero(condition & among)) > count


def _largest(values: np.ndarray) -> float:
    return float(values.max()) if values.size else 0.0


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _same_shape(array: np.ndarray | None, other: np.ndarray) -> np.ndarray | None:
    """Float64, where it is of the shape of ``other``; infinite where that dtype has no such number."""
    if array is None or array.shape != other.shape:
        return None
    wide, largest = _wide(array), LARGEST.get(other.dtype.name, np.inf)
    return np.where(np.abs(wide) > largest, np.copysign(np.inf, wide), wide)
