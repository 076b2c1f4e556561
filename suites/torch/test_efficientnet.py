"""EfficientNet's blocks: SiLU, squeeze and excite, depthwise convolutions of 5x5; any picture size."""

from model_zoo.torch_vision import build_efficientnet
from pytest_onnxprep import Dim, TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_efficientnet,
    inputs={"image": TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)},
    outputs={"logits": "float32[batch, 100]"},
    dims={"batch": (1, 4), "h": Dim(32, 96, multiple_of=16), "w": Dim(32, 96, multiple_of=16)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=15, at={"batch": 1, "h": 64, "w": 64})
@size_budget(mb=1.1)
def test_efficientnet(onnx_model):
    assert "BatchNormalization" not in onnx_model.operators
    # One pooling in each of the five blocks, one in front of the classifier.
    assert onnx_model.operators["GlobalAveragePool"] == 6
