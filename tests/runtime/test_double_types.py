"""Every float of a graph is made a double."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.runtime.double_types import put_weights, take_weights, widen_graph, widened


def graph(*nodes, weights=()):
    """A half-precision graph from ``x`` to ``y``."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [None]) for name in "xy"]
    tensors = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    return helper.make_graph(nodes, "g", values[:1], values[1:], tensors)


@pytest.mark.parametrize(("dtype", "wide"), [("float16", "float64"), ("float32", "float64"), ("int32", "int32")])
def test_only_floats_are_widened(dtype, wide):
    """Only floats are widened."""
    assert widened(np.ones(2, dtype)).dtype == wide


def test_declared_types_are_widened():
    """Declared types are widened."""
    wide = graph(helper.make_node("Neg", ["x"], ["y"]))
    widen_graph(wide)
    assert wide.input[0].type.tensor_type.elem_type == wide.output[0].type.tensor_type.elem_type == TensorProto.DOUBLE


@pytest.mark.parametrize("operator", ["HannWindow", "MelWeightMatrix"])
def test_a_default_output_type_is_widened(operator):
    """A default output type is widened."""
    wide = graph(helper.make_node(operator, ["x"], ["y"]))
    widen_graph(wide)
    assert wide.node[0].attribute[0].i == TensorProto.DOUBLE


def test_zeros_without_a_type_are_doubles():
    """Zeros without a type are doubles."""
    wide = graph(helper.make_node("ConstantOfShape", ["x"], ["y"]))
    widen_graph(wide)
    assert numpy_helper.to_array(wide.node[0].attribute[0].t).dtype == np.float64


def test_a_constant_given_as_a_number_becomes_a_double():
    """A constant given as a number becomes a double."""
    wide = graph(helper.make_node("Constant", [], ["y"], value_float=0.5))
    widen_graph(wide)
    assert numpy_helper.to_array(wide.node[0].attribute[0].t) == 0.5


def test_weights_and_constants_are_taken_out():
    """Weights and constants are taken out."""
    taken = graph(
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32([1, 2]))),
        helper.make_node("Add", ["w", "c"], ["y"]),
        weights={"w": np.float32([3, 4])},
    )
    weights = take_weights(taken)
    assert {name: array.tolist() for name, array in weights.items()} == {"w": [3, 4], "c": [1, 2]}
    assert [node.op_type for node in taken.node] == ["Add"]
    assert not taken.initializer


def test_weights_are_put_back():
    """Weights are put back."""
    into = graph(helper.make_node("Add", ["w", "w"], ["y"]))
    put_weights(into, {"w": np.ones(2)})
    assert numpy_helper.to_array(into.initializer[0]).dtype == np.float64
