"""A whole graph in float64: who evaluates it, how exactly, and what happens where nobody can."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.runtime import double_graph
from pytest_onnxprep.runtime.double_graph import DoubleGraph


def value(name, shape=None, dtype=TensorProto.FLOAT):
    """A declared input or output."""
    return helper.make_tensor_value_info(name, dtype, shape)


@pytest.fixture
def write(tmp_path):
    """Write nodes from ``x`` to ``y`` as a model; returns its path."""

    def write(*nodes, weights=(), functions=(), inputs=None, opset=20, **save):
        tensors = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
        graph = helper.make_graph(nodes, "g", inputs or [value("x")], [value("y")], tensors)
        opsets = [
            helper.make_opsetid("", opset),
            helper.make_opsetid("own", 1),
            helper.make_opsetid("com.microsoft", 1),
        ]
        model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)
        path = tmp_path / "model.onnx"
        onnx.save(model, path, **save)
        return path

    return write


def numbers(*shape):
    """Float32 from a normal distribution."""
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_float64_kernels_of_onnx_runtime_are_used(write):
    """Float64 kernels of ONNX Runtime are used."""
    path = write(helper.make_node("Tanh", ["x"], ["y"]))
    x = numbers(3)
    assert np.abs(DoubleGraph(path).run({"x": x})["y"] - np.tanh(x.astype(float))).max() < 1e-15


def test_operators_without_such_a_kernel_are_numpys(write):
    """Operators without such a kernel are numpy's."""
    path = write(helper.make_node("Conv", ["x", "w"], ["y"]), weights={"w": numbers(1, 1, 1, 1)})
    x = numbers(1, 1, 2, 2)
    assert (DoubleGraph(path).run({"x": x})["y"] == x.astype(float) * numbers(1, 1, 1, 1)).all()


def test_a_kernel_that_fails_when_it_runs_is_replaced(write, monkeypatch):
    """A kernel that fails when it runs is replaced."""
    monkeypatch.setattr(double_graph, "EXACT_IN_ONNXRUNTIME", frozenset({"RNN"}))  # it takes a float64 RNN, and refuses
    path = write(
        helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=2),
        weights={"w": numbers(1, 2, 3), "r": numbers(1, 2, 2)},
    )
    graph = DoubleGraph(path)
    assert graph.run({"x": numbers(4, 1, 3)})["y"].shape == (4, 1, 1, 2)


def test_constants_are_widened_with_the_weights(write):
    """Constants are widened with the weights."""
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32(0.1)))
    found = DoubleGraph(write(constant, helper.make_node("Mul", ["x", "c"], ["y"]))).run({"x": np.ones(1, "float32")})
    assert found["y"].dtype == np.float64
    assert found["y"] == np.float32(0.1)


def test_casts_to_half_precision_do_not_round(write):
    """Casts to half precision do not round."""
    path = write(helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16))
    assert DoubleGraph(path).run({"x": np.float32([0.1])})["y"] == np.float32(0.1)


def test_functions_of_the_model_are_widened_and_use_the_replacements(write):
    """Functions of the model are widened and use the replacements."""
    body = [helper.make_node("Erf", ["a"], ["b"]), helper.make_node("LSTM", ["b", "w", "r"], ["c"], hidden_size=2)]
    function = helper.make_function("own", "F", ["a", "w", "r"], ["c"], body, [helper.make_opsetid("", 20)])
    function.node[1].attribute.append(helper.make_attribute("direction", "bidirectional"))
    path = write(
        helper.make_node("F", ["x", "w", "r"], ["y"], domain="own"),
        weights={"w": numbers(2, 8, 3), "r": numbers(2, 8, 2)},
        functions=[function],
    )
    assert DoubleGraph(path).run({"x": numbers(4, 1, 3)})["y"].shape == (4, 2, 1, 2)


def test_operators_that_the_standard_defines_by_others_are_widened(write):
    """Operators that the standard defines by others are widened."""
    x = numbers(2, 3, 4).astype(float)
    found = DoubleGraph(write(helper.make_node("MeanVarianceNormalization", ["x"], ["y"], axes=[2]))).run({"x": x})["y"]
    normal = (x - x.mean(2, keepdims=True)) / (x.std(2, keepdims=True) + float(np.float32(1e-9)))
    assert np.abs(found - normal).max() < 1e-12


def test_loops_run_in_double(write):
    """Loops run in double."""
    body = helper.make_graph(
        [helper.make_node("Erf", ["a"], ["b"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("a")],
        [value("on", [], TensorProto.BOOL), value("b")],
    )
    path = write(helper.make_node("Loop", ["n", "", "x"], ["y"], body=body), weights={"n": np.array(2)})
    assert DoubleGraph(path).run({"x": np.float32([0.7])})["y"] == math.erf(math.erf(np.float32(0.7)))


def test_inputs_that_the_graph_does_not_have_are_left_out(write):
    """Inputs that the graph does not have are left out."""
    path = write(helper.make_node("Neg", ["x"], ["y"]))
    assert DoubleGraph(path).run({"x": numbers(1), "pruned": numbers(1)}) is not None


def test_external_data_are_read(write):
    """External data are read."""
    weights = {"w": numbers(500)}
    path = write(
        helper.make_node("Mul", ["x", "w"], ["y"]), weights=weights, save_as_external_data=True, size_threshold=0
    )
    assert (DoubleGraph(path).run({"x": np.float32([1])})["y"] == weights["w"]).all()


def test_large_models_are_left_alone(write, monkeypatch):
    """Large models are left alone."""
    monkeypatch.setattr(double_graph, "LARGEST_BYTES", 1000)
    path = write(helper.make_node("Mul", ["x", "w"], ["y"]), weights={"w": numbers(500)})
    graph = DoubleGraph(path)
    assert graph.run({"x": np.float32([1])}) is None
    assert "too large" in graph.reason


def test_other_files_beside_the_model_do_not_count(write, monkeypatch):
    """Other files beside the model do not count."""
    path = write(helper.make_node("Neg", ["x"], ["y"]))
    (path.parent / "another.onnx").write_bytes(b"0" * 10_000)
    monkeypatch.setattr(double_graph, "LARGEST_BYTES", 5000)
    assert DoubleGraph(path).run({"x": numbers(1)}) is not None


def test_a_graph_nobody_can_evaluate_says_why(write):
    """A graph nobody can evaluate says why."""
    graph = DoubleGraph(write(helper.make_node("Unheard", ["x"], ["y"], domain="com.microsoft")))
    assert graph.run({"x": numbers(1)}) is None
    assert "Unheard" in graph.reason


@pytest.mark.parametrize("operator", ["Add", "Erf"], ids=["onnxruntime", "numpy"])
def test_a_slow_evaluation_is_given_up(write, operator):
    """A slow evaluation is given up."""
    inputs = ["a", "a"] if operator == "Add" else ["a"]
    body = helper.make_graph(
        [helper.make_node(operator, inputs, ["b"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("a")],
        [value("on", [], TensorProto.BOOL), value("b")],
    )
    path = write(helper.make_node("Loop", ["n", "", "x"], ["y"], body=body), weights={"n": np.array(10**9)})
    graph = DoubleGraph(path, max_s=0.3)
    assert graph.run({"x": numbers(1000)}) is None  # to the end it would take hours
    assert "TimeoutError" in graph.reason
