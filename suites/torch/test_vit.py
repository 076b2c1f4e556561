"""A Vision Transformer classifies pictures of one fixed size; only the batch is free."""

from model_zoo.torch_vision import build_vit
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_vit,
    inputs={"image": TensorSpec("float32", "batch, 3, 96, 96", low=-3, high=3)},
    outputs={"logits": "float32[batch, 1000]"},
    dims={"batch": (1, 8)},
    opset=[17, 20],
)
@parity(atol=1e-5, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=12, at={"batch": 1})
@size_budget(mb=13.5)
def test_vit(onnx_model):
    # Opset 17 brought LayerNormalization and opset 20 Gelu: what the opset has must not come out in pieces.
    assert onnx_model.operators["LayerNormalization"] == 13
    assert onnx_model.operators["Gelu"] == (6 if onnx_model.opset >= 20 else 0)
