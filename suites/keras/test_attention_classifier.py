"""Keras's own multi-head attention over a text of any length."""

from model_zoo.keras_edge import build_attention_classifier
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_attention_classifier,
    inputs={"tokens": TensorSpec("int32", "batch, seq", low=0, high=800)},
    outputs={"scores": "float32[batch, 4]"},
    dims={"batch": (1, 6), "seq": (1, 40)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 32})
@size_budget(mb=0.2)
def test_attention_classifier(onnx_model):
    assert onnx_model.operators["Softmax"] == 2  # the attention's and the classifier's
