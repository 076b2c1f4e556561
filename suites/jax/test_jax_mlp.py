"""A picture as a function of where one looks: sines and cosines of random frequencies, then a perceptron."""

import pytest

from model_zoo.jax_networks import build_jax_mlp
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_jax_mlp,
    inputs={"place": TensorSpec("float32", "batch, 2", low=0, high=1)},
    outputs={"colour": "float32[batch, 3]"},
    dims={"batch": (1, 64)},
    opset=[17, 23],
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=1, at={"batch": 16})
@size_budget(mb=0.03)
def test_jax_mlp(onnx_model):
    assert onnx_model.operators["Sin"] == onnx_model.operators["Cos"] == 1
