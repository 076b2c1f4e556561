"""Index outputs and the values they stand for."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from pytest_onnxprep.compare.ties import Choice, choice_behind, is_quantised, is_tie

VALUES = np.array([[1.0, 5.0, 5.0, 2.0], [7.0, 7.0, 0.0, 7.0]], np.float32)
TOP = Choice("x", "i", -1, first_wins=False)
MAX = Choice("x", "i", -1, first_wins=True)


def indices(*rows):
    """Of shape [2, 2], as TopK gives them."""
    return np.array(rows, np.int64)


def test_equal_values_come_in_any_order():
    """The two fives may be listed either way."""
    assert is_tie(TOP, VALUES, indices([1, 2], [0, 1]), indices([1, 2], [0, 1]), indices([2, 1], [1, 3]))


def test_another_value_is_no_tie():
    """2 is not 5."""
    assert not is_tie(TOP, VALUES, indices([1, 2], [0, 1]), indices([1, 2], [0, 1]), indices([1, 3], [0, 1]))


def test_nearly_equal_values_are_a_tie():
    """They differ by a rounding error of the largest."""
    values = np.array([[1000.0, 1000.0001]], np.float32)

    assert is_tie(TOP, values, np.array([[0]]), np.array([[0]]), np.array([[1]]))


def test_argmax_promises_the_first():
    """One tie may be rounding; three that all take a later one are a rule, and the wrong one."""
    values = np.ones((3, 4), np.float32)
    first, last = np.zeros(3, np.int64), np.full(3, 3)

    assert not is_tie(MAX, values, first, first, last)
    assert is_tie(MAX, values, first, first, np.array([3, 0, 0]))


def test_an_index_out_of_range_is_no_tie():
    """Nothing stands behind it."""
    assert not is_tie(TOP, VALUES, indices([1, 2], [0, 1]), indices([9, 2], [0, 1]), indices([1, 2], [0, 1]))


def graph_of(*nodes):
    """A graph with one input x and one output y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    return onnx.helper.make_graph(list(nodes), "g", [x], [y])


def test_the_choice_is_found_behind_casts():
    """Cast and Squeeze hand indices on."""
    graph = graph_of(
        helper.make_node("ArgMax", ["x"], ["a"], axis=1),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.INT32),
        helper.make_node("Squeeze", ["b"], ["y"]),
    )

    assert choice_behind(graph, "y") == Choice("x", "a", 1, first_wins=True)


def test_the_values_of_topk_are_no_indices():
    """Its first output holds values."""
    graph = graph_of(helper.make_node("TopK", ["x", "k"], ["y", "i"]))

    assert choice_behind(graph, "y") is None
    assert choice_behind(graph, "i") == Choice("x", "i", -1, first_wins=False)


def test_anything_else_is_no_choice():
    """An index that was computed with stands for nothing."""
    graph = graph_of(helper.make_node("ArgMax", ["x"], ["a"]), helper.make_node("Add", ["a", "a"], ["y"]))

    assert choice_behind(graph, "y") is None


def test_quantised_outputs_are_recognised():
    """Their integers are steps; those of an ArgMax are not."""
    steps = graph_of(
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"]), helper.make_node("Reshape", ["q", "shape"], ["y"])
    )

    assert is_quantised(steps, "y")
    assert is_quantised(graph_of(helper.make_node("QLinearConv", ["x"] * 8, ["y"])), "y")
    assert not is_quantised(graph_of(helper.make_node("ArgMax", ["x"], ["y"])), "y")
    assert not is_quantised(graph_of(helper.make_node("Relu", ["x"], ["other"])), "x")
