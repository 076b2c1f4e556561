"""A Kalman filter over a track of any length: a while loop that writes every step to an array."""

from model_zoo.tf_functions import build_kalman
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_kalman,
    inputs={"measured": TensorSpec("float32", "steps, batch, 2", low=-5, high=5)},
    outputs={"track": "float32[steps, batch, 4]"},
    dims={"steps": (1, 24), "batch": (1, 4)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=5, at={"steps": 16, "batch": 1})
@size_budget(mb=0.01)
def test_kalman(onnx_model):
    assert onnx_model.operators["Loop"] == 1
