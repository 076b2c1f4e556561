"""Loops whose bodies no kernel of ONNX Runtime can run in float64."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, helper

from pytest_onnxprep.runtime.double_ops import make_evaluator

DOUBLE, INT, BOOL = TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL


def value(name, shape=None, dtype=DOUBLE):
    """A declared input or output."""
    return helper.make_tensor_value_info(name, dtype, shape)


def run(node, outputs, **feeds):
    """Evaluate one node."""
    graph = helper.make_graph([node], "g", [value(name) for name in feeds], [value(name) for name in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return make_evaluator(model, {}).run(None, feeds)


def loop_body(*nodes, outputs):
    """A body with one carried value ``a``."""
    inputs = [value("trip", [], INT), value("was", [], BOOL), value("a", [2])]
    return helper.make_graph(nodes, "body", inputs, [value("go", [], BOOL), *outputs])


GO = helper.make_node("Identity", ["was"], ["go"])
ERF = helper.make_node("Erf", ["a"], ["b"])


def test_a_loop_without_a_condition_goes_on():
    """A loop without a condition goes on."""
    node = helper.make_node("Loop", ["n", "", "x"], ["y"], body=loop_body(GO, ERF, outputs=[value("b", [2])]))
    (y,) = run(node, ["y"], n=np.array(2), x=np.array([0.5, 1.0]))
    assert y.tolist() == [math.erf(math.erf(0.5)), math.erf(math.erf(1.0))]


def test_a_loop_ends_with_its_condition():
    """A loop ends with its condition."""
    small = helper.make_node("ReduceMax", ["b"], ["largest"], keepdims=0)
    stop = helper.make_node("Greater", ["largest", "bound"], ["go"])
    body = loop_body(ERF, small, stop, outputs=[value("b", [2])])
    node = helper.make_node("Loop", ["", "", "x"], ["y"], body=body)
    (y,) = run(node, ["y"], x=np.array([0.1, 1.0]), bound=np.array(0.8))
    assert y[1] == math.erf(math.erf(1.0))  # 0.77, after 0.84


def test_what_a_loop_scans_is_stacked():
    """What a loop scans is stacked."""
    copy = helper.make_node("Identity", ["b"], ["c"])
    body = loop_body(GO, ERF, copy, outputs=[value("b", [2, 2]), value("c", [2, 2])])
    node = helper.make_node("Loop", ["n", "", "x"], ["y", "all"], body=body)
    y, every = run(node, ["y", "all"], n=np.array(3), x=np.ones((2, 2)))
    assert every.shape == (3, 2, 2)
    assert np.array_equal(every[2], y)


def test_a_loop_of_no_trips_scans_an_empty_array():
    """A loop of no trips scans an empty array."""
    copy = helper.make_node("Identity", ["b"], ["c"])
    body = loop_body(GO, ERF, copy, outputs=[value("b", [2]), value("c", [2])])
    node = helper.make_node("Loop", ["n", "", "x"], ["y", "all"], body=body)
    y, every = run(node, ["y", "all"], n=np.array(0), x=np.ones(2))
    assert y.tolist() == [1, 1]
    assert (every.shape, every.dtype) == ((0, 2), np.float64)


def test_a_scan_along_another_axis_and_backwards():
    """A scan along another axis and backwards."""
    total = helper.make_node("Add", ["sum", "item"], ["new"])
    seen = helper.make_node("Identity", ["new"], ["out"])
    body = helper.make_graph(
        [total, seen], "body", [value("sum", [2]), value("item", [2])], [value("new", [2]), value("out", [2])]
    )
    node = helper.make_node(
        "Scan",
        ["zero", "x"],
        ["y", "all"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_input_directions=[1],
        scan_output_axes=[1],
    )
    x = np.arange(6.0).reshape(2, 3)
    y, every = run(node, ["y", "all"], zero=np.zeros(2), x=x)
    assert np.array_equal(y, x.sum(1))
    assert np.array_equal(every, np.cumsum(x[:, ::-1], axis=1))
