"""A Keras bidirectional LSTM rates a text of any length."""

from model_zoo.keras_models import build_bilstm
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_bilstm,
    inputs={"tokens": TensorSpec("int32", "batch, seq", low=0, high=1000)},
    outputs={"scores": "float32[batch, 5]"},
    dims={"batch": (1, 8), "seq": (1, 48)},
    opset=[17, 18],
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=1, at={"batch": 1, "seq": 32})
@size_budget(mb=0.5)
def test_bilstm(onnx_model):
    # Keras runs its LSTM as a while loop; tf2onnx has to recognise it.
    assert "LSTM" in onnx_model.operators
    assert "Loop" not in onnx_model.operators
