"""A keyword spotter: strided one-dimensional convolutions with Keras's uneven padding, over any number of frames."""

import pytest

from model_zoo.keras_edge import build_kws
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_kws,
    inputs={"mfcc": TensorSpec("float32", "batch, frames, 40", low=-3, high=3)},
    outputs={"keywords": "float32[batch, 12]"},
    dims={"batch": (1, 4), "frames": (8, 98)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "frames": 49})
@size_budget(mb=0.16)
def test_kws(onnx_model):
    assert onnx_model.operators["Conv"] == 3
    assert "BatchNormalization" not in onnx_model.operators
