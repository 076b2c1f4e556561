"""An iteration of matrix products, written out: nothing but what it says may be left in the graph."""

import pytest

from model_zoo.tf_functions import build_orthogonaliser
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_orthogonaliser,
    inputs={"matrix": TensorSpec("float32", "batch, 8, 8", low=-1, high=1)},
    outputs={"rotation": "float32[batch, 8, 8]"},
    dims={"batch": (1, 8)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=1, at={"batch": 4})
@size_budget(mb=0.02)
def test_orthogonaliser(onnx_model):
    import numpy as np

    assert onnx_model.operators["MatMul"] == 16
    matrix = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8)).astype("float32")
    rotation = onnx_model.run({"matrix": matrix})["rotation"]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(8), atol=1e-4)
