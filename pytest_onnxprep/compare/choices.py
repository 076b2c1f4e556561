"""What an output would be, had TopK chosen others among equals.

Which of equal values a sort or a top-k lists first is nobody's promise, and whatever is gathered by the indices differs
with it, by any amount. Float64 says nothing here: a saturated score ties in every precision. So the graph is given
other choices, by noise of a few rounding errors in what its TopK nodes compare; the values they return stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_onnxprep.spec.tolerance import EPSILON

#: Values so many epsilons of the tensor's scale apart may change places.
_NEAR = 8
#: Integers and float64 change places only where they are equal.
_EQUAL = 2.0**-45
#: The scale of zeros, and of infinities.
_SMALLEST, _LARGEST = 1e-30, 1e30


def free_choices(model: Any, output: str) -> Any | None:
    """A copy of a ``ModelProto`` that resolves the ties of its TopK nodes at random, anew in every run.

    Args:
        model: weights may be external.
        output: what has to depend on such a node.

    Returns:
        None where none does.
    """
    import onnx

    producer = {name: node for node in model.graph.node for name in node.output if name}
    found = _ancestors(producer, output)
    if not any(node.op_type == "TopK" and node.domain in ("", "ai.onnx") for node in found):
        return None
    eps = _epsilons(model)
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.graph.node[:]
    for index, node in enumerate(model.graph.node):
        if node.op_type == "TopK" and node.domain in ("", "ai.onnx"):
            copied.graph.node.extend(_noisy(node, f"onnxprep_choice_{index}_", eps.get(node.input[0], _EQUAL)))
        else:
            copied.graph.node.append(node)
    return copied


def is_free(expected: np.ndarray, others: Sequence[np.ndarray], wrong: np.ndarray, allowed: np.ndarray) -> bool:
    """Whether most wrong elements are among what other choices give.

    Args:
        expected: the framework's output.
        others: the file's, each with other choices; ones of another shape say nothing.
        wrong: the elements in question.
        allowed: the tolerance of every element.
    """
    fitting = [other.astype(np.float64) for other in others if other.shape == expected.shape]
    if not fitting or not wrong.any():
        return False
    low, high = np.fmin.reduce(fitting), np.fmax.reduce(fitting)
    with np.errstate(invalid="ignore"):
        wide = expected.astype(np.float64)
        inside = (wide >= low - allowed) & (wide <= high + allowed) & (high > low)
    return bool(2 * np.count_nonzero(inside & wrong) > np.count_nonzero(wrong))


def inferred(model: Any) -> Any:
    """The graph of a ``ModelProto`` with the types of its tensors, as far as they can be told."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # too large, or a shape that does not fit
        return model.graph


def _ancestors(producer: dict[str, Any], output: str) -> list[Any]:
    found: dict[int, Any] = {}
    waiting = [output]
    while waiting:
        node = producer.get(waiting.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = node
            waiting += node.input
    return list(found.values())


def _epsilons(model: Any) -> dict[str, float]:
    """How far apart, relative to the largest one, the values of each narrow float tensor may change places."""
    import onnx

    graph = inferred(model)
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    names = {name: onnx.helper.tensor_dtype_to_np_dtype(kind).name for name, kind in kinds.items() if kind}
    return {name: _NEAR * EPSILON[dtype] for name, dtype in names.items() if dtype in EPSILON and dtype != "float64"}


def _noisy(node: Any, prefix: str, near: float) -> list[Any]:
    import onnx
    from onnx.helper import make_node

    def named(name: str) -> str:
        return prefix + name

    values, indices = node.output[0] or named("values"), node.output[1] or named("indices")
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    limits = [onnx.numpy_helper.from_array(np.array(value)) for value in (near, _SMALLEST, _LARGEST)]
    chosen = onnx.NodeProto()
    chosen.CopyFrom(node)
    del chosen.input[:], chosen.output[:]
    chosen.input.extend([named("compared"), *node.input[1:]])
    chosen.output.extend([named("noisy"), indices])
    return [
        make_node("Cast", [node.input[0]], [named("wide")], to=int(onnx.TensorProto.DOUBLE)),
        make_node("Abs", [named("wide")], [named("magnitude")]),
        make_node("ReduceMax", [named("magnitude")], [named("largest")], keepdims=0),
        make_node("Constant", [], [named("near")], value=limits[0]),
        make_node("Constant", [], [named("low")], value=limits[1]),
        make_node("Constant", [], [named("high")], value=limits[2]),
        make_node("Max", [named("largest"), named("low")], [named("filled")]),
        make_node("Min", [named("filled"), named("high")], [named("scale")]),
        make_node("Mul", [named("scale"), named("near")], [named("step")]),
        make_node("RandomUniformLike", [named("wide")], [named("chance")], low=0.0, high=1.0, seed=0.0),
        make_node("Mul", [named("chance"), named("step")], [named("noise")]),
        make_node("Add", [named("wide"), named("noise")], [named("compared")]),
        chosen,
        make_node("GatherElements", [node.input[0], indices], [values], axis=axis),
    ]
