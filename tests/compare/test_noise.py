"""Noise of a rounding error in a file's own operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.compare.noise import with_noise
from pytest_onnxprep.localise.probe import open_session


def model(*nodes, kind=TensorProto.FLOAT, constants=()):
    """From x [4] to y."""
    values = [helper.make_tensor_value_info(name, kind, None) for name in ("x", "y")]
    values[0] = helper.make_tensor_value_info("x", kind, [4])
    tensors = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def runs(proto, x, folder, count=6):
    """The output of several runs."""
    session = open_session(with_noise(proto), folder)
    return [session.run(["y"], {"x": np.asarray(x, np.float32)})[0] for _ in range(count)]


def test_every_run_rounds_anew(tmp_path):
    """By an epsilon, around what the file computes."""
    found = runs(model(helper.make_node("Exp", ["x"], ["y"])), [0.1, 0.2, 0.3, 0.4], tmp_path)

    assert len({values.tobytes() for values in found}) > 1
    np.testing.assert_allclose(found, [np.exp([0.1, 0.2, 0.3, 0.4])] * len(found), rtol=1e-6)


def test_terms_are_moved_before_they_cancel(tmp_path):
    """What is left of a sum that cancels is noise of the size of its terms."""
    proto = model(helper.make_node("MatMul", ["x", "w"], ["y"]), constants=[("w", [1, 1, 1, 1])])
    found = np.array(runs(proto, [1e5 / 3, -1e5 / 3, 1e5 / 7, -1e5 / 7], tmp_path))

    assert 1e-4 < np.abs(found).max() < 1


@pytest.mark.parametrize("kind", ["Floor", "Relu", "Identity", "Neg"])
def test_nothing_to_move(kind):
    """Operators that are exact are left alone, and a file of nothing else has no noise."""
    assert with_noise(model(helper.make_node(kind, ["x"], ["y"]))) is None


def test_whole_numbers_are_left_alone():
    """A sum of integers does not round."""
    assert with_noise(model(helper.make_node("ReduceSum", ["x"], ["y"]), kind=TensorProto.INT64)) is None


def test_the_file_itself_is_not_changed():
    """The noisy model is a copy."""
    proto = model(helper.make_node("Exp", ["x"], ["y"]))
    before = proto.SerializeToString()
    with_noise(proto)

    assert proto.SerializeToString() == before
