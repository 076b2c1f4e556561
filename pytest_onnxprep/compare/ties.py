"""Index outputs (argmax, top-k, sort) judged by the values they stand for.

Two equal values may be listed in any order, and two that differ by a rounding error too: ONNX leaves the order of ties
in TopK open, and so do torch and TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_onnxprep.spec.tolerance import EPSILON

#: Operators that pass indices on, element by element and in order.
_PASSING = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"})
_CHOOSING = {"ArgMax": 0, "ArgMin": 0, "TopK": 1}
_QUANTISING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
#: Values this many epsilons of the tensor's scale apart are a tie.
_NEAR = 64
#: From so many ties on, always resolved to the later index, it is no accident.
_SYSTEMATIC = 3


@dataclass(frozen=True)
class Choice:
    """Where an index output comes from.

    Attributes:
        values: the tensor that was searched.
        indices: the tensor of indices.
        axis: searched axis.
        first_wins: whether the operator promises the first of equal values (ArgMax, ArgMin).
    """

    values: str
    indices: str
    axis: int
    first_wins: bool


def choice_behind(graph: Any, output: str) -> Choice | None:
    """The ArgMax, ArgMin or TopK that a graph output comes from, if any.

    Args:
        graph: a ``GraphProto``.
        output: name of one of its outputs.
    """
    producer = {name: node for node in graph.node for name in node.output if name}
    name = output
    for _ in range(len(producer)):
        node = producer.get(name)
        if node is None:
            return None
        if node.op_type in _CHOOSING and node.output[_CHOOSING[node.op_type]] == name:
            axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
            default = -1 if node.op_type == "TopK" else 0
            return Choice(node.input[0], name, int(axes[0]) if axes else default, node.op_type != "TopK")
        if node.op_type not in _PASSING:
            return None
        name = node.input[0]
    return None


def is_quantised(graph: Any, output: str) -> bool:
    """Whether a graph output holds quantisation steps: one more or less is rounding.

    Args:
        graph: a ``GraphProto``.
        output: name of one of its outputs.
    """
    producer = {name: node for node in graph.node for name in node.output if name}
    node = producer.get(output)
    while node is not None and node.op_type in _PASSING:
        node = producer.get(node.input[0])
    return node is not None and (node.op_type in _QUANTISING or node.op_type.startswith("QLinear"))


def is_tie(choice: Choice, values: np.ndarray, indices: np.ndarray, expected: np.ndarray, actual: np.ndarray) -> bool:
    """Whether the two answers differ only in which of equal values they name.

    Args:
        choice: where the output comes from.
        values: what was searched.
        indices: the operator's own answer; gives the shape.
        expected: the framework's answer, as many elements as ``indices``.
        actual: ONNX Runtime's answer.
    """
    if expected.size != indices.size or actual.size != indices.size or not values.ndim:
        return False
    one, other = expected.reshape(indices.shape).astype(np.int64), actual.reshape(indices.shape).astype(np.int64)
    axis, size = choice.axis % values.ndim, values.shape[choice.axis % values.ndim]
    if indices.ndim == values.ndim - 1:  # keepdims=0
        one, other = np.expand_dims(one, axis), np.expand_dims(other, axis)
    if one.ndim != values.ndim or one.min(initial=0) < 0 or one.max(initial=0) >= size:
        return False
    wide = values.astype(np.float64)
    named = np.take_along_axis(wide, one, axis), np.take_along_axis(wide, other, axis)
    finite = np.abs(wide[np.isfinite(wide)])
    near = _NEAR * EPSILON.get(values.dtype.name, 0.0) * (float(finite.max()) if finite.size else 0.0)
    differs = one != other
    with np.errstate(invalid="ignore"):
        apart = np.where(named[0] == named[1], 0.0, np.abs(named[0] - named[1]))
    if not bool(np.all(apart[differs] <= near)):
        return False
    if choice.first_wins and np.count_nonzero(differs) >= _SYSTEMATIC:
        return not bool(np.all((other > one)[differs] & (apart == 0)[differs]))
    return True
