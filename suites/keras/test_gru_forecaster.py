"""Two stacked Keras GRUs; Keras runs them as loops, and tf2onnx has to recognise both."""

from model_zoo.keras_edge import build_gru_forecaster
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_gru_forecaster,
    inputs={"history": TensorSpec("float32", "batch, steps, 6", low=-3, high=3)},
    outputs={"forecast": "float32[batch, 3]"},
    dims={"batch": (1, 6), "steps": (1, 32)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "steps": 24})
@size_budget(mb=0.06)
def test_gru_forecaster(onnx_model):
    assert onnx_model.operators["GRU"] == 2
    assert "Loop" not in onnx_model.operators
