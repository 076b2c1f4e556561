"""The evaluator: whose operators it uses, and with which attributes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.runtime.double_ops import OPERATORS, make_evaluator


def run(node, opset=20, **feeds):
    """Evaluate one node."""
    values = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in feeds]
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "g", values, [y]), opset_imports=opsets)
    return make_evaluator(model, {}).run(None, feeds)[0]


@pytest.mark.parametrize(("domain", "name"), OPERATORS)
def test_every_operator_exists(domain, name):
    """Every operator exists."""
    import onnxruntime.capi.onnxruntime_pybind11_state as runtime

    assert (domain, name) in {(schema.domain, schema.name) for schema in runtime.get_all_operator_schema()} | {
        ("", "LinearAttention"),
        ("", "CausalConvWithState"),
    }


def test_defaults_are_those_of_the_opset():
    """Defaults are those of the opset."""
    x = np.arange(8.0).reshape(2, 2, 2)
    node = helper.make_node("Softmax", ["x"], ["y"])
    assert np.allclose(run(node, 11, x=x).reshape(2, 4).sum(1), 1)
    assert np.allclose(run(node, 13, x=x).sum(2), 1)


def test_float_attributes_do_not_round_what_they_meet():
    """Float attributes do not round what they meet."""
    node = helper.make_node("Elu", ["x"], ["y"], alpha=0.5)
    assert run(node, x=np.array(-0.1)) == 0.5 * math.expm1(-0.1)


def test_operators_of_onnx_runtime_have_a_domain():
    """Operators of ONNX Runtime have a domain."""
    node = helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft", alpha=1.0)
    assert run(node, x=np.array(1.0)) == 1 / (1 + math.exp(-1))


def test_operators_that_are_not_replaced_are_onnxs():
    """Operators that are not replaced are ONNX's."""
    assert run(helper.make_node("Tan", ["x"], ["y"]), x=np.array(1.0)) == np.tan(1.0)


def test_weights_are_given_apart():
    """Weights are given apart."""
    values = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", values[:1], values[1:])
    evaluator = make_evaluator(helper.make_model(graph), {"w": np.array(2.0)})
    assert evaluator.run(None, {"x": np.array(1.0)}) == [3]
