"""Two stacked Keras GRUs: Keras runs them as loops, and loops they stay, over a history of any length."""

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
    # tf2onnx 1.17 recognises Keras's LSTM, but not its GRU; neither may be unrolled over the traced length.
    assert onnx_model.operators["Loop"] == 2
