"""Another rounding of an ONNX graph in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.runtime.double_graph import DoubleGraph
from pytest_onnxprep.spec.tolerance import EPSILON

FLOAT32 = np.dtype("float32")


@pytest.fixture
def graph(tmp_path):
    """A file of nodes from x [n, 4] to y, as a `DoubleGraph`."""

    def make(*nodes, constants=()):
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
        tensors = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants]
        made = helper.make_graph(list(nodes), "g", values[:1], values[1:], tensors)
        onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m")
        return DoubleGraph(tmp_path / "m")

    return make


def spread(graph, x, dtype=FLOAT32):
    """How far eight roundings are from the exact value, and the values of the last."""
    feeds = {"x": np.asarray(x, np.float32)}
    exact = graph.run(feeds)["y"]
    found = [graph.rounded(feeds, dtype, EPSILON[dtype.name], seed)["y"] for seed in range(8)]
    return max(np.abs(one - exact).max() for one in found), found[-1]


@pytest.mark.parametrize(
    ("kind", "x"),
    [
        ("Mul", [[1.5, -3, 0, 0.25]]),
        ("Add", [[1, 2, 3, 4]]),
        ("Floor", [[0.1, 0.7, 1e-9, 3]]),
        ("Sqrt", [[4, 9, 0, 1]]),
    ],
)
def test_what_is_exact_stays_exact(graph, kind, x):
    """Whole numbers, halves and copies are not moved: a tie remains a tie."""
    inputs = ["x"] if kind in ("Floor", "Sqrt") else ["x", "x"]

    assert spread(graph(helper.make_node(kind, inputs, ["y"])), [x])[0] == 0


def test_what_is_not_goes_to_a_neighbour(graph):
    """Every value is a number of the precision, an epsilon away at most."""
    apart, values = spread(graph(helper.make_node("Exp", ["x"], ["y"])), [[0.1, 0.2, 0.3, 1.7]])

    assert 0 < apart <= EPSILON["float32"] * 8
    assert np.array_equal(values, values.astype(np.float32))


def test_half_precision_rounds_more_coarsely(graph):
    """The precision is the caller's."""
    half = spread(graph(helper.make_node("Exp", ["x"], ["y"])), [[0.1, 0.2, 0.3, 1.7]], np.dtype("float16"))[0]

    assert half > 1e-4


def test_sums_that_cancel_show_it(graph):
    """Terms are moved before they are added: what cancels leaves noise of the size of the terms."""
    product = graph(helper.make_node("MatMul", ["x", "w"], ["y"]), constants=[("w", [[1], [1], [1], [1]])])

    assert 1e-3 < spread(product, [[1e5 / 3, -1e5 / 3, 0.1, 0.2]])[0] < 1
    assert spread(product, [[4, -4, 2, 1]])[0] == 0


def test_no_verdict_where_it_cannot_be_evaluated(graph):
    """An operator nobody has evaluates to nothing, and raises nothing."""
    unknown = graph(helper.make_node("Unheard", ["x"], ["y"], domain="of"))

    assert unknown.rounded({"x": np.ones((1, 4), np.float32)}, FLOAT32, EPSILON["float32"], 0) is None
