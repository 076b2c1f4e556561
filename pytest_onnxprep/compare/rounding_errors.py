"""How far apart two outputs are, in the units in which rounding is told from a fault."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_onnxprep.compare.conditioning import distance
from pytest_onnxprep.compare.elementwise import Difference, finite_scale
from pytest_onnxprep.spec.tolerance import EPSILON

#: A difference of a few of these is one of underflow.
_UNDERFLOW = {"float16": 2.0**-24, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}

_MOVING = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather"})


def epsilons_of(difference: Difference) -> float:
    """The largest error in epsilons of the output's scale; 0 where neither is a float's."""
    eps = EPSILON.get(difference.dtype, 0.0)
    return difference.max_abs / max(eps * difference.scale, _UNDERFLOW[difference.dtype]) if eps else 0.0


def chances(graph: Any) -> frozenset[str]:
    """The outputs of a ``GraphProto`` that a Sigmoid or Softmax makes: they range up to 1, however small they are."""
    producer = {name: node for node in graph.node for name in node.output if name}
    found = set()
    for output in graph.output:
        node = producer.get(output.name)
        for _ in range(len(producer)):
            if node is None or node.op_type not in _MOVING:
                break
            node = producer.get(node.input[0])
        if node is not None and node.op_type in ("Sigmoid", "Softmax"):
            found.add(output.name)
    return frozenset(found)


def wrong_elements(difference: Difference, reference: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The elements to explain: outside the tolerance, or, where none is, the ones furthest apart."""
    expected = reference.astype(np.float64)
    error = distance(value.astype(np.float64), expected)
    if difference.matches:
        return np.asarray(error >= error.max() / 4)
    allowed = difference.atol + difference.rtol * np.where(np.isfinite(expected), np.abs(expected), 0.0)
    return np.asarray(error > allowed)


def relative_error(truth: np.ndarray | None, reference: np.ndarray) -> float | None:
    """The largest error against float64, relative to the largest value; None where there is nothing to compare with."""
    if truth is None or truth.shape != reference.shape:
        return None
    scale = finite_scale(truth)
    own = float(distance(reference.astype(np.float64), truth).max())
    return own / scale if scale else own


def is_finite(array: np.ndarray) -> bool:
    """Whether an array holds neither NaN nor infinities."""
    return array.dtype.kind not in "f" or bool(np.isfinite(array).all())
