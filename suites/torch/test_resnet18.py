"""ResNet-18 at the picture sizes of a small camera; batch and picture size are free."""

from model_zoo.torch_vision import build_resnet18
from pytest_onnxprep import Dim, TensorSpec, latency_budget, memory_budget, onnx_export, parity, size_budget


@onnx_export(
    build_resnet18,
    inputs={"image": TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)},  # a normalised picture
    outputs={"logits": "float32[batch, 1000]"},
    dims={"batch": (1, 4), "h": Dim(64, 160, multiple_of=32), "w": Dim(64, 160, multiple_of=32)},
    opset=[17, 20],  # no exporter named: torchscript makes opset 17, dynamo 20
)
@parity(atol=1e-4, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=60, at={"batch": 1, "h": 160, "w": 160})
@memory_budget(peak_mb=290, at={"batch": 1, "h": 160, "w": 160})  # most of it while the weights are loaded
@size_budget(mb=50)
def test_resnet18(onnx_model):
    # Both exporters fold every BatchNorm into the convolution before it.
    assert "BatchNormalization" not in onnx_model.operators
    assert onnx_model.operators["Conv"] == 20
