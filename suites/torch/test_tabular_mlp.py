"""A row of a table: numbers and three categorical columns, each with the ids it may hold."""

import pytest

from model_zoo.torch_tables import build_tabular_mlp
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_tabular_mlp,
    inputs={
        "numbers": "float32[batch, 12]",
        "weekday": TensorSpec("int64", "batch", low=0, high=7),
        "hour": TensorSpec("int64", "batch", low=0, high=24),
        "day": TensorSpec("int64", "batch", low=0, high=31),
    },
    outputs={"logits": "float32[batch, 3]"},
    dims={"batch": (1, 64)},
    opset=[17, 20],
)
@parity()
@latency_budget(p95_ms=0.5, at={"batch": 1})
@size_budget(mb=0.04)
def test_tabular_mlp(onnx_model):
    assert onnx_model.operators["Gather"] == 3
    assert "Dropout" not in onnx_model.operators
