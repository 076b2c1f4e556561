"""Torch's own transformer layers with a padding mask; their fast path must neither be traced nor compared with."""

from model_zoo.torch_text import build_text_encoder
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_text_encoder,
    inputs={
        "tokens": TensorSpec("int64", "batch, seq", low=0, high=500),
        "mask": TensorSpec("int64", "batch, seq", values="mask"),
    },
    outputs={"vector": "float32[batch, 64]"},
    dims={"batch": (1, 6), "seq": (1, 48)},
    exporter="dynamo",  # torchscript keeps the traced sizes in the reshapes of torch's own attention
    opset=20,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 32})
@size_budget(mb=0.75)
def test_text_encoder(onnx_model):
    assert onnx_model.operators["Softmax"] == 2
    assert onnx_model.operators["LayerNormalization"] == 4
