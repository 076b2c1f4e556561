"""What follows from choosing one of several equals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.compare.choices import free_choices, is_free

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ALL = np.ones((1, 2), bool)


@pytest.fixture
def model():
    """The two best by x, and what belongs to them in y; ``plain`` hangs on neither."""
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["best", "index"], axis=1),
        helper.make_node("GatherElements", ["y", "index"], ["picked"], axis=1),
        helper.make_node("Neg", ["y"], ["plain"]),
    ]
    inputs = [helper.make_tensor_value_info(name, FLOAT, ["batch", 6]) for name in "xy"]
    outputs = [
        helper.make_tensor_value_info("picked", FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("best", FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("plain", FLOAT, ["batch", 6]),
    ]
    weights = [onnx.numpy_helper.from_array(np.array([2]), "k")]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def runs(model, output, x, times=16):
    """The output with other choices, that often."""
    import onnxruntime

    session = onnxruntime.InferenceSession(free_choices(model, output).SerializeToString())
    feeds = {"x": np.array([x], np.float32), "y": np.arange(6, dtype=np.float32)[None]}
    return [session.run([output], feeds)[0] for _ in range(times)]


@pytest.mark.parametrize("value", [0.0, 1.0, -3e8])
def test_equals_are_chosen_from(model, value):
    """Among six equal scores any may come first, zeros included."""
    found = runs(model, "picked", [value] * 6)

    assert len({tuple(row) for array in found for row in array}) > 4
    assert is_free(np.array([[4, 1]], np.float32), found, ALL, np.zeros((1, 2)))


def test_different_values_are_not(model):
    """The best two are the best two, and a wrong answer stays one."""
    found = runs(model, "picked", [1.0, 5.0, 2.0, 4.0, 3.0, 0.0])

    assert all(np.array_equal(array, [[1, 3]]) for array in found)
    assert not is_free(np.array([[3, 1]], np.float32), found, ALL, np.zeros((1, 2)))


def test_values_stay_exact(model):
    """The noise is for comparing only."""
    found = runs(model, "best", [0.3] * 6)

    assert all(np.array_equal(array, np.float32([[0.3, 0.3]])) for array in found)


def test_an_answer_that_no_choice_gives_is_wrong(model):
    """Ties are no excuse for a number out of nowhere."""
    assert not is_free(np.array([[40, 41]], np.float32), runs(model, "picked", [1.0] * 6), ALL, np.zeros((1, 2)))


def test_outputs_without_a_choice(model):
    """Nothing to try where no TopK comes before."""
    assert free_choices(model, "plain") is None
