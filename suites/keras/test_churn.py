"""A customer's numbers and contract: a dict of inputs of two dtypes, derived from the Keras model."""

import pytest

from model_zoo.keras_edge import build_churn
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_churn,
    inputs={"usage": "float32[batch, 10]", "contract": TensorSpec("int32", "batch", low=0, high=6)},
    outputs={"churn": "float32[batch, 1]"},
    dims={"batch": (1, 32)},
    opset=[15, 18],
)
@parity()
@latency_budget(p95_ms=0.5, at={"batch": 1})
@size_budget(mb=0.03)
def test_churn(onnx_model):
    assert {value.name for value in onnx_model.proto.graph.input} == {"usage", "contract"}
    assert "BatchNormalization" not in onnx_model.operators  # folded, or a multiplication and an addition
