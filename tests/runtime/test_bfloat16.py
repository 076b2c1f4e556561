"""bfloat16 into ONNX Runtime and out of it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.runtime.session import make_session


def cast(path, given, made):
    """A file that casts a matrix, and passes its shape on beside it."""
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=made), helper.make_node("Shape", ["x"], ["size"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", given, ["rows", "columns"])],
        [
            helper.make_tensor_value_info("y", made, ["rows", "columns"]),
            helper.make_tensor_value_info("size", TensorProto.INT64, [2]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return make_session(path)


VALUES = np.array([[1.5, -0.0, 3.3895314e38], [np.inf, 2.0**-133, 0.25]], ml_dtypes.bfloat16)


@pytest.mark.parametrize("values", [VALUES, VALUES[:, ::2], VALUES[:0]], ids=["whole", "strided", "empty"])
def test_bits_arrive_as_they_are(tmp_path, values):
    """Into the session, out of it, and the integers beside them."""
    wide, size = cast(tmp_path / "in.onnx", TensorProto.BFLOAT16, TensorProto.FLOAT).run(None, {"x": values})
    (narrow,) = cast(tmp_path / "out.onnx", TensorProto.FLOAT, TensorProto.BFLOAT16).run(["y"], {"x": wide})

    np.testing.assert_array_equal(wide, values.astype(np.float32))
    assert size.tolist() == list(values.shape)
    assert (narrow.dtype.name, narrow.shape) == ("bfloat16", values.shape)
    np.testing.assert_array_equal(narrow.view(np.uint16), np.ascontiguousarray(values).view(np.uint16))


def test_other_sessions_keep_their_own_run(tmp_path):
    """What has no bfloat16 at its ends pays nothing."""
    session = cast(tmp_path / "plain.onnx", TensorProto.FLOAT, TensorProto.FLOAT16)

    assert "run" not in vars(session)
